"""Learning, calibrating and judging on snapshots in the order of time."""

from __future__ import annotations

import numpy as np
import pytest

from collectors.analytics.churn_model import ENOUGH_FOR_ISOTONIC, ChurnModel, Snapshot, learn
from collectors.analytics.classification import Isotonic, Platt
from collectors.analytics.refusal import Reason, Refusal

NAMES = ("listening", "plan")


def snapshot(seed: int, n: int = 4000, base: float = -2.0) -> Snapshot:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2)) * [2, 5] + [10, 0]
    return Snapshot(x, rng.random(n) < 1 / (1 + np.exp(-base + (x[:, 0] - 10) / 2)))


def learnt(*snapshots: Snapshot, **options) -> ChurnModel:
    model = learn(*snapshots, NAMES, **options)
    assert isinstance(model, ChurnModel), model
    return model


def test_effects_are_per_standard_deviation_and_their_intervals_hold_the_truth():
    model = learnt(snapshot(1), snapshot(2), snapshot(3))
    lower, upper = model.logistic.interval()
    assert np.all((lower < [-1, 0]) & (upper > [-1, 0]))
    assert model.quality.auc > 0.7
    assert model.quality.top_decile_lift > 2
    assert model.quality.brier_skill > 0.05
    assert model.quality.calibration_error < 0.03


def test_a_base_rate_that_moved_since_learning_is_mended_by_the_calibration():
    """Churn doubles after the model was learnt; calibrated on what came later, its mean is right again."""
    judged = snapshot(3, base=-1.0)
    model = learnt(snapshot(1, base=-2.0), snapshot(2, base=-1.0), judged)
    raw = model.logistic.probability(judged.features)
    assert raw.mean() < 0.75 * judged.left.mean()
    assert model.probability(judged.features).mean() == pytest.approx(judged.left.mean(), abs=0.02)


def test_the_curve_has_steps_only_where_there_are_enough_cases():
    big, small = snapshot(1), snapshot(2, n=ENOUGH_FOR_ISOTONIC - 1)
    assert isinstance(learnt(big, big, big).calibration, Isotonic)
    assert isinstance(learnt(big, small, big).calibration, Platt)
    assert isinstance(learnt(big, small, big, calibration="isotonic").calibration, Isotonic)
    assert isinstance(learnt(big, big, big, calibration="platt").calibration, Platt)


def test_judging_is_on_cases_that_were_not_learnt_from():
    """Of noise a model learns something about its own cases, and nothing about later ones."""
    rng = np.random.default_rng(4)
    noise = [Snapshot(rng.normal(size=(600, 2)), rng.random(600) < 0.2) for _ in range(3)]
    assert learnt(*noise).quality.auc == pytest.approx(0.5, abs=0.07)
    assert learnt(*noise).quality.brier_skill < 0.02


def test_a_feature_that_did_not_vary_is_left_out():
    def flat(part: Snapshot) -> Snapshot:
        return Snapshot(np.column_stack([part.features[:, 0], np.full(len(part.left), 3.0)]), part.left)

    first, second, third = (flat(snapshot(seed)) for seed in (1, 2, 3))
    model = learnt(first, second, third)
    assert model.varied.tolist() == [True, False]
    assert model.logistic.names == ("listening",)
    # It may vary later without being used.
    assert np.array_equal(model.probability(snapshot(3).features), model.probability(third.features))


def test_too_few_of_either_are_refused_naming_what_for():
    whole = snapshot(1)
    for place, use in enumerate(("learn from", "calibrate on", "judge by")):
        parts = [whole, whole, whole]
        parts[place] = Snapshot(whole.features, np.zeros(len(whole.left), bool))
        refused = learn(*parts, NAMES)
        assert isinstance(refused, Refusal)
        assert (refused.reason, use in refused.detail) == (Reason.TOO_FEW, True)
        parts[place] = Snapshot(whole.features, np.ones(len(whole.left), bool))
        assert learn(*parts, NAMES).reason is Reason.TOO_FEW


def test_what_cannot_be_learnt_or_calibrated_is_refused():
    flat = Snapshot(np.ones((400, 2)), np.arange(400) % 2 == 0)
    assert learn(flat, flat, flat, NAMES, calibration="platt").reason is Reason.CONSTANT
    split = Snapshot(np.column_stack([np.arange(400), np.arange(400) % 7]), np.arange(400) < 200)
    assert learn(split, split, split, NAMES, penalty=0).reason is Reason.SEPARATION
