"""The one suite that every collector passes: for each class, each of its examples, each check that applies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from collectors.contract.collector import BaseCollector
from collectors.contract.example import Example
from collectors.contract.registry import collector_class
from collectors.testing.check import Check
from collectors.testing.checks import data, declaration, failure, invariance, lifecycle, resume, telemetry, tenancy
from collectors.testing.golden import golden_cases
from collectors.testing.subject import CheckFailed, Cls, Subject

_GROUPS = (declaration, lifecycle, data, invariance, tenancy, failure, telemetry, resume)

COLLECTOR_CHECKS: tuple[Check, ...] = tuple(
    found for group in _GROUPS for found in vars(group).values() if isinstance(found, Check)
)
"""All checks of collectors, in the order in which they are run."""

CHECK_SECONDS = 60.0
"""A check that takes longer has met a collector that never lets go."""


class GapKind(StrEnum):
    """Whose it is to close a gap."""

    OURS = "ours"
    UPSTREAM = "upstream"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Gap:
    """A check that a collector is known to fail, why, and where that is followed."""

    kind: GapKind
    reason: str
    issue: str = ""

    def __post_init__(self) -> None:
        if len(self.reason.split()) < 3:
            raise ValueError("a gap needs a reason that a stranger understands")
        if self.kind is not GapKind.NEVER and not self.issue:
            raise ValueError(f"a gap that is {self.kind} needs the issue in which it will be closed")


Gaps = Mapping[str, Mapping[str, Gap]]
"""Known gaps by collector and check."""


@dataclass(frozen=True)
class BoundCheck:
    """A check of one class on one example; call it."""

    check: Check
    subject: Subject
    gap: Gap | None = None

    @property
    def id(self) -> str:
        """Readable name, such as ``redis_performance[cluster]-close_is_idempotent``."""
        return f"{self.subject.label}-{self.check.name}"

    def __call__(self) -> None:
        """Run the check in an event loop of its own; raises ``CheckFailed`` with what to do."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self.check.run(self.subject)
        except TimeoutError:
            raise CheckFailed(f"{self.id}: it did not end within {CHECK_SECONDS:g} s") from None
        except CheckFailed as failure_:
            raise CheckFailed(f"{self.id}: {failure_}") from failure_.__cause__
        except Exception as error:
            raise CheckFailed(f"{self.id}: the collector raised {error!r}") from error


def yield_checks(
    cls: Cls,
    example: Example | None = None,
    *,
    golden: Path | None = None,
    gaps: Gaps | None = None,
    lookup: Callable[[str], type] = collector_class,
) -> Iterator[BoundCheck]:
    """Yield every check that applies to ``cls``, on ``example`` or on all of its examples.

    ``golden`` is a folder with golden cases, which are examples too; ``gaps`` are known failures; ``lookup`` finds a
    class by the name of its entry point.
    """
    examples = (*cls.examples(), *golden_cases(cls, golden)) if golden else tuple(cls.examples())
    known = (gaps or {}).get(cls.name, {})
    first: Subject | None = None
    for one in examples:
        first = first or Subject(cls, one, examples, lookup)
        subject = Subject(cls, one, examples, lookup, first.answers)
        if example is None or one == example:
            for check in COLLECTOR_CHECKS:
                if check.applies_to(subject):
                    yield BoundCheck(check, subject, known.get(check.name))


def check_collector(cls: type[BaseCollector[Any]], *, golden: Path | None = None, gaps: Gaps | None = None) -> None:
    """Run every check that applies to ``cls``; ``CheckFailed`` lists all that failed, and what to do.

    A check in ``gaps`` must fail: one that does not is told as well, so that the list only holds what is true.
    """
    check_gaps(gaps or {}, [cls.name])
    told: list[str] = []
    for bound in yield_checks(cls, golden=golden, gaps=gaps):
        try:
            bound()
        except CheckFailed as failed:
            if bound.gap is None:
                told.append(str(failed))
        else:
            if bound.gap is not None:
                told.append(f"{bound.id}: it passes now; take it from the known gaps")
    if told:
        raise CheckFailed("\n".join(told))


def collector_checks(
    classes: Iterable[Cls],
    *,
    golden: Path | None = None,
    gaps: Gaps | None = None,
    lookup: Callable[[str], type] = collector_class,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Parametrise a pytest test by ``check``: every check of every class, to be called as ``check()``.

    Known gaps are strict expected failures: one that is closed fails until its line is removed.
    """
    import pytest  # only those who test need it

    every = list(classes)
    check_gaps(gaps or {}, [cls.name for cls in every])
    parameters = []
    for cls in every:
        for bound in yield_checks(cls, golden=golden, gaps=gaps, lookup=lookup):
            reason = f"{bound.gap.kind}: {bound.gap.reason} {bound.gap.issue}".strip() if bound.gap else ""
            marks = [pytest.mark.xfail(reason=reason, raises=CheckFailed, strict=True)] if bound.gap else []
            parameters.append(pytest.param(bound, id=bound.id, marks=marks))
    return pytest.mark.parametrize("check", parameters)


def check_gaps(gaps: Gaps, collectors: Iterable[str]) -> None:
    """Raise ``ValueError`` if a gap names a collector or check that there is not."""
    known, names = set(collectors), {check.name for check in COLLECTOR_CHECKS}
    for collector, checks in gaps.items():
        if collector not in known:
            raise ValueError(f"the known gaps name a collector {collector!r}, which is not checked here")
        for name in checks:
            if name not in names:
                raise ValueError(f"the known gaps of {collector} name a check {name!r}, which does not exist")
