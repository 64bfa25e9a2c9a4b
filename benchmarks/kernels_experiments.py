"""Measure the experiment kernels: ``python -m benchmarks.kernels_experiments``; one JSON line a figure.

A thousand experiments are compared from their sums (bar: 20 ms), a million rows become moments, bounds of 30 and 100
looks are found anew and from the cache, and the collector judges a thousand experiments from the engine's answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from collectors.analytics.experiments.always_valid import asymptotic
from collectors.analytics.experiments.comparisons import relative, welch
from collectors.analytics.experiments.estimates import cuped_mean, mean
from collectors.analytics.experiments.group_sequential import _spending_bounds, spending_bounds
from collectors.analytics.experiments.moments import Moments
from collectors.analytics.experiments.srm import sample_ratio
from collectors.catalog.ml.experiment_tracking import ExperimentTrackingCollector
from collectors.catalog.ml.experiments.queries import VARIABLES
from collectors.model.metric import Window

EXPERIMENTS = 1000


def report(name: str, work: Callable[[], object], repeats: int = 7, bar_ms: float | None = None) -> None:
    work()
    times = []
    for _ in range(repeats):
        start, cpu = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - start, time.process_time() - cpu))
    wall, cpu = min(times)
    print(json.dumps({"name": name, "ms": round(wall * 1e3, 3), "cpu_ms": round(cpu * 1e3, 3), "bar_ms": bar_ms}))


def sums(rng: np.random.Generator, experiments: int) -> Moments:
    groups = np.repeat(np.arange(2 * experiments), 20)
    return Moments.of_rows(groups, rng.gamma(2.0, 5.0, (len(groups), 2)), 2 * experiments)


def analyse(moments: Moments, experiments: int) -> None:
    control, treatment = moments.take(np.arange(experiments)), moments.take(np.arange(experiments, 2 * experiments))
    pair = mean(control), mean(treatment)
    result = welch(*pair)
    relative(*pair)
    asymptotic(result.value, result.error, control.n + treatment.n)
    adjusted = cuped_mean(control, treatment)
    welch(adjusted.control, adjusted.treatment)
    numbers = np.tile(np.arange(experiments), 2)
    sample_ratio(numbers, np.concatenate([control.n, treatment.n]), np.ones(2 * experiments), experiments)


def answers(rng: np.random.Generator) -> dict[str, pa.Table]:
    """Return what an engine would answer: a thousand experiments of two variants and three metrics, sixty days."""
    names = [f"experiment-{number}" for number in range(EXPERIMENTS)]
    keys = [(e, v, m) for e in names for v in ("control", "treatment") for m in ("a", "b", "c")]
    groups = np.repeat(np.arange(len(keys)), 20)
    data = rng.gamma(2.0, 5.0, (len(groups), 4))
    columns: dict[str, object] = dict(zip(("experiment", "variant", "metric"), zip(*keys, strict=True), strict=True))
    columns |= {"units": np.full(len(keys), 20), "hits": np.full(len(keys), 20), "denominator": [""] * len(keys)}
    for i, name in enumerate(VARIABLES):
        columns[f"least_{name}"] = np.zeros(len(keys))
        columns[f"sum_{name}"] = np.bincount(groups, data[:, i])
        for j in range(i + 1):
            columns[f"product_{i}_{j}"] = np.bincount(groups, data[:, i] * data[:, j])
    both = [(e, v) for e in names for v in ("control", "treatment")]
    units = {"experiment": [e for e, _ in both], "variant": [v for _, v in both], "units": [20] * len(both),
             "several": [0] * len(both)}  # fmt: skip
    days = {"experiment": np.repeat(names, 60), "day": np.tile(np.arange(60), EXPERIMENTS),
            "units": np.ones(60 * EXPERIMENTS, np.int64)}  # fmt: skip
    return {"units": pa.table(units), "days": pa.table(days), "sums": pa.table(columns)}


def main() -> None:
    rng = np.random.default_rng(1)
    thousand = sums(rng, EXPERIMENTS)
    report("1,000 experiments from sums", lambda: analyse(thousand, EXPERIMENTS), bar_ms=20)
    many = sums(rng, 50 * EXPERIMENTS)
    report("50,000 experiments from sums", lambda: analyse(many, 50 * EXPERIMENTS), repeats=3)
    groups, values = rng.integers(0, 2 * EXPERIMENTS, 1_000_000), rng.normal(10, 3, 1_000_000)
    report("moments of 1,000,000 rows, 2,000 groups", lambda: Moments.of_rows(groups, values, 2 * EXPERIMENTS), 5)
    report("merge of 2,000 groups", lambda: thousand.merge(thousand))
    for looks in (30, 100):
        fractions = [k / looks for k in range(1, looks + 1)]

        def anew(fractions: list[float] = fractions) -> None:
            _spending_bounds.cache_clear()
            spending_bounds(fractions)

        report(f"bounds of {looks} looks", anew)
        report(f"bounds of {looks} looks, cached", lambda fractions=fractions: spending_bounds(fractions))
    collector, results = ExperimentTrackingCollector(), answers(rng)
    window = Window(59 * 86_400_000_000, 60 * 86_400_000_000)
    report("collector, 1,000 experiments of 3 metrics", lambda: collector.derive(results, window), repeats=3)


if __name__ == "__main__":
    main()
