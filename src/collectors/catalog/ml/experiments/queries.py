"""What the engine is asked: events become units, units become sums, and only sums leave it.

Attribution
    * A unit belongs to the variant of its first exposure (of several at one instant, the first by name). A unit seen
      in more than one variant is counted as such, and left out or kept as its experiment says.
    * Outcomes count from that first exposure on. Those of the same metric before it, for some days, are the covariate
      of variance reduction, as exposure cannot have changed them.
    * A group-sequential experiment is read up to the last UTC midnight, so that each day is one look.

Sums are of distances from the smallest value of their group: never negative, exact for constants, and without loss of
digits (see ``analytics.experiments.moments``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from collectors.contract.tables import events

if TYPE_CHECKING:
    import ibis.expr.types as ir

VARIABLES = ("total", "outcomes", "total_before", "outcomes_before")
"""What is known of a unit and a metric; of a ratio of two metrics ``outcomes`` is the total of the denominator."""

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Scope:
    """What the queries read; instants are UTC."""

    start: datetime
    end: datetime
    midnight: datetime
    daily: tuple[str, ...]
    """Experiments that are read up to ``midnight``."""
    keep_first: tuple[str, ...]
    """Experiments that keep units seen in several variants."""
    covariate_days: int
    outcome_days: int | None
    winsorise: Mapping[str, float]
    ratios: tuple[tuple[str, str], ...]
    """Pairs of outcome metrics, numerator and denominator."""


def declared_queries(scope: Scope) -> Mapping[str, ir.Table]:
    """Return the queries: units of each variant, units kept by day, and sums of each metric over units."""
    units = _units(scope)
    kept = units.filter(_kept(units, scope.keep_first))
    per_unit = _winsorised(_outcomes(kept, scope), scope.winsorise)
    sums = _sums(per_unit, "")
    for numerator, denominator in scope.ratios:
        sums = sums.union(_sums(_paired(per_unit, numerator, denominator), denominator))
    return {
        "units": units.group_by("experiment", "variant").agg(
            units=units.count(), several=units.count(where=units.variants > 1)
        ),
        "days": _by_day(kept),
        "sums": sums,
    }


def _cut(experiment: Any, scope: Scope) -> Any:
    """Return up to when an experiment is read."""
    import ibis

    end = ibis.literal(scope.end)
    if not scope.daily:
        return end
    return ibis.cases((experiment.isin(scope.daily), ibis.literal(scope.midnight)), else_=end)


def _units(scope: Scope) -> ir.Table:
    """Return each experiment's units: variant and time of the first exposure, and how many variants they saw."""
    import ibis

    exposure = events("exposure")
    seen = exposure.filter(
        exposure.event_time >= ibis.literal(scope.start), exposure.event_time < ibis.literal(scope.end)
    )
    seen = seen.filter(seen.event_time < _cut(seen.experiment, scope))
    arms = seen.group_by("experiment", "unit_id", "variant").agg(exposed=seen.event_time.min())
    unit = ibis.window(group_by=[arms.experiment, arms.unit_id])
    in_order = ibis.window(group_by=[arms.experiment, arms.unit_id], order_by=[arms.exposed, arms.variant])
    ranked = arms.mutate(place=ibis.row_number().over(in_order), variants=arms.variant.count().over(unit))
    first = ranked.filter(ranked.place == 0)
    return first.select("experiment", "unit_id", "variant", "exposed", "variants")


def _kept(units: ir.Table, keep_first: Iterable[str]) -> Any:
    once = units.variants == 1
    names = tuple(keep_first)
    return once | units.experiment.isin(names) if names else once


def _by_day(kept: ir.Table) -> ir.Table:
    day = kept.exposed.truncate("s").epoch_seconds().cast("int64") // DAY_SECONDS
    days = kept.select("experiment", day=day)
    return days.group_by("experiment", "day").agg(units=days.count())


