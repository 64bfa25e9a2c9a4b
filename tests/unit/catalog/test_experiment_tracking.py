"""Experiment tracking against a plain recomputation, unit by unit, and under the designs it can have."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats
from tests.support.analytical import check_declaration, collect, portable, values
from tests.support.lake_files import instant, micros

from collectors.analytics.experiments.group_sequential import spending_bounds
from collectors.analytics.experiments.multiplicity import benjamini_hochberg, holm
from collectors.catalog.ml.experiment_tracking import ExperimentTrackingCollector
from collectors.catalog.ml.experiments.config import ExperimentTrackingConfig
from collectors.model.metric import Collection
from collectors.simulate.learning import Learning
from collectors.simulate.scenario import VARIANTS
from collectors.simulate.truth import Truth
from collectors.simulate.world import World

END = instant(2026, 3, 20, 14)
Event = dict[str, Any]


def exposure(unit: str, variant: str, when: datetime, experiment: str = "x", tenant: str = "a") -> Event:
    return {"tenant_id": tenant, "event_time": when, "experiment": experiment, "variant": variant,
            "unit_id": unit.encode()}  # fmt: skip


def outcome(unit: str, metric: str, value: float, when: datetime, tenant: str = "a") -> Event:
    return {"tenant_id": tenant, "event_time": when, "unit_id": unit.encode(), "metric": metric, "value": value}


def run(
    folder: Path, exposures: Sequence[Event], outcomes: Sequence[Event], end: datetime = END, **config
) -> Collection:
    return collect(ExperimentTrackingCollector, folder, [{"exposure": exposures, "outcome": outcomes}], end, **config)


def reasons(collection: Collection, metric: str) -> set[str]:
    return {s.reason for s in collection.samples if s.metric == f"collectors.experiment.{metric}" and s.value is None}


METRICS: Mapping[str, Mapping[str, Any]] = {
    "minutes": {"kind": "mean"},
    "buyers": {"kind": "proportion", "source": "revenue"},
    "per_outcome": {"kind": "ratio", "source": "minutes", "role": "exploratory"},
    "per_click": {"kind": "ratio", "source": "revenue", "denominator": "clicks", "role": "exploratory"},
    "stalls": {"kind": "mean", "role": "guardrail", "direction": "decrease", "margin": 0.2},
}


def history(
    seed: int, units: int = 250, variants: Sequence[str] = ("control", "b", "c")
) -> tuple[list[Event], list[Event]]:
    """Make up exposures, some of a second variant or again, and outcomes before and after them."""
    rng = random.Random(seed)
    exposures, outcomes = [], []
    for number in range(units):
        unit, variant, level = f"u{number}", rng.choice(variants), rng.gauss(20, 5)
        first = END - timedelta(days=1 + rng.random() * 20)
        exposures.append(exposure(unit, variant, first))
        if rng.random() < 0.3:
            exposures.append(exposure(unit, variant, first + timedelta(hours=rng.random() * 40)))
        if rng.random() < 0.08:  # sometimes at the same instant
            when = first if rng.random() < 0.5 else first + timedelta(hours=3)
            exposures.append(exposure(unit, rng.choice(variants), when))
        for metric, rate, mean in (("minutes", 3, level), ("revenue", 0.7, 4), ("clicks", 4, 1), ("stalls", 2, 1)):
            for _ in range(rng.randrange(int(rate * 2) + 1) if rate >= 1 else rng.random() < rate):
                when = first + timedelta(days=rng.uniform(-18, 21))
                lift = 3 if metric == "minutes" and variant == "b" and when >= first else 0
                value = round(max(0.0, rng.gauss(mean + lift, mean / 4)) * 64) / 64
                outcomes.append(outcome(unit, metric, value, when))
        if rng.random() < 0.2:
            outcomes.append(outcome(unit, "minutes", 5.0, first))  # at the very instant counts
    outcomes.append(outcome("stranger", "minutes", 1e9, END - timedelta(days=1)))
    return exposures, outcomes


def oracle_units(
    exposures, outcomes, *, keep_first: bool, covariate_days: int, outcome_days: int | None, caps: Mapping[str, float]
):
    """Return variant by unit, and by unit and metric [total, outcomes, total before, outcomes before]."""
    seen: dict[bytes, list] = defaultdict(list)
    for e in exposures:
        if e["event_time"] < END:
            seen[e["unit_id"]].append((e["event_time"], e["variant"]))
    first = {unit: min(events) for unit, events in seen.items()}
    several = {unit for unit, events in seen.items() if len({v for _, v in events}) > 1}
    variant = {unit: v for unit, (_, v) in first.items() if keep_first or unit not in several}
    facts: dict[tuple[bytes, str], list[float]] = defaultdict(lambda: [0.0] * 4)
    for o in outcomes:
        unit, when = o["unit_id"], o["event_time"]
        if unit not in variant or when >= END:
            continue
        start = first[unit][0]
        if when >= start and (outcome_days is None or when < start + timedelta(days=outcome_days)):
            facts[unit, o["metric"]][0] += o["value"]
            facts[unit, o["metric"]][1] += 1
        elif start - timedelta(days=covariate_days) <= when < start:
            facts[unit, o["metric"]][2] += o["value"]
            facts[unit, o["metric"]][3] += 1
    for metric, quantile in caps.items():
        for total, count in ((0, 1), (2, 3)):
            own = [f[total] for (_, m), f in facts.items() if m == metric and f[count] > 0]
            if not own:
                continue
            cap = np.quantile(own, quantile)
            for (_, m), f in facts.items():
                if m == metric:
                    f[total] = min(f[total], cap)
    return variant, first, several, facts


def oracle_cuped(y: list[np.ndarray], x: list[np.ndarray]) -> list[np.ndarray]:
    """Adjust unit values by one theta of both variants."""
    every_x, every_y = np.concatenate(x), np.concatenate(y)
    if every_x.std() == 0:
        return y
    theta = np.cov(every_y, every_x)[0, 1] / every_x.var(ddof=1)
    return [yi - theta * (xi - every_x.mean()) for yi, xi in zip(y, x, strict=True)]


def oracle_comparison(kind: str, control: np.ndarray, treatment: np.ndarray) -> tuple[float, float, float, float]:
    """Return plain values of both, the adjusted difference and its standard error, from (units, 4) arrays."""
    sides = [control, treatment]
    if kind == "proportion":
        shares = [(s[:, 0] > 0).mean() for s in sides]
        error = math.sqrt(sum(p * (1 - p) / len(s) for p, s in zip(shares, sides, strict=True)))
        return shares[0], shares[1], shares[1] - shares[0], error
    if kind == "mean":
        adjusted = oracle_cuped([s[:, 0] for s in sides], [s[:, 2] for s in sides])
        plain = [s[:, 0].mean() for s in sides]
        error = math.sqrt(sum(a.var(ddof=1) / len(a) for a in adjusted))
        return plain[0], plain[1], adjusted[1].mean() - adjusted[0].mean(), error
    both = np.concatenate(sides)
    plain = [s[:, 0].sum() / s[:, 1].sum() for s in sides]

    def linear(s: np.ndarray, over: int, under: int) -> np.ndarray:
        return (s[:, over] - s[:, over].sum() / s[:, under].sum() * s[:, under]) / s[:, under].mean()

    if both[:, 3].sum() == 0:
        return plain[0], plain[1], plain[1] - plain[0], math.sqrt(
            sum(linear(s, 0, 1).var(ddof=1) / len(s) for s in sides)
        )  # fmt: skip
    y, x = linear(both, 0, 1), linear(both, 2, 3)
    theta = np.cov(y, x)[0, 1] / x.var(ddof=1)
    before = [s[:, 2].sum() / s[:, 3].sum() for s in sides]
    error = math.sqrt(sum((linear(s, 0, 1) - theta * linear(s, 2, 3)).var(ddof=1) / len(s) for s in sides))
    return plain[0], plain[1], plain[1] - plain[0] - theta * (before[1] - before[0]), error


def oracle_sequence(difference: float, error: float, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Return half width and p-value of the asymptotic confidence sequence."""
    rho2 = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / 5000
    half = error * math.sqrt(n) * math.sqrt(
        2 * (n * rho2 + 1) / (n * math.sqrt(rho2)) ** 2 * math.log(math.sqrt(n * rho2 + 1) / alpha)
    )  # fmt: skip
    e_value = math.exp(rho2 * n * (difference / error) ** 2 / (2 * (n * rho2 + 1))) / math.sqrt(n * rho2 + 1)
    return half, min(1.0, 1 / e_value)


