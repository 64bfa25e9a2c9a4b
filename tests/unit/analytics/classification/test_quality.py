"""Measures of predicted probabilities against their definitions written out pair by pair and bin by bin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.analytics.classification import (
    auc,
    brier,
    brier_skill,
    censored_brier,
    lift,
    log_loss,
    reliability,
)
from collectors.errors import BadInput

CASES = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=40)


@given(CASES)
def test_scores_are_those_of_the_definitions(rows):
    p, y = (list(column) for column in zip(*rows, strict=True))
    assert brier(p, y) == pytest.approx(sum((a - b) ** 2 for a, b in rows) / len(rows))
    rate = sum(y) / len(y)
    if rate in (0, 1):
        assert brier_skill(p, y) is None
    else:
        assert brier_skill(p, y) == pytest.approx(1 - brier(p, y) / (rate * (1 - rate)))
    if any(a == (0.0 if b else 1.0) for a, b in rows):
        assert log_loss(p, y) is None
    else:
        assert log_loss(p, y) == pytest.approx(-sum(math.log(a if b else 1 - a) for a, b in rows) / len(rows))
    pairs = [(a > b) + (a == b) / 2 for a, left in rows if left for b, stayed in rows if not stayed]
    assert auc(p, y) == (pytest.approx(sum(pairs) / len(pairs)) if pairs else None)


@given(CASES, st.randoms(use_true_random=False))
def test_no_measure_depends_on_the_order_of_cases(rows, random):
    shuffled = rows[:]
    random.shuffle(shuffled)
    (p, y), (q, z) = (tuple(np.array(c) for c in zip(*r, strict=True)) for r in (rows, shuffled))
    for measure in (auc, lift):
        assert measure(p, y) == measure(q, z)
    for by in ("mass", "width"):
        assert reliability(p, y, by=by).error == reliability(q, z, by=by).error
    assert brier(p, y) == pytest.approx(brier(q, z))


def test_the_base_rate_has_no_skill_and_certainty_about_the_truth_has_all():
    y = [0, 0, 0, 1]
    assert brier_skill([0.25] * 4, y) == pytest.approx(0)
    assert brier_skill(y, y) == 1
    assert log_loss(y, y) == 0
    assert auc([1, 1, 1, 1], y) == 0.5


def test_lift_shares_out_cases_tied_at_the_limit():
    assert lift([9, 8, *range(18, 0, -1)][::-1], [0] * 18 + [1, 0]) is not None
    assert lift(np.arange(20), np.arange(20) >= 18) == pytest.approx(10)
    assert lift(np.arange(20), np.arange(20) < 2) == 0
    # All tied: as good as chance, whichever come first.
    assert lift(np.zeros(20), np.arange(20) < 3) == pytest.approx(1)
    # The tenth is 1.5 of 15 cases: one whole, and half of two tied, of which one left.
    scores, left = [3, 2, 2, *[0] * 12], [1, 1, 0, *[0] * 12]
    assert lift(scores, left) == pytest.approx((1 + 0.25) / 1.5 / (2 / 15))
    assert lift([1, 2], [0, 0]) is None
    assert lift(np.arange(20), np.arange(20) >= 10, share=0.5) == pytest.approx(2)


def test_calibration_error_weighs_the_gaps_of_bins_by_their_cases():
    p = [0.05, 0.15, 0.15, 0.95]
    by_width = reliability(p, [0, 1, 0, 1], by="width")
    assert by_width.cases.tolist() == [1, 2, 1]
    assert by_width.predicted == pytest.approx([0.05, 0.15, 0.95])
    assert by_width.observed == pytest.approx([0, 0.5, 1])
    assert by_width.error == pytest.approx((0.05 + 2 * 0.35 + 0.05) / 4)


def test_bins_of_equal_mass_hold_equal_numbers_and_never_part_equal_probabilities():
    p = np.arange(100) / 100
    assert reliability(p, p > 2, bins=10).cases.tolist() == [10] * 10
    tied = np.repeat([0.1, 0.2], [95, 5])
    assert reliability(tied, tied > 0.15).cases.tolist() == [95, 5]


def test_calibrated_probabilities_have_a_small_error():
    rng = np.random.default_rng(9)
    p = rng.beta(2, 8, 50_000)
    y = rng.random(50_000) < p
    for by in ("mass", "width"):
        assert reliability(p, y, by=by).error < 0.01
        assert reliability(np.clip(2 * p, 0, 1), y, by=by).error > 0.15


def test_nothing_gives_nothing():
    assert (brier([], []), brier_skill([], []), log_loss([], []), auc([], []), lift([], [])) == (None,) * 5
    assert reliability([], []).error is None
    assert censored_brier([], [], [], 5) is None
    assert brier_skill([0.5], [1]) is None


def test_probabilities_that_are_none_are_refused():
    for bad in ([1.5], [-0.1], [math.nan], [0.5, 0.5]):
        with pytest.raises(BadInput):
            brier(bad, [1])
    with pytest.raises(BadInput):
        censored_brier([0.5, 0.5], [1], [1], 1)


LIVES = st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.sampled_from([0.1, 0.5, 0.9])), min_size=1, max_size=30)


@given(LIVES, st.integers(1, 10))
def test_the_censored_brier_score_is_that_of_its_definition(rows, horizon):
    """Weights by the chance not to have been censored before, deaths coming before censoring at the same time."""

    def uncensored(after_time: float, *, included: bool) -> float:
        chance = 1.0
        for t in sorted({t for t, died, _ in rows if not died}):
            if t < after_time or (included and t == after_time):
                at_risk = sum(a > t or (a == t and not died) for a, died, _ in rows)
                chance *= 1 - sum(a == t and not died for a, died, _ in rows) / at_risk
        return chance

    time, died, survival = zip(*rows, strict=True)
    found = censored_brier(survival, time, died, horizon)
    alive = any(t > horizon for t in time)
    if not alive and any(t == max(time) and not d for t, d, _ in rows):
        assert found is None
        return
    total = 0.0
    for t, d, s in rows:
        if t > horizon:
            total += (1 - s) ** 2 / uncensored(horizon, included=True)
        elif d:
            total += s**2 / uncensored(t, included=False)
    assert found == pytest.approx(total / len(rows))


def test_without_censoring_the_censored_brier_score_is_the_brier_score():
    rng = np.random.default_rng(3)
    time, survival = rng.integers(1, 50, 200), rng.random(200)
    assert censored_brier(survival, time, np.ones(200), 20) == pytest.approx(brier(survival, time > 20))


def test_censoring_does_not_bias_the_brier_score():
    rng = np.random.default_rng(4)
    n = 100_000
    life, limit = rng.exponential(10, n), rng.exponential(15, n)
    survival = np.full(n, 0.6)
    expected = brier(survival, life > 8)
    assert censored_brier(survival, np.minimum(life, limit), life <= limit, 8) == pytest.approx(expected, abs=5e-3)
