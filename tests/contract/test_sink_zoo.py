"""The checks of sinks are checked: each has a bad sink that fails it and no other, and a tame one passes all."""

from __future__ import annotations

import pytest

from collectors.config.sinks import SinkConfig
from collectors.contract.sink import BaseSink, Receipt, Repeats, SinkBatch
from collectors.testing.sink_checks import SINK_CHECKS
from collectors.testing.sink_contract import check_sink, sink_checks
from collectors.testing.subject import CheckFailed
from tests.contract.zoo_sinks.sinks import ZOO, Shelf, TameSink


def test_a_tame_sink_passes() -> None:
    check_sink(TameSink, Shelf)
    assert len(list(sink_checks(TameSink, Shelf))) == len(SINK_CHECKS)


@pytest.mark.parametrize("name", [check.name for check in SINK_CHECKS])
def test_every_check_has_a_bad_sink_that_fails_it_and_no_other(name: str) -> None:
    assert name in ZOO, f"put a sink into tests/contract/zoo_sinks/sinks.py that breaks {name} and nothing else"
    failed: dict[str, str] = {}
    for bound in sink_checks(ZOO[name], Shelf):
        try:
            bound()
        except CheckFailed as told:
            failed[bound.check.name] = str(told)
    assert set(failed) == {name}, failed


def test_the_zoo_holds_nobody_without_a_check() -> None:
    assert set(ZOO) == {check.name for check in SINK_CHECKS}


def test_every_check_says_what_it_demands() -> None:
    assert [check.name for check in SINK_CHECKS if not check.demand.endswith(".")] == []


def test_one_call_lists_everything_that_is_wrong() -> None:
    with pytest.raises(CheckFailed, match=r"tame-a_refusal_is_permanent: the target is refused and write raised"):
        check_sink(ZOO["a_refusal_is_permanent"], Shelf)


def test_a_malformed_class_fails_when_it_is_defined() -> None:
    with pytest.raises(TypeError) as told:

        class Nameless(BaseSink[SinkConfig]):
            async def write(self, batch: SinkBatch) -> Receipt:
                return Receipt(len(batch))

    for fix in ("set name", "set Config", "state in repeats", "docstring"):
        assert fix in str(told.value)
    with pytest.raises(TypeError, match="name in accepts what it takes"):

        class Deaf(TameSink):
            """Take nothing."""

            accepts = frozenset()
            repeats = Repeats.HARMLESS