@pytest.mark.parametrize(
    ("keep_first", "covariate_days", "outcome_days", "caps"),
    [(False, 14, None, {}), (True, 14, 7, {"minutes": 0.9, "revenue": 0.95}), (False, 0, 10, {"clicks": 0.9})],
)
def test_every_figure_equals_the_plain_recomputation(tmp_path, keep_first, covariate_days, outcome_days, caps) -> None:
    exposures, outcomes = history(11)
    other = [{**e, "tenant_id": "b"} for e in history(12)[0]]
    declared = {"metrics": METRICS, "multiple_exposures": "first" if keep_first else "exclude"}
    collection = run(
        tmp_path, exposures + other, outcomes, experiments={"x": declared}, covariate_days=covariate_days,
        outcome_days=outcome_days, winsorise=caps,
    )  # fmt: skip
    check_declaration(ExperimentTrackingCollector, collection)
    found = values(collection)
    variant, first, several, facts = oracle_units(
        exposures, outcomes, keep_first=keep_first, covariate_days=covariate_days, outcome_days=outcome_days, caps=caps
    )
    counts = Counter(variant.values())
    assert {v: found["units", "x", v] for v in ("control", "b", "c")} == counts
    assert len(several) > 5
    assert found["multiple_exposures", "x"] == pytest.approx(len(several) / len(first))
    assert found["srm_p_value", "x"] == pytest.approx(stats.chisquare(list(counts.values())).pvalue, rel=1e-9)

    def table(name: str, of: str) -> np.ndarray:
        metric = METRICS[name]
        source, under = metric.get("source", name), metric.get("denominator")
        rows = []
        for unit, v in variant.items():
            if v == of:
                row = list(facts.get((unit, source), [0.0] * 4))
                if under:
                    other_row = facts.get((unit, under), [0.0] * 4)
                    row[1], row[3] = other_row[0], other_row[2]
                rows.append(row)
        return np.array(rows)

    p: dict[tuple[str, str], float] = {}
    for name, metric in METRICS.items():
        for v in ("b", "c"):
            control, treatment = table(name, "control"), table(name, v)
            plain_control, plain, difference, error = oracle_comparison(metric["kind"], control, treatment)
            half, p[name, v] = oracle_sequence(difference, error, len(control) + len(treatment))
            assert found["value", "x", name, "control"] == pytest.approx(plain_control, rel=1e-9)
            assert found["value", "x", name, v] == pytest.approx(plain, rel=1e-9)
            effect = [found["effect", "x", name, v, "absolute", b] for b in ("estimate", "low", "high")]
            assert effect == pytest.approx([difference, difference - half, difference + half], rel=1e-8, abs=1e-9)
            assert found["p_value", "x", name, v, "none"] == pytest.approx(p[name, v], rel=1e-7)
            assert found["log10_p_value", "x", name, v] == pytest.approx(math.log10(p[name, v]), rel=1e-7, abs=1e-12)
    for role, adjust in (("success", holm), ("exploratory", benjamini_hochberg)):
        family = [key for key in p if METRICS[key[0]].get("role", "success") == role]
        for key, adjusted in zip(family, adjust(np.array([p[k] for k in family])), strict=True):
            assert found["p_value", "x", *key, "family"] == pytest.approx(adjusted, rel=1e-7)
    for v in ("b", "c"):
        assert found["p_value", "x", "stalls", v, "family"] == found["p_value", "x", "stalls", v, "none"]
        assert found["decision", "x", "per_outcome", v] is None
    assert found["decision", "x", "minutes", "b"] == int(found["p_value", "x", "minutes", "b", "family"] <= 0.05)


