"""Measure the survival kernels: ``python -m benchmarks.kernels_survival``; least CPU and wall seconds of three runs."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from collectors.analytics.classification import auc, isotonic, logistic
from collectors.analytics.survival import concordance, cox, kaplan_meier, proportionality

BARS = {"KM 1M days": 0.1, "KM 1M days, delayed entry": 0.1, "KM 1M continuous": 0.6, "Cox 100k x 5": 0.5}
"""Seconds a kernel may take on one core."""


def least(work: Callable[[], object], runs: int = 3) -> tuple[float, float]:
    cpu, wall = [], []
    for _ in range(runs):
        started, used = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    return min(cpu), min(wall)


def main() -> None:
    rng = np.random.default_rng(1)
    n, k = 1_000_000, 100_000
    lifetimes, limits = rng.exponential(300, n), rng.uniform(0, 730, n)
    durations, events = np.minimum(lifetimes, limits), lifetimes <= limits
    days = np.ceil(durations).astype(np.int64)
    entry = np.minimum(rng.integers(0, 200, n), days - 1).clip(0)

    x = rng.normal(size=(k, 5))
    hazard = np.exp(x @ np.array([0.5, -0.3, 0.2, 0.0, 0.1]))
    life, limit = rng.exponential(300 / hazard), rng.uniform(0, 730, k)
    time_to, left = np.minimum(life, limit), life <= limit
    whole = np.ceil(time_to).astype(np.int64)
    began = time_to * rng.uniform(0, 0.5, k)
    model = cox(x, time_to, left)
    yes = rng.random(n) < 0.05
    score = rng.normal(size=n) + yes

    work: dict[str, Callable[[], object]] = {
        "KM 1M days": lambda: kaplan_meier(days, events),
        "KM 1M days, delayed entry": lambda: kaplan_meier(np.maximum(days, 1), events, entry),
        "KM 1M continuous": lambda: kaplan_meier(durations, events),
        "Cox 100k x 5": lambda: cox(x, time_to, left),
        "Cox 100k x 5, days, Efron": lambda: cox(x, whole, left),
        "Cox 100k x 5, delayed entry": lambda: cox(x, time_to, left, began),
        "Schoenfeld test 100k x 5": lambda: proportionality(model, x, time_to, left),
        "concordance 100k": lambda: concordance(model.risk(x), time_to, left),
        "logistic 100k x 5": lambda: logistic(x, left),
        "isotonic 1M": lambda: isotonic(score, yes),
        "AUC 1M": lambda: auc(score, yes),
    }
    print(f"{'kernel':30}{'cpu s':>9}{'wall s':>9}{'bar s':>8}")
    for name, run in work.items():
        cpu, wall = least(run)
        print(f"{name:30}{cpu:9.4f}{wall:9.4f}{BARS.get(name, ''):>8}")


if __name__ == "__main__":
    main()
