"""Published lifetimes as arrays; tests/data/README.md says where they come from."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

DATA = Path(__file__).parents[1] / "data"
ROSSI_COVARIATES = ("fin", "age", "race", "wexp", "mar", "paro", "prio")


class Lives(NamedTuple):
    time: np.ndarray
    event: np.ndarray
    group: np.ndarray

    def of(self, group: str) -> tuple[np.ndarray, np.ndarray]:
        return self.time[self.group == group], self.event[self.group == group]


def lives(name: str) -> Lives:
    rows = table(name)
    return Lives(
        np.array([int(r["time"]) for r in rows]),
        np.array([int(r["event"]) for r in rows]),
        np.array([r.get("group", "") for r in rows]),
    )


def rossi() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return covariates, weeks, and whether there was an arrest."""
    rows = table("rossi")
    covariates = np.array([[float(r[name]) for name in ROSSI_COVARIATES] for r in rows])
    return covariates, np.array([int(r["week"]) for r in rows]), np.array([int(r["arrest"]) for r in rows])


def table(name: str) -> list[dict[str, str]]:
    with (DATA / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))