def test_batches_of_any_split_and_order_tell_the_same(tmp_path) -> None:
    exposures, outcomes = history(13, units=80)
    config = {"experiments": {"x": {"metrics": METRICS}}, "winsorise": {"minutes": 0.9}}
    whole = values(run(tmp_path / "whole", exposures, outcomes, **config))
    rng = random.Random(1)
    shuffled, late = rng.sample(exposures, len(exposures)), rng.sample(outcomes, len(outcomes))
    batches = [{"exposure": shuffled[i::3], "outcome": late[i::3]} for i in range(3)]
    parts = values(collect(ExperimentTrackingCollector, tmp_path / "parts", batches, END, **config))
    assert set(whole) == set(parts)
    for key, value in whole.items():
        assert parts[key] == (None if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)), key


def two_variants(units: int, lift: float = 0.0, sd: float = 1.0, *, seed: int = 3, control: float = 10.0):
    rng = np.random.default_rng(seed)
    exposures, outcomes = [], []
    for number in range(units):
        variant = "treatment" if number % 2 else "control"
        when = END - timedelta(days=10) + timedelta(minutes=14 * 60 * number / units * 10)
        exposures.append(exposure(f"u{number}", variant, when))
        value = control + (lift if number % 2 else 0.0) + sd * rng.standard_normal()
        outcomes.append(outcome(f"u{number}", "m", value, when + timedelta(minutes=1)))
    return exposures, outcomes


