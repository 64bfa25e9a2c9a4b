"""What experiments say: whether their variants are comparable, and by how much they differ from control.

Definitions
    * A unit belongs to the variant of its first exposure, and its outcomes count from then on. Units seen in several
      variants are left out unless the experiment says otherwise.
    * Sample ratio mismatch: chi-square of units against intended weights. Below p = 0.001 the variants are not
      comparable, and nothing is concluded from the experiment: Fabijan et al. (2019, KDD).
    * Effects are treatment minus control, and relative to control by the delta method. Means and ratios are compared
      by Welch's test, shares by the pooled test with an unpooled interval; ratios have units as clusters: Deng,
      Knoblich & Lu (2018, KDD). Means and ratios are adjusted by what units did before exposure (CUPED): Deng, Xu,
      Kohavi & Walker (2013, WSDM).
    * Designs. always_valid (default): asymptotic confidence sequences, Waudby-Smith et al. (arXiv 2103.06476), which
      may be read at any time. group_sequential: alpha spending over one look a UTC day, Lan & DeMets (1983). fixed:
      read once, at the planned size.
    * Success metrics are corrected within an experiment (Holm unless declared), exploratory ones control the false
      discovery rate. Guardrails pass if shown not to be worse by their margin, at half the level, one-sided.
    * An experiment that is not declared has equal weights, ``control`` (else the first by name) as control, an always
      valid design at the 5 % level, and every outcome metric of its units as exploratory average per outcome.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from collectors.analytics.experiments.power import days_needed
from collectors.analytics.local_days import utc
from collectors.catalog.ml.experiments.config import ExperimentTrackingConfig
from collectors.catalog.ml.experiments.examples import examples
from collectors.catalog.ml.experiments.judging import Judgement, Verdict, judge
from collectors.catalog.ml.experiments.queries import Scope, declared_queries
from collectors.catalog.ml.experiments.reading import Experiment, read_experiments, read_sums
from collectors.contract.collector import Analytical
from collectors.contract.example import Example
from collectors.model.metric import Collection, Finding, Kind, MetricSpec, Sample, Severity, Unit, Window

if TYPE_CHECKING:
    import ibis.expr.types as ir

DAY_US = 86_400_000_000
COMPARISON = ("experiment", "metric", "variant")


def _gauge(name: str, unit: Unit, description: str, *labels: str, nullable: bool = False) -> MetricSpec:
    return MetricSpec(f"collectors.experiment.{name}", Kind.GAUGE, unit, description, labels, nullable=nullable)


RUNNING = _gauge("running", Unit.COUNT, "Experiments that exposed a unit within the days looked back.")
UNITS = _gauge("units", Unit.COUNT, "Units of a variant that count.", "experiment", "variant")
SEVERAL = _gauge(
    "multiple_exposures", Unit.RATIO, "Share of units seen in more than one variant.", "experiment", nullable=True
)
SRM = _gauge(
    "srm_p_value",
    Unit.RATIO,
    "Chance of units at least as far from the intended weights, if they were assigned by them.",
    "experiment",
    nullable=True,
)
PROGRESS = _gauge("progress", Unit.RATIO, "Units that count over the planned units.", "experiment", nullable=True)
DAYS_LEFT = _gauge(
    "days_left",
    Unit.COUNT,
    "Days until the planned units are there, at the pace of the last seven days.",
    "experiment",
    nullable=True,
)
VALUE = _gauge("value", Unit.RATIO, "Value of a metric under a variant, not adjusted.", *COMPARISON, nullable=True)
EFFECT = _gauge(
    "effect",
    Unit.RATIO,
    "Variant less control, or relative to it (scale): the estimate and its interval's low and high end (bound).",
    *COMPARISON,
    "scale",
    "bound",
    nullable=True,
)
P_VALUE = _gauge(
    "p_value",
    Unit.RATIO,
    "P-value of the difference under the design, alone or adjusted for the other tests of its kind (correction).",
    *COMPARISON,
    "correction",
    nullable=True,
)
LOG_P = _gauge("log10_p_value", Unit.RATIO, "Decimal logarithm of the unadjusted p-value.", *COMPARISON, nullable=True)
DECISION = _gauge(
    "decision",
    Unit.COUNT,
    "Success metric: 1 better, -1 worse; guardrail: 1 within its margin, -1 beyond it; 0 undecided.",
    *COMPARISON,
    nullable=True,
)
DETECTABLE = _gauge(
    "detectable_effect",
    Unit.RATIO,
    "Relative effect that a single test with the units so far finds with 80 % power.",
    *COMPARISON,
    nullable=True,
)
REDUCTION = _gauge(
    "variance_reduction", Unit.RATIO, "Share of variance taken away by what units did before exposure.", *COMPARISON
)


class ExperimentTrackingCollector(Analytical[ExperimentTrackingConfig]):
    """Report the effects of a tenant's experiments, with tests that hold while one looks, gated by sample ratio."""

    name = "experiment_tracking"
    Config = ExperimentTrackingConfig
    emits = (
        RUNNING, UNITS, SEVERAL, SRM, PROGRESS, DAYS_LEFT, VALUE, EFFECT, P_VALUE, LOG_P, DECISION, DETECTABLE,
        REDUCTION,
    )  # fmt: skip

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return examples()

    def queries(self, window: Window) -> Mapping[str, ir.Table]:
        config = self.config
        end = utc(window.end_us)
        declared = config.experiments
        ratios = {
            (metric.source or name, metric.denominator)
            for experiment in declared.values()
            for name, metric in experiment.metrics.items()
            if metric.denominator
        }
        scope = Scope(
            start=end - timedelta(days=config.lookback_days),
            end=end,
            midnight=end.replace(hour=0, minute=0, second=0, microsecond=0),
            daily=tuple(sorted(name for name, e in declared.items() if e.design == "group_sequential")),
            keep_first=tuple(sorted(name for name, e in declared.items() if e.multiple_exposures == "first")),
            covariate_days=config.covariate_days,
            outcome_days=config.outcome_days,
            winsorise=dict(sorted(config.winsorise.items())),
            ratios=tuple(sorted(ratios)),
        )
        return declared_queries(scope)

    def derive(self, results: Mapping[str, pa.Table], window: Window) -> Collection:
        experiments, issues = read_experiments(results, self.config, today=window.end_us // DAY_US)
        judgement = judge(experiments, read_sums(results["sums"]))
        samples = [Sample(RUNNING.name, sum(e.exposed > 0 for e in experiments))]
        findings: list[Finding] = []
        for number, experiment in enumerate(experiments):
            samples += _experiment_samples(experiment, number, judgement)
            findings += _mismatch(experiment, number, judgement)
        for (number, metric, variant), value in judgement.values.items():
            reason = "" if value is not None else "the variant has no units, or the ratio's denominator is zero"
            samples.append(Sample(VALUE.name, value, (experiments[number].name, metric, variant), reason=reason))
        for verdict in judgement.verdicts:
            samples += _verdict_samples(experiments, verdict)
            findings += _harm(experiments, verdict)
        return Collection(samples=tuple(samples), findings=tuple(findings), issues=tuple(issues))


def _experiment_samples(experiment: Experiment, number: int, judgement: Judgement) -> Iterator[Sample]:
    name = experiment.name
    for variant, units in experiment.units.items():
        yield Sample(UNITS.name, units, (name, variant))
    nobody = "no unit was exposed"
    share = experiment.several / experiment.exposed if experiment.exposed else None
    yield Sample(SEVERAL.name, share, (name,), reason="" if experiment.exposed else nobody)
    p = float(judgement.ratio.p_value[number])
    untestable = "no unit that counts was exposed" if not experiment.total else "there are not two variants to compare"
    yield _defined(SRM, None if math.isnan(p) else p, (name,), untestable)
    planned = experiment.config.max_units
    if planned is None:
        for spec in (PROGRESS, DAYS_LEFT):
            yield Sample(spec.name, None, (name,), reason="the experiment declares no max_units")
        return
    yield Sample(PROGRESS.name, experiment.total / planned, (name,))
    today = experiment.total - sum(experiment.daily)
    left = days_needed(planned - today, experiment.daily)
    yield _defined(DAYS_LEFT, left, (name,), "no unit came on the last seven complete days")


def _verdict_samples(experiments: Sequence[Experiment], verdict: Verdict) -> Iterator[Sample]:
    labels = (experiments[verdict.experiment].name, verdict.metric, verdict.variant)
    scales = (("absolute", verdict.absolute, verdict.no_test), ("relative", verdict.relative, verdict.no_relative))
    for scale, interval, reason in scales:
        for bound, value in (("estimate", interval.estimate), ("low", interval.low), ("high", interval.high)):
            yield _defined(EFFECT, value, (*labels, scale, bound), reason)
    yield _defined(P_VALUE, verdict.p_value, (*labels, "none"), verdict.no_test)
    yield _defined(P_VALUE, verdict.p_adjusted, (*labels, "family"), verdict.no_test)
    log10_p = None if verdict.log_p is None else verdict.log_p / math.log(10)
    yield _defined(LOG_P, log10_p, labels, verdict.no_test)
    yield _defined(DECISION, verdict.decision, labels, verdict.no_test or "an exploratory metric decides nothing")
    yield _defined(DETECTABLE, verdict.detectable, labels, verdict.no_relative)
    yield Sample(REDUCTION.name, verdict.variance_reduction, labels)


def _mismatch(experiment: Experiment, number: int, judgement: Judgement) -> Iterator[Finding]:
    if judgement.ratio.mismatch[number]:
        seen = ", ".join(f"{variant}: {units}" for variant, units in experiment.units.items())
        summary = f"Experiment {experiment.name} has not the units it was meant to get ({seen}); its effects are void"
        yield Finding("experiment_sample_ratio", experiment.name, Severity.CRITICAL, summary)


def _harm(experiments: Sequence[Experiment], verdict: Verdict) -> Iterator[Finding]:
    experiment = experiments[verdict.experiment]
    if verdict.decision == -1 and experiment.metrics[verdict.metric].role == "guardrail":
        place = f"{experiment.name}/{verdict.metric}/{verdict.variant}"
        summary = (
            f"Experiment {experiment.name}: {verdict.metric} is worse than its margin allows under {verdict.variant}"
        )
        yield Finding("experiment_guardrail", place, Severity.WARNING, summary)


def _defined(spec: MetricSpec, value: float | None, labels: tuple[str, ...], undefined: str) -> Sample:
    return Sample(spec.name, value, labels, reason=undefined if value is None else "")
