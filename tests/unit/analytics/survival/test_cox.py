"""Proportional hazards against published fits, the likelihood written out, and what must hold of any data.

Published: the Rossi recidivism study and Freireich's leukaemia trial as fitted by R's coxph and lifelines.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from tests.support.survival_data import ROSSI_COVARIATES, lives, rossi

from collectors.analytics.refusal import Reason, Refusal
from collectors.analytics.survival import CoxModel, concordance, cox, proportionality
from collectors.analytics.survival.cox import RiskSets
from collectors.errors import BadInput


def fitted(*arguments, **options) -> CoxModel:
    model = cox(*arguments, **options)
    assert isinstance(model, CoxModel), model
    return model


def test_recidivism_with_efrons_ties_is_the_published_fit():
    x, week, arrest = rossi()
    model = fitted(x, week, arrest, names=ROSSI_COVARIATES)
    assert model.coefficients == pytest.approx(
        [-0.379422, -0.057438, 0.313900, -0.149796, -0.433704, -0.084871, 0.091497], abs=5e-7
    )
    assert model.standard_errors == pytest.approx(
        [0.191379, 0.021999, 0.307993, 0.212224, 0.381868, 0.195757, 0.028649], abs=6e-7
    )
    assert model.log_likelihood == pytest.approx(-658.747659, abs=5e-7)
    assert model.likelihood_ratio_test.statistic == pytest.approx(33.265946, abs=5e-7)
    assert model.likelihood_ratio_test.degrees == 7
    assert concordance(model.risk(x), week, arrest).index == pytest.approx(0.640329, abs=5e-7)
    assert (model.subjects, model.deaths, model.names) == (432, 114, ROSSI_COVARIATES)
    # R: coxph(Surv(week, arrest) ~ fin + age + race + wexp + mar + paro + prio, rossi)
    assert model.wald_test.statistic == pytest.approx(32.11, abs=5e-3)
    assert model.score_test.statistic == pytest.approx(33.53, abs=5e-3)
    assert model.p_values[:2] == pytest.approx([0.0474, 0.00903], abs=5e-5)
    lower, upper = (np.exp(bound) for bound in model.interval())
    assert (lower[0], upper[0]) == pytest.approx((0.4702, 0.9957), abs=5e-5)


def test_recidivism_with_breslows_ties_is_the_published_fit():
    x, week, arrest = rossi()
    model = fitted(x, week, arrest, ties="breslow")
    assert model.coefficients[0] == pytest.approx(-0.379022, abs=5e-7)
    assert model.log_likelihood == pytest.approx(-659.120606, abs=5e-7)


@pytest.mark.parametrize(
    ("ties", "coefficient", "error", "log_likelihood"),
    [("efron", 1.572125, 0.412397, -85.008425), ("breslow", 1.509191, 0.409564, -86.379622)],
)
def test_the_leukaemia_trial_is_the_published_fit(ties, coefficient, error, log_likelihood):
    gehan = lives("gehan")
    model = fitted((gehan.group == "1")[:, None], gehan.time, gehan.event, ties=ties)
    assert model.coefficients[0] == pytest.approx(coefficient, abs=5e-7)
    assert model.standard_errors[0] == pytest.approx(error, abs=5e-7)
    assert model.log_likelihood == pytest.approx(log_likelihood, abs=5e-7)


def written_out(beta, x, time, event, entry, ties) -> float:
    """Add up the log partial likelihood, death by death."""
    total = 0.0
    for t in sorted(set(time[event])):
        dead = np.flatnonzero(event & (time == t))
        weight = np.exp(x @ beta) * ((entry < t) & (time >= t))
        for place in range(len(dead)):
            share = place / len(dead) if ties == "efron" else 0.0
            total += (x[dead[place]] @ beta) - math.log(weight.sum() - share * weight[dead].sum())
    return total


RECORDS = st.lists(
    st.tuples(st.integers(1, 6), st.booleans(), st.integers(0, 5), st.integers(-3, 3), st.integers(-3, 3)),
    min_size=2,
    max_size=25,
).filter(lambda rows: any(row[1] for row in rows))


@given(RECORDS, st.sampled_from(["efron", "breslow"]), st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
def test_the_likelihood_and_its_derivatives_are_those_written_out(records, ties, beta):
    time, event, entry, *columns = (np.array(column) for column in zip(*records, strict=True))
    entry = np.minimum(entry, time - 1)
    x, at = np.column_stack(columns).astype(float), np.array(beta)
    sets = RiskSets.of(x, time, event, entry, ties)
    state = sets.at(at)
    assert state.log_likelihood == pytest.approx(written_out(at, x, time, event, entry, ties), abs=1e-9)
    score = approx_fprime(at, lambda b: sets.at(b).log_likelihood, 1e-6)
    assert state.score == pytest.approx(score, abs=1e-3)
    for j in range(2):
        slope = approx_fprime(at, lambda b, j=j: sets.at(b).score[j], 1e-6)
        assert -state.information[j] == pytest.approx(slope, abs=1e-2)


@given(RECORDS, st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_order_changes_nothing_and_nothing_is_nan(records, random):
    def run(rows):
        time, event, entry, *columns = (np.array(column) for column in zip(*rows, strict=True))
        return cox(np.column_stack(columns), time, event, np.minimum(entry, time - 1))

    shuffled = records[:]
    random.shuffle(shuffled)
    first, second = run(records), run(shuffled)
    assert type(first) is type(second)
    if isinstance(first, Refusal):
        assert first.reason is second.reason
        return
    assert first.coefficients == pytest.approx(second.coefficients, abs=1e-6)
    for values in (first.coefficients, first.standard_errors, first.p_values, first.baseline_hazard):
        assert np.isfinite(values).all()
    for test in (first.likelihood_ratio_test, first.wald_test, first.score_test):
        assert test.statistic > -1e-9
        assert 0 <= test.p_value <= 1


def test_units_and_origin_of_covariates_do_not_matter():
    x, week, arrest = rossi()
    scale, shift = np.array([1, 1e6, 1, 1e-6, 1, 1, 40]), np.array([0, 3e9, 5, 0, -1, 0, 7])
    plain, changed = fitted(x, week, arrest), fitted(x * scale + shift, week, arrest)
    assert changed.coefficients * scale == pytest.approx(plain.coefficients, rel=1e-5)
    assert changed.log_likelihood == pytest.approx(plain.log_likelihood, rel=1e-9)
    assert changed.baseline_hazard == pytest.approx(plain.baseline_hazard, rel=1e-6)


def test_splitting_a_lifetime_at_any_time_changes_nothing():
    """Who is observed in two pieces, the second entered where the first was censored, is who was observed in one."""
    x, week, arrest = rossi()
    cut = np.random.default_rng(4).uniform(0.01, 0.99, len(week)) * week
    pieces = fitted(
        np.concatenate([x, x]),
        np.concatenate([cut, week]),
        np.concatenate([np.zeros(len(week)), arrest]),
        np.concatenate([np.zeros(len(week)), cut]),
    )
    whole = fitted(x, week.astype(float), arrest)
    assert pieces.coefficients == pytest.approx(whole.coefficients, rel=1e-8)
    assert pieces.covariance == pytest.approx(whole.covariance, rel=1e-6)
    assert pieces.log_likelihood == pytest.approx(whole.log_likelihood)


def test_survival_starts_from_the_baseline_of_a_subject_at_the_means():
    x, week, arrest = rossi()
    model = fitted(x, week, arrest)
    average = model.survival(x.mean(axis=0)[None], [0, 26, 52])[0]
    # R: survfit(coxph(...)), whose strata of one are at the means; at 52 weeks
    assert average[0] == 1.0
    assert average[2] == pytest.approx(math.exp(-model.baseline_hazard[-1]))
    assert np.all(np.diff(average) < 0)
    assert model.survival(x, [52]).mean() == pytest.approx(0.736111, abs=0.01)


def test_data_without_an_estimate_are_refused_with_the_reason():
    time, x = [1, 2, 3, 4, 5, 6], np.array([[1.0], [0.0], [1.0], [1.0], [0.0], [1.0]])
    assert cox(x, time, [0] * 6).reason is Reason.NO_EVENTS
    constant = cox(np.column_stack([x, np.full(6, 7.0)]), time, [1] * 6, names=["a", "b"])
    assert (constant.reason, str(constant)) == (Reason.CONSTANT, "b is the same for everybody")
    assert cox([[2.0]], [3], [1]).reason is Reason.CONSTANT
    assert cox(np.column_stack([x, 2 * x + 1]), time, [1] * 6).reason is Reason.COLLINEAR
    # The only one who left was alone at risk.
    assert cox([[1.0], [2.0]], [1, 2], [0, 1]).reason is Reason.COLLINEAR
    assert isinstance(cox(x, time, [1] * 6), CoxModel)


@pytest.mark.parametrize("n", [4, 40, 4000])
def test_monotone_likelihood_is_refused_not_reported_as_a_huge_effect(n):
    """Peers return a coefficient near 20 with a standard error in the thousands, and at best a warning."""
    x = np.zeros((n, 1))
    x[: n // 2] = 1.0
    separated = cox(x, np.arange(1, n + 1), np.arange(n) < n // 2, names=["plan"])
    assert isinstance(separated, Refusal)
    assert separated.reason is Reason.SEPARATION
    assert "plan" in separated.detail
    ordered = cox(-np.arange(n)[:, None], np.arange(1, n + 1), np.ones(n, bool))
    assert isinstance(ordered, Refusal)
    assert ordered.reason is Reason.SEPARATION


def test_all_leaving_at_one_time_tell_nothing():
    x = np.array([[1.0], [2.0], [4.0]])
    assert isinstance(cox(x, [5, 5, 5], [1, 1, 1], ties="breslow"), CoxModel | Refusal)
    efron = cox(x, [5, 5, 5], [1, 1, 1])
    assert isinstance(efron, Refusal) or abs(efron.coefficients[0]) < 1e-9


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.ones(3), {}, "covariates"),
        (np.ones((2, 1)), {}, "covariates"),
        (np.ones((3, 0)), {}, "covariates"),
        (np.array([[1.0], [math.nan], [2.0]]), {}, "covariates"),
        (np.ones((3, 1)), {"names": ["a", "b"]}, "one name"),
    ],
)
def test_malformed_covariates_are_refused_saying_what_is_wrong(x, options, message):
    with pytest.raises(BadInput, match=message):
        cox(x, [1, 2, 3], [1, 1, 0], **options)


def test_residuals_add_up_to_0_and_have_the_variance_of_the_score():
    x, week, arrest = rossi()
    for ties in ("efron", "breslow"):
        model = fitted(x, week, arrest, ties=ties)
        found = proportionality(model, x, week, arrest)
        assert found.residuals.shape == (114, 7)
        assert found.residuals.sum(axis=0) == pytest.approx(np.zeros(7), abs=1e-7)


def test_recidivism_depends_on_age_and_work_in_a_way_that_changes_with_time():
    """The published finding: Fox & Weisberg, and the documentation of lifelines (11.03 and 7.48 by ranks)."""
    x, week, arrest = rossi()
    found = proportionality(
        fitted(x, week, arrest, names=ROSSI_COVARIATES), x, week, arrest, transform="rank"
    ).covariates
    assert found["age"].statistic == pytest.approx(11.03, rel=0.03)
    assert found["wexp"].statistic == pytest.approx(7.48, rel=0.03)
    assert {name for name, test in found.items() if test.p_value < 0.05} == {"age", "wexp"}


@pytest.mark.parametrize("transform", ["km", "rank", "identity", "log"])
def test_a_ratio_that_turns_round_is_found_and_a_constant_one_is_not(transform):
    rng = np.random.default_rng(8)
    x = rng.integers(0, 2, (4000, 1)).astype(float)
    early = rng.exponential(np.exp(-x[:, 0]))
    constant = fitted(x, early, np.ones(4000, bool))
    held = proportionality(constant, x, early, np.ones(4000, bool), transform=transform)
    assert held.overall.p_value > 0.01
    turned = np.where(early < 0.4, early, 0.4 + rng.exponential(np.exp(x[:, 0])))
    found = proportionality(fitted(x, turned, np.ones(4000, bool)), x, turned, np.ones(4000, bool), transform=transform)
    assert found.overall.p_value < 1e-10


def test_one_time_of_death_says_nothing_of_constancy():
    x, time, event = np.array([[0.0], [1.0], [1.0], [0.0]]), [1, 1, 2, 2], [1, 1, 0, 0]
    model = fitted(x, time, event)
    assert proportionality(model, x, time, event) is None


RANKED = st.lists(
    st.tuples(st.integers(1, 8), st.booleans(), st.integers(0, 7), st.integers(0, 5)), min_size=1, max_size=30
)


@given(RANKED)
def test_concordance_counts_every_pair_that_can_be_compared(records):
    time, event, entry, risk = (np.array(column) for column in zip(*records, strict=True))
    entry = np.minimum(entry, time - 1)
    for start in (None, entry):
        counts = [0, 0, 0]
        for i, j in itertools.permutations(range(len(time)), 2):
            later = time[j] > time[i] or (time[j] == time[i] and not event[j])
            there = start is None or start[j] < time[i]
            if event[i] and later and there:
                counts[0 if risk[i] > risk[j] else 1 if risk[i] < risk[j] else 2] += 1
        found = concordance(risk, time, event, start)
        assert [found.concordant, found.discordant, found.tied] == counts
        assert found.index == (None if not sum(counts) else (counts[0] + counts[2] / 2) / sum(counts))


def test_concordance_of_malformed_risks_is_refused():
    with pytest.raises(BadInput, match="finite risk"):
        concordance([math.nan], [1], [1])
