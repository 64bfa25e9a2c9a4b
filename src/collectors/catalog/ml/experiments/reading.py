"""What the queries' rows say: which experiments run, with which variants, units, days and sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from collectors.analytics.experiments.moments import Floats, Ints, Moments
from collectors.catalog.ml.experiments.config import (
    UNDECLARED,
    UNDECLARED_METRIC,
    ExperimentConfig,
    ExperimentMetric,
    ExperimentTrackingConfig,
)
from collectors.catalog.ml.experiments.queries import VARIABLES
from collectors.model.metric import Issue

LEAST_STEP = 0.005
"""Part of the planned units that a day must bring to be a look; days with less keep the last look's bound."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment as declared and as seen."""

    name: str
    config: ExperimentConfig
    control: str
    units: Mapping[str, int]
    """Units that count, by variant; control first."""
    exposed: int
    """All units, also those left out."""
    several: int
    """Units seen in more than one variant."""
    daily: tuple[int, ...]
    """Units that count by the complete UTC day they came on, from the first such day to yesterday."""
    metrics: Mapping[str, ExperimentMetric]

    @property
    def total(self) -> int:
        """Units of all variants that count."""
        return sum(self.units.values())

    def looks(self) -> tuple[tuple[float, ...], int]:
        """Return the information fractions of the looks so far, and the units there were at the last of them."""
        planned, fractions, at_last = self.config.max_units or 0, [0.0], 0
        for units in np.cumsum(self.daily, dtype=np.int64).tolist():
            fraction = min(units / planned, 1.0) if planned else 0.0
            if fraction - fractions[-1] >= LEAST_STEP or (fraction == 1.0 and fractions[-1] <= 1.0 - LEAST_STEP / 2):
                fractions.append(fraction)
                at_last = units
        return tuple(fractions[1:]), at_last


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Moments of each (experiment, variant, outcome metric, denominator); the last one is empty."""

    moments: Moments
    hits: Floats
    place: Mapping[tuple[str, str, str, str], int]

    def find(self, experiment: str, variant: str, metric: str, denominator: str) -> int:
        """Return the place of a group, the empty one if it has no outcomes."""
        return self.place.get((experiment, variant, metric, denominator), len(self.hits) - 1)


def read_sums(table: pa.Table) -> Sums:
    """Return the rows of the query ``sums`` as moments in the order of ``queries.VARIABLES``."""

    def columns(pattern: str) -> Floats:
        found = [_floats(table, pattern.format(name)) for name in VARIABLES]
        return np.stack([np.append(column, 0.0) for column in found], axis=1)

    n = np.append(_floats(table, "units"), 0.0)
    products = np.zeros((len(n), len(VARIABLES), len(VARIABLES)))
    for i in range(len(VARIABLES)):
        for j in range(i + 1):
            products[:-1, i, j] = products[:-1, j, i] = _floats(table, f"product_{i}_{j}")
    keys = (table.column(name).to_pylist() for name in ("experiment", "variant", "metric", "denominator"))
    return Sums(
        moments=Moments.of_sums(n, columns("sum_{}"), products, origin=columns("least_{}")),
        hits=np.append(_floats(table, "hits"), 0.0),
        place={key: number for number, key in enumerate(zip(*keys, strict=True))},
    )


def read_experiments(
    results: Mapping[str, pa.Table], config: ExperimentTrackingConfig, today: int
) -> tuple[list[Experiment], list[Issue]]:
    """Return the experiments to report, and an issue for each that has more of something than is reported.

    ``today`` is the number of the UTC day, since 1970, that is not complete yet.
    """
    variants: dict[str, list[tuple[str, int, int]]] = {name: [] for name in config.experiments}
    for row in results["units"].to_pylist():
        variants.setdefault(row["experiment"], []).append((row["variant"], row["units"], row["several"]))
    size = {name: sum(units for _, units, _ in rows) for name, rows in variants.items()}
    names = sorted(variants, key=lambda name: (name not in config.experiments, -size[name], name))
    issues = []
    if len(names) > config.max_experiments:
        left = len(names) - config.max_experiments
        issues.append(Issue("too_many_experiments", f"{left} experiments are not reported; raise max_experiments"))
        names = names[: config.max_experiments]
    daily, outcomes = _daily(results["days"], today), _outcome_metrics(results["sums"])
    experiments = []
    for name in names:
        declared = config.experiments.get(name, UNDECLARED)
        control, units, unseen = _units(variants[name], declared, config.max_variants)
        metrics = declared.metrics or dict.fromkeys(outcomes.get(name, [])[: config.max_metrics], UNDECLARED_METRIC)
        unshown = 0 if declared.metrics else len(outcomes.get(name, [])) - len(metrics)
        for code, left, what in (("too_many_variants", unseen, "variants"), ("too_many_metrics", unshown, "metrics")):
            if left > 0:
                issues.append(Issue(code, f"{left} {what} are not reported; raise max_{what}", item=name))
        experiments.append(
            Experiment(
                name, declared, control, units, size[name], sum(s for _, _, s in variants[name]),
                daily.get(name, ()), metrics,
            )
        )  # fmt: skip
    return experiments, issues


def sample_ratio_input(experiments: Sequence[Experiment]) -> tuple[Ints, Floats, Floats]:
    """Return for every variant the number of its experiment, its units and its weight."""
    rows = [
        (number, units, experiment.config.weights.get(variant, 0.0) if experiment.config.weights else 1.0)
        for number, experiment in enumerate(experiments)
        for variant, units in experiment.units.items()
    ]
    columns = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return columns[:, 0].astype(np.int64), columns[:, 1], columns[:, 2]


def _units(rows: list[tuple[str, int, int]], config: ExperimentConfig, most: int) -> tuple[str, dict[str, int], int]:
    """Return control, the units that count by variant with control first, and how many variants are not shown."""
    drop = config.multiple_exposures == "exclude"
    units = dict.fromkeys(config.weights, 0) | {v: n - several if drop else n for v, n, several in rows}
    control = config.control or ("control" if "control" in units or not units else min(units))
    treatments = sorted((v for v in units if v != control), key=lambda v: (v not in config.weights, -units[v], v))
    shown = {control: units.get(control, 0)} | {v: units[v] for v in sorted(treatments[:most])}
    return control, shown, len(treatments) - most


def _daily(days: pa.Table, today: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, dict[int, int]] = {}
    rows = (days.column(name).to_pylist() for name in ("experiment", "day", "units"))
    for experiment, day, units in zip(*rows, strict=True):
        found.setdefault(experiment, {})[day] = units
    return {
        experiment: tuple(by_day.get(day, 0) for day in range(min(by_day), today))
        for experiment, by_day in found.items()
    }


def _outcome_metrics(sums: pa.Table) -> dict[str, list[str]]:
    """Return the outcome metrics of each experiment's units, by name."""
    rows = (sums.column(name).to_pylist() for name in ("experiment", "metric", "denominator"))
    found: dict[str, set[str]] = {}
    for experiment, metric, denominator in zip(*rows, strict=True):
        if not denominator:
            found.setdefault(experiment, set()).add(metric)
    return {experiment: sorted(metrics) for experiment, metrics in found.items()}


def comparisons(experiments: Sequence[Experiment]) -> Iterator[tuple[int, str, str]]:
    """Yield the number of the experiment, the metric and the variant of each comparison with control."""
    for number, experiment in enumerate(experiments):
        for metric in experiment.metrics:
            for variant in experiment.units:
                if variant != experiment.control:
                    yield number, metric, variant


def _floats(table: pa.Table, name: str) -> Floats:
    return np.asarray(table.column(name).to_numpy(), dtype=np.float64)