def _outcomes(kept: ir.Table, scope: Scope) -> ir.Table:
    """Return ``VARIABLES`` of each unit and outcome metric that has any."""
    import ibis

    outcome = events("outcome")
    earliest = scope.start - timedelta(days=scope.covariate_days)
    recent = outcome.filter(
        outcome.event_time >= ibis.literal(earliest), outcome.event_time < ibis.literal(scope.end)
    ).select("unit_id", "metric", "value", "event_time")
    joined = kept.join(recent, "unit_id").select(
        "experiment", "variant", "unit_id", "exposed", "metric", "value", "event_time"
    )
    after = joined.event_time >= joined.exposed
    if scope.outcome_days is not None:
        after &= joined.event_time < joined.exposed + ibis.interval(days=scope.outcome_days)
    before = joined.event_time < joined.exposed
    if scope.covariate_days:
        before &= joined.event_time >= joined.exposed - ibis.interval(days=scope.covariate_days)
    else:
        before = ibis.literal(False)
    timed = joined.filter(joined.event_time < _cut(joined.experiment, scope)).mutate(after=after, before=before)
    timed = timed.filter(timed.after | timed.before)
    nothing = ibis.literal(0.0, "float64")
    timed = timed.mutate(
        now=ibis.cases((timed.after, timed.value), else_=nothing),
        then=ibis.cases((timed.before, timed.value), else_=nothing),
    )
    return timed.group_by("experiment", "variant", "unit_id", "metric").agg(
        total=timed.now.sum(),
        outcomes=timed.count(where=timed.after).cast("float64"),
        total_before=timed.then.sum(),
        outcomes_before=timed.count(where=timed.before).cast("float64"),
    )


def _winsorised(per_unit: ir.Table, quantiles: Mapping[str, float]) -> ir.Table:
    """Cap the totals of the metrics in ``quantiles``, after and before exposure each by its own quantile."""
    import ibis

    if not quantiles:
        return per_unit
    rest = per_unit.filter(per_unit.metric.notin(tuple(quantiles)))
    for quantile in sorted(set(quantiles.values())):
        metrics = tuple(name for name, own in quantiles.items() if own == quantile)
        some = per_unit.filter(per_unit.metric.isin(metrics))
        caps = some.group_by("experiment", "metric").agg(
            cap=some.total.quantile(quantile, where=some.outcomes > 0),
            cap_before=some.total_before.quantile(quantile, where=some.outcomes_before > 0),
        )
        wide = some.join(caps, ["experiment", "metric"])
        # A cap is null where no unit has such outcomes, and then there is nothing to cap.
        capped = wide.mutate(
            total=ibis.cases((wide.total > wide.cap, wide.cap), else_=wide.total),
            total_before=ibis.cases((wide.total_before > wide.cap_before, wide.cap_before), else_=wide.total_before),
        )
        rest = rest.union(capped.select(*per_unit.columns))
    return rest


def _paired(per_unit: ir.Table, numerator: str, denominator: str) -> ir.Table:
    """Return the units of two metrics with their totals side by side, named by the numerator."""
    import ibis

    both = per_unit.filter(per_unit.metric.isin((numerator, denominator)))
    over, under = both.metric == numerator, both.metric == denominator
    nothing = ibis.literal(0.0, "float64")
    split = both.mutate(
        a=ibis.cases((over, both.total), else_=nothing),
        b=ibis.cases((under, both.total), else_=nothing),
        c=ibis.cases((over, both.total_before), else_=nothing),
        d=ibis.cases((under, both.total_before), else_=nothing),
    )
    summed = split.group_by("experiment", "variant", "unit_id").agg(
        total=split.a.sum(), outcomes=split.b.sum(), total_before=split.c.sum(), outcomes_before=split.d.sum()
    )
    return summed.mutate(metric=ibis.literal(numerator)).select(*per_unit.columns)


def _sums(per_unit: ir.Table, denominator: str) -> ir.Table:
    """Return for each variant and metric the units, hits, and sums and products of distances from the smallest."""
    import ibis

    group = ibis.window(group_by=[per_unit.experiment, per_unit.variant, per_unit.metric])
    least = per_unit.mutate(**{f"least_{name}": per_unit[name].min().over(group) for name in VARIABLES})
    far = least.mutate(**{name: least[name] - least[f"least_{name}"] for name in VARIABLES}, hit=least.total > 0)
    products = {
        f"product_{i}_{j}": (far[one] * far[other]).sum()
        for i, one in enumerate(VARIABLES)
        for j, other in enumerate(VARIABLES[: i + 1])
    }
    summed = far.group_by("experiment", "variant", "metric").agg(
        units=far.count(),
        hits=far.count(where=far.hit),
        **{f"least_{name}": far[f"least_{name}"].min() for name in VARIABLES},
        **{f"sum_{name}": far[name].sum() for name in VARIABLES},
        **products,
    )
    return summed.mutate(denominator=ibis.literal(denominator))
