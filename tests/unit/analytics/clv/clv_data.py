"""Data sets and simulated customers that the tests of lifetime value share."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from collectors.analytics.clv import bg_bb, rfm
from collectors.analytics.clv.history import Histories, histories

CDNOW = Path(__file__).resolve().parents[3] / "data" / "cdnow_sample.csv"
CALIBRATION_END = int(np.datetime64("1997-09-30").astype(np.int64))
CDNOW_END = int(np.datetime64("1998-06-30").astype(np.int64))

DONATIONS = (
    (0, 0, 3464), (1, 1, 1091), (1, 2, 277), (1, 3, 129), (1, 4, 78), (1, 5, 119), (1, 6, 129), (2, 2, 613),
    (2, 3, 255), (2, 4, 155), (2, 5, 173), (2, 6, 234), (3, 3, 322), (3, 4, 181), (3, 5, 225), (3, 6, 357),
    (4, 4, 240), (4, 5, 284), (4, 6, 512), (5, 5, 335), (5, 6, 728), (6, 6, 1203),
)  # fmt: skip
"""Donors by donations, year of the last, and how many, of six years: Fader, Hardie & Shang 2010, table 1."""

REGULAR = (1000, 631, 468, 382, 326, 289, 262, 241)
HIGH_END = (1000, 869, 743, 653, 593, 551, 517, 491)
"""Survivors of two segments over seven renewals: Fader & Hardie 2007, table 1."""


def cdnow() -> rfm.Occasions:
    """Return the purchases of the CDNOW sample, amounts in cents."""
    with CDNOW.open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return rfm.occasions(
        np.array([int(line["customer"]) for line in lines], dtype=np.int64),
        np.array([line["date"] for line in lines], dtype="M8[D]").astype(np.int64),
        np.array([round(float(line["usd"]) * 100) for line in lines], dtype=np.int64),
    )


def weeks(summary: rfm.Summary, digits: int | None = None) -> Histories:
    """Return histories in weeks, rounded as the published summary is if ``digits`` are given."""
    recency, age = (summary.last - summary.first) / 7, (summary.end - summary.first) / 7
    if digits is not None:
        recency, age = recency.round(digits), age.round(digits)
    return histories(summary.repeats, recency, age)


def donors() -> bg_bb.Chances:
    x, last, count = np.array(DONATIONS).T
    return bg_bb.chances(x, last, 6, count)


def shop(customers: int, seed: int, theta: tuple[float, float, float, float], days: float = 273.0) -> Histories:
    """Draw customers of a BG/NBD process who came evenly over the first 84 days; time is continuous."""
    r, alpha, a, b = theta
    rng = np.random.default_rng(seed)
    rate, leave = rng.gamma(r, 1 / alpha, customers), rng.beta(a, b, customers)
    age = days - rng.uniform(0, 84, customers)
    x, last, clock = np.zeros(customers, dtype=np.int64), np.zeros(customers), np.zeros(customers)
    active = np.arange(customers)
    while len(active):
        clock[active] += rng.exponential(1 / np.maximum(rate[active], 1e-12))
        active = active[clock[active] < age[active]]
        x[active] += 1
        last[active] = clock[active]
        active = active[rng.random(len(active)) >= leave[active]]
    return histories(x, last, age)


def survivors(customers: int, seed: int, alpha: float, beta: float, ages: int) -> np.ndarray:
    """Draw a cohort of a shifted beta-geometric process and count who is left after 0 ... ``ages`` renewals."""
    rng = np.random.default_rng(seed)
    life = rng.geometric(np.maximum(rng.beta(alpha, beta, customers), 1e-12))
    return np.array([(life > age).sum() for age in range(ages + 1)])
