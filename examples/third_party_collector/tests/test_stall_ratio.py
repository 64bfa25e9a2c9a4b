"""The collector keeps the platform's contract, is found by it, and says what is expected."""

from __future__ import annotations

from pathlib import Path

from acme_collectors.stall_ratio import StallRatioCollector

from collectors.contract.registry import collector_class
from collectors.testing import BoundCheck, check_collector, check_golden, collector_checks

GOLDEN = Path(__file__).parent / "golden"


@collector_checks([StallRatioCollector], golden=GOLDEN)
def test_it_keeps_the_contract(check: BoundCheck) -> None:
    """Each check of the contract is a test of its own."""
    check()


def test_it_keeps_the_contract_in_one_call() -> None:
    """Without pytest, one call says all that is wrong."""
    check_collector(StallRatioCollector, golden=GOLDEN)


def test_it_says_what_is_expected() -> None:
    """Examples and recorded cases lead to what stands beside them."""
    check_golden(StallRatioCollector, GOLDEN)


def test_the_platform_finds_it() -> None:
    """The entry point of this package leads here."""
    assert collector_class("stall_ratio") is StallRatioCollector
