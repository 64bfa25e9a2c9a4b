# requirements: spotify-confidence==4.1.0 pandas<3 pytest
"""Experiment kernels against spotify-confidence: where it is right, and by how much it is not."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import spotify_confidence
from spotify_confidence.analysis.frequentist.sequential_bound_solver import bounds

from collectors.analytics.experiments.comparisons import relative, welch, z_test
from collectors.analytics.experiments.estimates import mean
from collectors.analytics.experiments.group_sequential import spending_bounds
from collectors.analytics.experiments.moments import Moments

N, SUM, SQUARES = (20000.0, 20400.0), (48213.0, 51177.0), (301455.0, 339012.0)


def sides():
    columns = [np.array(c) for c in (N, SUM, SQUARES)]
    moments = Moments.of_sums(columns[0], columns[1][:, None], columns[2][:, None, None])
    return [mean(moments.take(np.array([side]))) for side in (0, 1)]


def theirs(test, **how):
    frame = pd.DataFrame({"variant": ["control", "test"], "n": N, "sum": SUM, "squares": SQUARES})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        analysis = test(
            frame, numerator_column="sum", numerator_sum_squares_column="squares", denominator_column="n",
            categorical_group_columns="variant",
        )  # fmt: skip
        return analysis.difference("control", "test", **how).iloc[0]


@pytest.mark.parametrize(("ours", "test"), [(welch, "StudentsTTest"), (z_test, "ZTest")])
def test_absolute_differences_agree(ours, test: str) -> None:
    found, expected = ours(*sides()), theirs(getattr(spotify_confidence, test))
    assert found.value[0] == pytest.approx(expected["difference"], rel=1e-12)
    assert found.p_value[0] == pytest.approx(expected["p-value"], rel=1e-10)
    assert (found.low[0], found.high[0]) == pytest.approx((expected["ci_lower"], expected["ci_upper"]), rel=1e-10)


def test_its_relative_interval_leaves_out_the_variance_of_control() -> None:
    found, expected = relative(*sides()), theirs(spotify_confidence.StudentsTTest, absolute=False)
    absolute, control = welch(*sides()), sides()[0].value[0]
    assert expected["ci_lower"] == pytest.approx(absolute.low[0] / control, rel=1e-10)
    assert expected["ci_upper"] == pytest.approx(absolute.high[0] / control, rel=1e-10)
    assert found.low[0] < expected["ci_lower"] - 4e-4
    assert found.high[0] > expected["ci_upper"] + 4e-4


@pytest.mark.parametrize(("looks", "off"), [(5, 7e-5), (30, 5e-4), (100, 3e-3)])
@pytest.mark.parametrize("sides_", [1, 2])
def test_bounds_agree_as_far_as_its_grid_is_fine(looks: int, off: float, sides_: int) -> None:
    fractions = np.arange(1, looks + 1) / looks
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = bounds(fractions, 0.05, 2, 8, sides_, max_nints=1000).df["zb"].to_numpy(float)
    found = spending_bounds(fractions.tolist(), 0.05, "quadratic", two_sided=sides_ == 2)
    assert np.max(np.abs(expected - found)) < off
    if looks == 100:
        assert np.max(np.abs(expected - found)) > 1e-4