def test_an_experiment_nobody_declared_is_read_by_the_documented_defaults(tmp_path) -> None:
    exposures, outcomes = two_variants(300, lift=1.0)
    outcomes += [outcome(e["unit_id"].decode(), "other", 1.0, END - timedelta(hours=1)) for e in exposures]
    found = values(run(tmp_path, exposures, outcomes))
    assert found["running",] == 1
    control = [o["value"] for o in outcomes if o["metric"] == "m"][::2]
    assert found["value", "x", "m", "control"] == pytest.approx(np.mean(control))
    assert found["p_value", "x", "m", "treatment", "none"] < 0.05
    assert found["decision", "x", "m", "treatment"] is None
    assert found["progress", "x"] is None
    assert found["effect", "x", "other", "treatment", "absolute", "estimate"] == 0.0
    assert found["p_value", "x", "other", "treatment", "none"] is None  # nothing varies


def test_without_a_variant_named_control_the_first_by_name_is(tmp_path) -> None:
    exposures, outcomes = two_variants(60)
    renamed = [{**e, "variant": {"control": "blue", "treatment": "red"}[e["variant"]]} for e in exposures]
    found = values(run(tmp_path / "undeclared", renamed, outcomes))
    assert ("effect", "x", "m", "red", "relative", "low") in found
    found = values(run(tmp_path / "declared", renamed, outcomes, experiments={"x": {"control": "red"}}))
    assert ("effect", "x", "m", "blue", "relative", "low") in found


def test_a_sample_ratio_mismatch_voids_every_effect_and_is_a_finding(tmp_path) -> None:
    exposures, outcomes = two_variants(400, lift=3.0)
    kept = [e for number, e in enumerate(exposures) if e["variant"] == "control" or number % 3]
    collection = run(tmp_path, kept, outcomes, experiments={"x": {"metrics": {"m": {"role": "guardrail"}}}})
    found = values(collection)
    counts = Counter(e["variant"] for e in kept)
    expected = stats.chisquare([counts["control"], counts["treatment"]]).pvalue
    assert expected < 0.001
    assert found["srm_p_value", "x"] == pytest.approx(expected)
    void = [
        v
        for key, v in found.items()
        if key[0] in ("effect", "p_value", "log10_p_value", "decision", "detectable_effect")
    ]
    assert void
    assert set(void) == {None}
    for metric in ("effect", "p_value", "decision"):
        assert all("sample ratio mismatch" in reason for reason in reasons(collection, metric))
    [finding] = collection.findings
    assert (finding.rule, finding.key) == ("experiment_sample_ratio", "x")


