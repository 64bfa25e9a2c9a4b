"""Damaged bodies are decoded or refused; they never bring the process down."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz_decoders.py")


def outcomes(target: str, seed: int, count: int) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), target, str(seed), str(count)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, int] = ast.literal_eval(done.stdout)
    assert sum(found.values()) == count
    return found


def test_damaged_arrow_bodies_never_crash_the_process() -> None:
    assert outcomes("arrow", 1, 5000).keys() == {"decoded", "MalformedBody", "TooLarge"}


def test_damaged_ndjson_bodies_never_crash_the_process_and_both_lanes_agree() -> None:
    assert outcomes("ndjson", 1, 5000).keys() == {"decoded", "declined"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
@pytest.mark.parametrize("target", ["arrow", "ndjson"])
def test_many_more_damaged_bodies_never_crash_the_process(target: str, seed: int) -> None:
    outcomes(target, seed, 50_000)
