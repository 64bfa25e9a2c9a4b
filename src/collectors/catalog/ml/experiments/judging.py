"""What the sums say of each metric and variant: all comparisons of all experiments in one pass over arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from collectors.analytics.experiments import estimates
from collectors.analytics.experiments.always_valid import asymptotic
from collectors.analytics.experiments.comparisons import REASONS, Comparison, Undefined, proportions, relative, welch
from collectors.analytics.experiments.estimates import Estimate
from collectors.analytics.experiments.group_sequential import spending_bounds
from collectors.analytics.experiments.moments import Bools, Floats, Ints, Moments
from collectors.analytics.experiments.multiplicity import CORRECTIONS, benjamini_hochberg
from collectors.analytics.experiments.power import detectable_effect
from collectors.analytics.experiments.srm import SampleRatio, sample_ratio
from collectors.catalog.ml.experiments.config import ExperimentMetric
from collectors.catalog.ml.experiments.reading import (
    LEAST_STEP,
    Experiment,
    Sums,
    comparisons,
    sample_ratio_input,
)

MISMATCH = "the variants do not have the units they were meant to get (sample ratio mismatch), so they differ anyway"

_LEAST_LEVEL = 1e-100


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with bounds; why there are none stands beside it."""

    estimate: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one metric of one variant against control.

    ``no_test`` says why there is no test or no estimate, ``no_relative`` the same of the relative effect.
    """

    experiment: int
    metric: str
    variant: str
    absolute: Interval
    relative: Interval
    p_value: float | None
    log_p: float | None
    p_adjusted: float | None
    decision: int | None
    detectable: float | None
    variance_reduction: float
    no_test: str
    no_relative: str


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """The sample ratios of experiments, the verdicts on comparisons, and values by (experiment, metric, variant)."""

    ratio: SampleRatio
    verdicts: tuple[Verdict, ...]
    values: dict[tuple[int, str, str], float | None]


def judge(experiments: Sequence[Experiment], sums: Sums) -> Judgement:
    """Compare each variant with control in each metric, under the design of its experiment."""
    ratio = sample_ratio(*sample_ratio_input(experiments), len(experiments))
    rows = list(comparisons(experiments))
    if not rows:
        return Judgement(ratio, (), {})
    declared = [experiments[number].metrics[metric] for number, metric, _ in rows]
    sides = [_side(experiments, sums, rows, declared, treated=treated) for treated in (False, True)]
    kinds = np.array([metric.kind for metric in declared])
    plain = _estimate(sides[0], kinds), _estimate(sides[1], kinds)
    control, treatment, reduction = _adjust(sides[0], sides[1], kinds, plain)
    level = _levels(experiments, rows, ratio)
    absolute, half = _compare(control, treatment, kinds == "proportion", level)
    share = relative(control, treatment, level.alpha)
    found = _Found(
        absolute=absolute,
        half=half,
        share=share,
        share_half=_half_width(share, control, treatment, level),
        p_adjusted=_families(experiments, rows, declared, absolute.p_value),
        within_margin=_against_margin(control, treatment, declared, level),
        detectable=detectable_effect(absolute.error) / np.where(control.value == 0, np.nan, np.abs(control.value)),
        reduction=reduction,
        level=level,
    )
    verdicts = tuple(
        found.verdict(i, row, experiments[row[0]], declared[i], mismatch=bool(ratio.mismatch[row[0]]))
        for i, row in enumerate(rows)
    )
    values = {}
    for i, (number, metric, variant) in enumerate(rows):
        values[number, metric, experiments[number].control] = _number(plain[0].value[i])
        values[number, metric, variant] = _number(plain[1].value[i])
    return Judgement(ratio, verdicts, values)


@dataclass(frozen=True, slots=True, eq=False)
class _Level:
    """Each comparison's nominal level, whether it is read as a confidence sequence, and why it is not read at all."""

    alpha: Floats
    anytime: Bools
    closed: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What was computed, one element a comparison."""

    absolute: Comparison
    half: Floats
    share: Comparison
    share_half: Floats
    p_adjusted: Floats
    within_margin: Floats
    detectable: Floats
    reduction: Floats
    level: _Level

    def verdict(
        self, i: int, row: tuple[int, str, str], experiment: Experiment, metric: ExperimentMetric, *, mismatch: bool
    ) -> Verdict:
        """Return what may be told of comparison ``i``."""
        result, share = self.absolute, self.share
        gate = MISMATCH if mismatch else ""
        no_value = gate or ("" if np.isfinite(result.value[i]) else REASONS[Undefined.EMPTY])
        no_test = gate or self.level.closed[i] or no_value or _why(result, i)
        no_share = no_value or ("" if np.isfinite(share.value[i]) else REASONS[Undefined.ZERO_CONTROL])
        no_relative = no_share or no_test or _why(share, i)
        return Verdict(
            *row,
            absolute=_interval(result.value[i], self.half[i], bounds=not no_test, shown=not no_value),
            relative=_interval(share.value[i], self.share_half[i], bounds=not no_relative, shown=not no_share),
            p_value=None if no_test else _number(result.p_value[i]),
            log_p=None if no_test else _number(result.log_p[i]),
            p_adjusted=None if no_test else _number(self.p_adjusted[i]),
            decision=None if no_test else self._decision(i, experiment, metric),
            detectable=None if gate else _number(self.detectable[i]),
            variance_reduction=float(self.reduction[i]),
            no_test=no_test,
            no_relative=no_relative,
        )

    def _decision(self, i: int, experiment: Experiment, metric: ExperimentMetric) -> int | None:
        if metric.role == "exploratory":
            return None
        if metric.role == "guardrail":
            return int(self.within_margin[i])
        # The nominal level of a group-sequential design is already that of one test of the family.
        split = experiment.config.design == "group_sequential"
        p = self.absolute.p_value[i] if split else self.p_adjusted[i]
        better = (self.absolute.value[i] > 0) == (metric.direction == "increase")
        return (1 if better else -1) if p <= self.level.alpha[i] else 0


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """Moments, hits and units of one side of all comparisons."""

    moments: Moments
    hits: Floats
    units: Floats


def _side(
    experiments: Sequence[Experiment],
    sums: Sums,
    rows: Sequence[tuple[int, str, str]],
    declared: Sequence[ExperimentMetric],
    *,
    treated: bool,
) -> _Side:
    """Return one side; exposed units without outcomes are units whose variables are all zero."""
    places, units = [], []
    for (number, metric, variant), how in zip(rows, declared, strict=True):
        experiment = experiments[number]
        side = variant if treated else experiment.control
        places.append(sums.find(experiment.name, side, how.source or metric, how.denominator))
        units.append(experiment.units[side])
    place, n = np.array(places, dtype=np.int64), np.array(units, dtype=np.float64)
    moments = sums.moments.take(place)
    silent = Moments.zeros(np.maximum(n - moments.n, 0.0), moments.mean.shape[1])
    return _Side(moments.merge(silent), sums.hits[place], n)


def _estimate(side: _Side, kinds: Ints) -> Estimate:
    by_kind = {
        "mean": estimates.mean(side.moments),
        "proportion": estimates.proportion(side.hits, side.units),
        "ratio": estimates.ratio(side.moments),
    }
    chosen = [kinds == kind for kind in by_kind]
    return Estimate(
        np.select(chosen, [e.value for e in by_kind.values()], np.nan),
        np.select(chosen, [e.variance for e in by_kind.values()], np.nan),
        side.units,
    )


def _adjust(
    control: _Side, treatment: _Side, kinds: Ints, plain: tuple[Estimate, Estimate]
) -> tuple[Estimate, Estimate, Floats]:
    """Return the estimates after CUPED, where there is something to adjust by, and how much variance went away."""
    total, outcomes, total_before, outcomes_before = range(4)
    mean = estimates.cuped_mean(control.moments, treatment.moments, total, total_before)
    ratio = estimates.cuped_ratio(
        control.moments, treatment.moments, (total, outcomes), (total_before, outcomes_before)
    )
    chosen = [kinds == "mean", kinds == "ratio"]
    sides = []
    for name, estimate in zip(("control", "treatment"), plain, strict=True):
        options: list[Estimate] = [getattr(mean, name), getattr(ratio, name)]
        sides.append(
            Estimate(
                np.select(chosen, [e.value for e in options], estimate.value),
                np.select(chosen, [e.variance for e in options], estimate.variance),
                estimate.n,
            )
        )
    reduction = np.nan_to_num(np.select(chosen, [mean.reduction, ratio.reduction], 0.0))
    return sides[0], sides[1], reduction


def _levels(experiments: Sequence[Experiment], rows: Sequence[tuple[int, str, str]], ratio: SampleRatio) -> _Level:
    """Return at which level each comparison is tested now, by the design of its experiment."""
    alpha, anytime, closed = [], [], []
    for number, experiment in enumerate(experiments):
        level, reason = _nominal(experiment) if not ratio.mismatch[number] else (experiment.config.alpha, "")
        alpha.append(level)
        closed.append(reason)
        anytime.append(experiment.config.design == "always_valid")
    of = np.array([number for number, _, _ in rows], dtype=np.int64)
    return _Level(np.array(alpha)[of], np.array(anytime, dtype=np.bool_)[of], [closed[number] for number in of])


def _nominal(experiment: Experiment) -> tuple[float, str]:
    """Return the nominal two-sided level of a comparison, and why nothing may be tested now."""
    config = experiment.config
    planned = config.max_units or 0
    if config.design == "always_valid":
        return config.alpha, ""
    if config.design == "fixed":
        waiting = f"{experiment.total} of the planned {planned} units are there; a fixed design is read at the end only"
        return config.alpha, waiting if experiment.total < planned else ""
    fractions, at_last = experiment.looks()
    if not fractions:
        return config.alpha, "no look was taken yet: a group-sequential design is read up to the last UTC midnight"
    if fractions[-1] == 1.0 and experiment.total > at_last + LEAST_STEP * planned:
        return config.alpha, (
            f"the planned {planned} units were there at an earlier look, which was the last; plan a new experiment"
        )
    successes = sum(metric.role == "success" for metric in experiment.metrics.values())
    tests = max(1, successes * (len(experiment.units) - 1))
    bound = spending_bounds(fractions, config.alpha / tests, config.spending)[-1]
    level = 2.0 * float(special.ndtr(-bound))
    # A bound that far out is never met, and an interval of that level tells nothing.
    return (level, "") if level > _LEAST_LEVEL else (config.alpha, "so early no part of the level may be spent")


def _compare(control: Estimate, treatment: Estimate, shares: Bools, level: _Level) -> tuple[Comparison, Floats]:
    """Return tests and half the width of intervals."""
    general, share = welch(control, treatment, level.alpha), proportions(control, treatment, level.alpha)
    merged = Comparison(
        *(np.where(shares, getattr(share, name), getattr(general, name)) for name in Comparison.__dataclass_fields__)
    )
    half = _half_width(merged, control, treatment, level)
    anytime = asymptotic(merged.value, merged.error, control.n + treatment.n, level.alpha)
    p, log_p = (np.where(level.anytime, a, b) for a, b in
                ((anytime.p_value, merged.p_value), (anytime.log_p, merged.log_p)))  # fmt: skip
    p = np.where(merged.undefined == 0, p, np.nan)
    return Comparison(
        merged.value, merged.error, merged.df, p, log_p, merged.value - half, merged.value + half, merged.undefined
    ), half


def _half_width(result: Comparison, control: Estimate, treatment: Estimate, level: _Level) -> Floats:
    sequence = asymptotic(result.value, result.error, control.n + treatment.n, level.alpha)
    return np.where(level.anytime, sequence.half_width, (result.high - result.low) / 2.0)


def _against_margin(
    control: Estimate, treatment: Estimate, declared: Sequence[ExperimentMetric], level: _Level
) -> Floats:
    """Return 1 where a guardrail is shown not to be worse by the margin, -1 where it is shown to be, else 0."""
    sign = np.array([1.0 if metric.direction == "increase" else -1.0 for metric in declared])
    margin = np.array([metric.margin for metric in declared])
    limit = control.scaled(1.0 - sign * margin * np.sign(control.value))
    result = welch(limit, treatment, level.alpha)
    half = _half_width(result, control, treatment, level)
    better = sign * result.value
    return np.where(better - half > 0, 1.0, np.where(better + half < 0, -1.0, 0.0))


def _families(
    experiments: Sequence[Experiment],
    rows: Sequence[tuple[int, str, str]],
    declared: Sequence[ExperimentMetric],
    p: Floats,
) -> Floats:
    """Return p-values adjusted within each experiment: success metrics by its correction, exploratory ones by BH."""
    adjusted = p.copy()
    for number, role, family in _by_family(rows, declared):
        if len(family) < 2 or role == "guardrail":  # every guardrail has to hold, which needs no correction
            continue
        config = experiments[number].config
        if role == "exploratory":
            adjusted[family] = benjamini_hochberg(p[family])
        elif config.design != "group_sequential":
            adjusted[family] = CORRECTIONS[config.correction](p[family])
        else:
            adjusted[family] = CORRECTIONS["bonferroni"](p[family])
    return adjusted


def _by_family(
    rows: Sequence[tuple[int, str, str]], declared: Sequence[ExperimentMetric]
) -> Iterator[tuple[int, str, list[int]]]:
    families: dict[tuple[int, str], list[int]] = {}
    for i, ((number, _, _), metric) in enumerate(zip(rows, declared, strict=True)):
        families.setdefault((number, metric.role), []).append(i)
    for (number, role), family in families.items():
        yield number, role, family


def _interval(value: float, half: float, *, bounds: bool, shown: bool) -> Interval:
    if not bounds:
        return Interval(float(value) if shown else None, None, None)
    return Interval(float(value), float(value - half), float(value + half))


def _why(result: Comparison, i: int) -> str:
    code = Undefined(int(result.undefined[i]))
    return REASONS.get(code, "")


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
