"""Calibration: the two curves against their definitions, on data that separate, tie or say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from collectors.analytics.classification import Isotonic, Platt, isotonic, platt, reliability
from collectors.analytics.refusal import Reason
from collectors.errors import BadInput

CASES = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({r[1] for r in rows}) == 2
)


def pools(scores: list[int], outcomes: list[bool]) -> dict[int, float]:
    """Pool adjacent violators, as the algorithm is told: merge neighbours until their means rise."""
    blocks: list[list[float]] = []
    members: list[list[int]] = []
    for score in sorted(set(scores)):
        mine = [y for s, y in zip(scores, outcomes, strict=True) if s == score]
        blocks.append([sum(mine), len(mine)])
        members.append([score])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
            members[-2:] = [members[-2] + members[-1]]
    return {s: b[0] / b[1] for b, ms in zip(blocks, members, strict=True) for s in ms}


@given(CASES, st.randoms(use_true_random=False))
def test_isotonic_is_what_pooling_adjacent_violators_gives_in_whatever_order(rows, random):
    scores, outcomes = (list(column) for column in zip(*rows, strict=True))
    curve = isotonic(scores, outcomes)
    assert isinstance(curve, Isotonic)
    expected, least = pools(scores, outcomes), 1 / (len(rows) + 2)
    for score, value in expected.items():
        assert curve.probability([score])[0] == pytest.approx(min(max(value, least), 1 - least))
    assert np.all(np.diff(curve.values) >= 0)
    shuffled = rows[:]
    random.shuffle(shuffled)
    other = isotonic(*(list(column) for column in zip(*shuffled, strict=True)))
    assert other.values.tolist() == curve.values.tolist()


def test_isotonic_makes_nobody_certain_and_goes_straight_between_steps():
    curve = isotonic([0, 1, 2, 3], [0, 0, 1, 1])
    assert curve.probability([-9, 9]) == pytest.approx([1 / 6, 5 / 6])
    assert curve.probability([1.5]) == pytest.approx([0.5])


@given(CASES, st.randoms(use_true_random=False))
def test_platts_sigmoid_solves_its_equations_in_whatever_order(rows, random):
    scores, outcomes = (np.array(column) for column in zip(*rows, strict=True))
    curve = platt(scores, outcomes)
    if len(set(scores.tolist())) == 1:
        assert curve.reason is Reason.CONSTANT
        return
    assert isinstance(curve, Platt)
    yes = int(outcomes.sum())
    target = np.where(outcomes, (yes + 1) / (yes + 2), 1 / (len(rows) - yes + 2))
    miss = target - curve.probability(scores)
    assert (miss.sum(), (miss * scores).sum()) == pytest.approx((0, 0), abs=1e-6)
    order = list(range(len(rows)))
    random.shuffle(order)
    other = platt(scores[order], outcomes[order])
    assert (other.slope, other.intercept) == pytest.approx((curve.slope, curve.intercept), abs=1e-6)


def test_scores_that_separate_give_a_finite_sigmoid():
    curve = platt([1, 2, 3, 4], [0, 0, 1, 1])
    assert isinstance(curve, Platt)
    assert 0 < curve.slope < 10


def test_both_mend_scores_that_are_too_sure_of_themselves():
    rng = np.random.default_rng(5)
    truth = rng.normal(size=20_000)
    y = rng.random(20_000) < expit(truth - 2)
    for fit in (isotonic, platt):
        curve = fit(3 * truth[:10_000], y[:10_000])
        before = reliability(expit(3 * truth[10_000:]), y[10_000:]).error
        after = reliability(curve.probability(3 * truth[10_000:]), y[10_000:]).error
        assert before > 0.2
        assert after < 0.015


def test_the_sigmoid_that_made_the_data_is_found():
    rng = np.random.default_rng(6)
    score = rng.normal(50, 4, 200_000)
    curve = platt(score, rng.random(200_000) < expit(0.5 * score - 27))
    assert (curve.slope, curve.intercept) == pytest.approx((0.5, -27), rel=0.03)


def test_what_says_nothing_is_refused_with_the_reason():
    for fit in (isotonic, platt):
        assert fit([], []).reason is Reason.NO_SUBJECTS
        assert fit([1, 2], [1, 1]).reason is Reason.ONE_CLASS
        with pytest.raises(BadInput):
            fit([1, 2], [1])
        with pytest.raises(BadInput):
            fit([np.nan, 2], [1, 0])
    assert platt([3, 3], [0, 1]).reason is Reason.CONSTANT
    assert isotonic([3, 3], [0, 1]).probability([0]) == pytest.approx([0.5])
