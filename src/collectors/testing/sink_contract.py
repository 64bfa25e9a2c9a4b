"""The one suite that every sink passes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from collectors.contract.sink import BaseSink
from collectors.testing.contract import CHECK_SECONDS
from collectors.testing.sink_checks import SINK_CHECKS, SinkCheck, SinkSubject
from collectors.testing.sink_target import MakeTarget
from collectors.testing.subject import CheckFailed


@dataclass(frozen=True)
class BoundSinkCheck:
    """A check of one sink class; call it."""

    check: SinkCheck
    subject: SinkSubject

    @property
    def id(self) -> str:
        """Readable name, such as ``otlp-close_is_idempotent``."""
        return f"{self.subject.cls.name}-{self.check.name}"

    def __call__(self) -> None:
        """Run the check in an event loop of its own; raises ``CheckFailed`` with what to do."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self.check.run(self.subject)
        except TimeoutError:
            raise CheckFailed(f"{self.id}: it did not end within {CHECK_SECONDS:g} s") from None
        except CheckFailed as failed:
            raise CheckFailed(f"{self.id}: {failed}") from failed.__cause__
        except Exception as error:
            raise CheckFailed(f"{self.id}: the sink raised {error!r}") from error


def sink_checks(cls: type[BaseSink[Any]], target: MakeTarget) -> Iterator[BoundSinkCheck]:
    """Yield every check that applies to ``cls``; ``target`` makes what it writes to, in a folder of its own."""
    subject = SinkSubject(cls, target)
    return (BoundSinkCheck(check, subject) for check in SINK_CHECKS if check.applies_to(subject))


def check_sink(cls: type[BaseSink[Any]], target: MakeTarget) -> None:
    """Run every check that applies to ``cls``; ``CheckFailed`` lists all that failed, and what to do."""
    told: list[str] = []
    for bound in sink_checks(cls, target):
        try:
            bound()
        except CheckFailed as failed:
            told.append(str(failed))
    if told:
        raise CheckFailed("\n".join(told))