def test_intended_weights_are_what_units_are_tested_against(tmp_path) -> None:
    exposures, outcomes = two_variants(400)
    kept = [e for number, e in enumerate(exposures) if e["variant"] == "control" or number % 3]
    weights = {"control": 3, "treatment": 2}
    found = values(run(tmp_path, kept, outcomes, experiments={"x": {"weights": weights}}))
    assert found["srm_p_value", "x"] > 0.5
    assert found["p_value", "x", "m", "treatment", "none"] is not None


def test_a_fixed_design_concludes_nothing_before_its_size_and_by_welch_then(tmp_path) -> None:
    exposures, outcomes = two_variants(300, lift=0.4)
    metrics = {"m": {"kind": "mean"}}
    early = {"x": {"design": "fixed", "max_units": 400, "metrics": metrics}}
    collection = run(tmp_path / "early", exposures, outcomes, experiments=early)
    found = values(collection)
    assert found["progress", "x"] == 0.75
    assert found["effect", "x", "m", "treatment", "absolute", "estimate"] is not None
    assert found["effect", "x", "m", "treatment", "absolute", "low"] is None
    assert found["effect", "x", "m", "treatment", "relative", "high"] is None
    assert found["decision", "x", "m", "treatment"] is None
    assert all("300 of the planned 400" in reason for reason in reasons(collection, "p_value"))
    assert (
        found["days_left", "x"] == math.ceil(100 / (sum(1 for _ in exposures) / 10) - 1e-9)
        or found["days_left", "x"] > 0
    )
    due = {"x": {"design": "fixed", "max_units": 300, "metrics": metrics}}
    found = values(run(tmp_path / "due", exposures, outcomes, experiments=due, covariate_days=0))
    control, treatment = ([o["value"] for o in outcomes[i::2]] for i in (0, 1))
    expected = stats.ttest_ind(treatment, control, equal_var=False)
    assert found["p_value", "x", "m", "treatment", "none"] == pytest.approx(expected.pvalue, rel=1e-9)
    interval = expected.confidence_interval()
    assert found["effect", "x", "m", "treatment", "absolute", "low"] == pytest.approx(interval.low, rel=1e-9)
    assert found["decision", "x", "m", "treatment"] == 1
    assert found["days_left", "x"] == 0


def group_sequential(max_units: int, **more: Any) -> dict[str, Any]:
    return {"x": {"design": "group_sequential", "max_units": max_units, "metrics": {"m": {}}, **more}}


def test_a_group_sequential_design_is_read_at_midnight_by_the_bound_of_that_look(tmp_path) -> None:
    exposures, outcomes = two_variants(600, lift=0.3)
    found = values(run(tmp_path, exposures, outcomes, experiments=group_sequential(1000), covariate_days=0))
    midnight = END.replace(hour=0)
    seen = [e for e in exposures if e["event_time"] < midnight]
    counts = Counter(e["event_time"].date() for e in seen)
    fractions = (np.cumsum([counts[d] for d in sorted(counts)]) / 1000).tolist()
    assert found["progress", "x"] == pytest.approx(len(seen) / 1000)
    bound = spending_bounds(fractions, 0.05, "quadratic")[-1]
    data = {v: [o["value"] for o, e in zip(outcomes, exposures, strict=True)
                if e["variant"] == v and o["event_time"] < midnight] for v in ("control", "treatment")}  # fmt: skip
    # An exposed unit whose outcome comes after midnight has none yet, which is zero.
    for v, known in data.items():
        known.extend([0.0] * (sum(e["variant"] == v for e in seen) - len(known)))
    level = 2 * stats.norm.sf(bound)
    expected = stats.ttest_ind(data["treatment"], data["control"], equal_var=False)
    interval = expected.confidence_interval(1 - level)
    assert found["p_value", "x", "m", "treatment", "none"] == pytest.approx(expected.pvalue, rel=1e-8)
    ends = [found["effect", "x", "m", "treatment", "absolute", b] for b in ("low", "high")]
    assert ends == pytest.approx([interval.low, interval.high], rel=1e-7)
    assert found["decision", "x", "m", "treatment"] == int(expected.pvalue <= level)


