"""The checks are checked: each has a bad collector that fails it and no other, and tame ones pass all."""

from __future__ import annotations

from typing import Any

import pytest

from collectors.contract.collector import BaseCollector
from collectors.contract.registry import collector_class
from collectors.testing import COLLECTOR_CHECKS, BoundCheck, CheckFailed, collector_checks, yield_checks
from tests.contract.zoo import bad_conduct  # noqa: F401  # fills the zoo
from tests.contract.zoo.bad_shape import Unregistered
from tests.contract.zoo.cage import ZOO
from tests.contract.zoo.tame_analyst import TameAnalyst
from tests.contract.zoo.tame_sampler import TameSampler
from tests.contract.zoo.tame_streamer import TameStreamer

TAME: dict[str, type[BaseCollector[Any]]] = {cls.name: cls for cls in (TameSampler, TameStreamer, TameAnalyst)}
IMPORTING = "importing_does_nothing_else"
"""Takes a process of its own; a bad collector that stands in a tame one's module needs no other answer."""


@collector_checks(TAME.values(), lookup=TAME.__getitem__)
def test_a_tame_collector_passes(check: BoundCheck) -> None:
    check()


@pytest.mark.parametrize("name", [check.name for check in COLLECTOR_CHECKS])
def test_every_check_has_a_bad_collector_that_fails_it_and_no_other(name: str) -> None:
    assert name in ZOO, f"put a collector into tests/contract/zoo/bad_conduct.py that breaks {name} and nothing else"
    cls = ZOO[name]
    lookup = collector_class if cls is Unregistered else lambda _: cls
    failed: dict[str, str] = {}
    for bound in yield_checks(cls, lookup=lookup):
        if bound.check.name == IMPORTING and name != IMPORTING:
            continue
        try:
            bound()
        except CheckFailed as told:
            failed[bound.check.name] = str(told)
    assert set(failed) == {name}, failed


def test_the_zoo_holds_nobody_without_a_check() -> None:
    assert set(ZOO) == {check.name for check in COLLECTOR_CHECKS}


def test_every_check_says_what_it_demands() -> None:
    assert [check.name for check in COLLECTOR_CHECKS if not check.demand.endswith(".")] == []
