"""The crash oracle, thirty runs of it; ``python -m tests.crash.oracle --runs 1000`` does more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.oracle import run

RUNS = 5


@pytest.mark.crash
@pytest.mark.parametrize("first", range(1, 31, RUNS))
def test_nothing_acknowledged_is_lost_or_doubled_whatever_is_done_to_the_server(first: int, tmp_path: Path) -> None:
    acknowledged = 0
    for seed in range(first, first + RUNS):
        outcome = run(seed, tmp_path / str(seed))
        assert not outcome.problems, outcome
        assert outcome.harms
        acknowledged += outcome.acknowledged
    assert acknowledged > 100