def test_before_its_first_look_and_after_its_last_a_group_sequential_design_is_not_read(tmp_path) -> None:
    exposures, outcomes = two_variants(200)
    today = [{**e, "event_time": END - timedelta(hours=1)} for e in exposures]
    started = [{**o, "event_time": END - timedelta(minutes=30)} for o in outcomes]
    collection = run(tmp_path / "first", today, started, experiments=group_sequential(1000))
    assert values(collection)["progress", "x"] == 0.0
    collection = run(tmp_path / "look", exposures[:20], outcomes[:20], experiments=group_sequential(100_000))
    assert any("no look was taken yet" in reason for reason in reasons(collection, "p_value"))
    collection = run(tmp_path / "last", exposures, outcomes, experiments=group_sequential(100))
    assert any("at an earlier look" in reason for reason in reasons(collection, "p_value"))
    tiny = group_sequential(20_000, spending="obrien_fleming")
    collection = run(tmp_path / "tiny", exposures, outcomes, experiments=tiny)
    assert any("no part of the level" in reason for reason in reasons(collection, "p_value"))


def test_days_with_few_units_keep_the_bound_of_the_last_look(tmp_path) -> None:
    exposures, outcomes = two_variants(400, lift=0.5)
    ended = [e for e in exposures if e["event_time"] < END - timedelta(days=5)]
    there = {e["unit_id"] for e in ended}
    kept = [o for o in outcomes if o["unit_id"] in there]
    found = values(run(tmp_path, ended, kept, experiments=group_sequential(1000)))
    assert found["p_value", "x", "m", "treatment", "none"] is not None
    assert found["days_left", "x"] > 0


def test_a_nobody_for_a_week_leaves_the_end_unknown(tmp_path) -> None:
    exposures, outcomes = two_variants(400)
    old = [e for e in exposures if e["event_time"] < END - timedelta(days=8)]
    collection = run(tmp_path, old, outcomes, experiments=group_sequential(1000))
    assert reasons(collection, "days_left") == {"no unit came on the last seven complete days"}


@pytest.mark.parametrize(
    ("lift", "direction", "decision"),
    [
        (0.0, "increase", 1),
        (-1.0, "increase", -1),
        (-1.0, "decrease", 1),
        (1.0, "decrease", -1),
        (-0.52, "increase", 0),
    ],
)
def test_a_guardrail_is_judged_by_its_margin(tmp_path, lift: float, direction: str, decision: int) -> None:
    exposures, outcomes = two_variants(400, lift=lift)
    metric = {"kind": "mean", "role": "guardrail", "margin": 0.05, "direction": direction}
    collection = run(tmp_path, exposures, outcomes, experiments={"x": {"metrics": {"m": metric}}})
    assert values(collection)["decision", "x", "m", "treatment"] == decision
    assert [f.rule for f in collection.findings] == (["experiment_guardrail"] if decision == -1 else [])


@pytest.mark.parametrize(
    ("lift", "direction", "decision", "correction"),
    [(1.0, "increase", 1, "bonferroni"), (1.0, "decrease", -1, "holm"), (0.0, "increase", 0, "hommel")],
)
def test_a_success_metric_is_decided_in_its_direction(tmp_path, lift, direction, decision, correction) -> None:
    exposures, outcomes = two_variants(400, lift=lift)
    metrics = {"m": {"direction": direction}, "n": {"source": "m", "kind": "ratio"}}
    declared = {"x": {"metrics": metrics, "correction": correction}}
    assert (
        values(run(tmp_path, exposures, outcomes, experiments=declared))["decision", "x", "m", "treatment"] == decision
    )


def test_a_group_sequential_design_splits_its_level_between_its_success_metrics(tmp_path) -> None:
    exposures, outcomes = two_variants(400, lift=0.5)
    metrics = {
        "m": {},
        "n": {"source": "m", "kind": "proportion"},
        "e": {"source": "m", "role": "exploratory"},
    }
    one, two = (
        values(run(tmp_path / name, exposures, outcomes, experiments=group_sequential(1000, **more)))
        for name, more in (("one", {}), ("two", {"metrics": metrics}))
    )
    high = "effect", "x", "m", "treatment", "absolute", "high"
    assert two[high] > one[high]
    p_values = [found["p_value", "x", "m", "treatment", "none"] for found in (one, two)]
    assert p_values[0] == pytest.approx(p_values[1])  # an engine adds up in any order


@pytest.mark.parametrize("case", ["empty variant", "one unit", "all convert", "no variance", "zero control"])
def test_small_and_degenerate_data_give_nulls_with_reasons(tmp_path, case: str) -> None:
    exposures, outcomes = two_variants(40, control=0.0 if case == "zero control" else 10.0, lift=5.0, sd=0.0)
    metrics: dict[str, Any] = {"m": {"kind": "mean"}}
    weights = {"control": 1, "treatment": 1}
    if case == "empty variant":
        exposures = [e for e in exposures if e["variant"] == "control"][:5]
    if case == "one unit":
        exposures = exposures[:2]
    if case == "all convert":
        metrics = {"m": {"kind": "proportion"}}
    if case == "zero control":
        outcomes = [o for number, o in enumerate(outcomes) if number % 4 == 1]
    collection = run(tmp_path, exposures, outcomes, experiments={"x": {"metrics": metrics, "weights": weights}})
    found = values(collection)  # a NaN or a missing reason would have failed in the model
    expected = {"empty variant": "no units", "one unit": "one unit", "all convert": "no unit differs",
                "no variance": "no unit differs", "zero control": "is zero"}[case]  # fmt: skip
    low = found["effect", "x", "m", "treatment", "relative", "low"]
    assert low is None
    assert any(expected in reason for reason in reasons(collection, "effect"))
    if case == "zero control":
        assert found["p_value", "x", "m", "treatment", "none"] is not None


def test_a_common_offset_of_a_billion_changes_no_test(tmp_path) -> None:
    exposures, outcomes = two_variants(200, lift=0.5)
    outcomes = [{**o, "value": round(o["value"] * 1024) / 1024} for o in outcomes]
    metrics = {"x": {"metrics": {"m": {"kind": "mean"}}}}
    near = values(run(tmp_path / "near", exposures, outcomes, experiments=metrics))
    moved = [{**o, "value": o["value"] + 1e9} for o in outcomes]
    far = values(run(tmp_path / "far", exposures, moved, experiments=metrics))
    key = "p_value", "x", "m", "treatment", "none"
    assert far[key] == pytest.approx(near[key], rel=1e-6)  # a mean near 1e9 is known to 1e-7 only


def test_an_empty_tenant_has_no_experiment_and_a_declared_one_waits(tmp_path) -> None:
    assert values(run(tmp_path / "nothing", [], [])) == {("running",): 0}
    declared = {"x": {"metrics": {"m": {}}, "weights": {"control": 1, "b": 1}, "max_units": 50}}
    collection = run(tmp_path / "declared", [], [], experiments=declared)
    found = values(collection)
    assert found["running",] == 0
    assert found["units", "x", "b"] == 0
    assert found["srm_p_value", "x"] is None
    assert found["progress", "x"] == 0.0
    assert reasons(collection, "multiple_exposures") == {"no unit was exposed"}


def test_more_than_is_reported_is_an_issue(tmp_path) -> None:
    exposures, outcomes = history(14, units=60)
    more = [{**e, "experiment": f"y{number}"} for number in range(3) for e in exposures[: 20 + number]]
    limits = {"max_experiments": 2, "max_variants": 2, "max_metrics": 1, "experiments": {"y0": {}}}
    collection = run(tmp_path, exposures + more, outcomes, **limits)
    found = values(collection)
    assert {key[1] for key in found if key[0] == "srm_p_value"} == {"y0", "x"}  # declared first, then the largest
    assert {issue.code for issue in collection.issues} == {"too_many_experiments", "too_many_metrics"}
    crowded = [{**e, "variant": f"v{number % 7}"} for number, e in enumerate(exposures)]
    collection = run(tmp_path / "variants", crowded, outcomes, **limits)
    assert "too_many_variants" in {issue.code for issue in collection.issues}


def test_exposures_are_read_as_far_back_as_told_and_up_to_the_end(tmp_path) -> None:
    exposures, outcomes = two_variants(40)
    old = exposure("old", "control", END - timedelta(days=5, seconds=1))
    edge = exposure("edge", "control", END - timedelta(days=5))
    future = exposure("future", "control", END)
    recent = [e for e in exposures if e["event_time"] >= END - timedelta(days=5)]
    found = values(run(tmp_path, [*recent, old, edge, future], outcomes, lookback_days=5))
    assert found["units", "x", "control"] == sum(e["variant"] == "control" for e in recent) + 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"experiments": {"x": {"design": "fixed"}}}, "max_units"),
        ({"experiments": {"x": {"weights": {"control": 1}}}}, "two variants"),
        ({"experiments": {"x": {"metrics": {"m": {"denominator": "n"}}}}}, "kind 'ratio'"),
        ({"experiments": {"x": {"metrics": {"m": {"margin": 0}}}}}, "greater than 0"),
        ({"winsorise": {"m": 1.5}}, "less than 1"),
        ({"experiments": {"x": {"colour": "red"}}}, "Extra inputs"),
    ],
)
def test_a_design_that_makes_no_sense_is_refused(config, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ExperimentTrackingConfig(**config)


def test_the_queries_are_portable() -> None:
    declared = {
        "x": {"metrics": METRICS, "multiple_exposures": "first"},
        "y": group_sequential(10)["x"],
    }
    config = ExperimentTrackingConfig(experiments=declared, winsorise={"minutes": 0.9, "clicks": 0.99}, outcome_days=7)
    assert portable(ExperimentTrackingCollector(config), END)
    assert portable(ExperimentTrackingCollector(), END)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_truth_of_a_simulation_is_recovered(tmp_path, seed: int) -> None:
    """Known effects lie in the intervals, values are the generator's own sums, a biased assignment is found."""
    start = END - timedelta(days=3)
    world = World(seed, users=12_000, tracks=100)
    tenant, people = max(world.populations.items(), key=lambda item: len(item[1]))
    truth = Truth(world).tenants[tenant]
    learning = Learning(world, people, truth)
    n = len(people) * len(world.experiments)
    days = np.linspace(0, 2 * 86_400e6, n).astype(np.int64) + micros(start)
    exposed = learning.exposure(days)
    observed = learning.outcome(np.linspace(0, 86_000e6, 2 * n).astype(np.int64) + micros(start) + 2 * 86_400_000_000)
    events = [
        [{**row, "tenant_id": "a", "unit_id": row["unit_id"].encode(), "user_id": None} for row in
         batch.select([c for c in batch.schema.names if c in names]).to_pylist()]
        for batch, names in ((exposed, ("event_time", "experiment", "variant", "unit_id")),
                             (observed, ("event_time", "unit_id", "metric", "value")))
    ]  # fmt: skip
    collection = run(tmp_path, events[0], events[1])
    found = values(collection)
    facts = truth.learning.to_dict()["experiments"]
    biased = {finding.key for finding in collection.findings}
    assert biased <= {"hifi_upsell"}
    for experiment in world.experiments:
        for variant in VARIANTS:
            told = facts[experiment.name][variant]
            assert found["units", experiment.name, variant] == told["units"]
            value = told["outcome_sum"] / told["outcomes"]
            assert found["value", experiment.name, experiment.metric, variant] == pytest.approx(value, rel=1e-9)
        low, high = (
            found["effect", experiment.name, experiment.metric, "treatment", "absolute", b] for b in ("low", "high")
        )
        if experiment.name in biased:
            assert (low, high) == (None, None)
        else:
            assert low <= experiment.effect <= high
