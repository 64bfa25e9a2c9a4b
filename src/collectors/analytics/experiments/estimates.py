"""What a variant's units say of a metric: a value and the variance of that value, by kind of metric.

All arrays have one element a variant of a comparison. Nothing here fails on small data: an estimate that does not
exist (no units, a denominator of zero) is NaN, and ``comparisons`` turns that into a reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collectors.analytics.experiments.moments import Floats, Moments

_ROUNDING = 64 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A value, the variance of the value (its squared standard error), and the units behind it."""

    value: Floats
    variance: Floats
    n: Floats

    def scaled(self, factor: Floats | float) -> Estimate:
        """Return the estimate of ``factor`` times the value."""
        return Estimate(self.value * factor, self.variance * factor**2, self.n)


def mean(moments: Moments, variable: int = 0) -> Estimate:
    """Estimate the mean of a variable over units."""
    value = np.where(moments.n > 0, moments.mean[:, variable] + moments.rest[:, variable], np.nan)
    return Estimate(value, moments.covariance()[:, variable, variable] / _units(moments.n), moments.n)


def proportion(hits: Floats, n: Floats) -> Estimate:
    """Estimate the share of ``n`` units that are hits."""
    share = hits / _units(n)
    return Estimate(share, share * (1.0 - share) / _units(n), n)


def ratio(moments: Moments, numerator: int = 0, denominator: int = 1) -> Estimate:
    """Estimate a ratio of totals over units, such as plays per session, by the delta method.

    Deng, Knoblich & Lu (2018, KDD): the variance is that of the units' linearised values
    (numerator - ratio * denominator) / mean denominator.
    """
    value, slope = _linearised(moments, numerator, denominator)
    return Estimate(value, _quadratic(moments, slope, slope) / _units(moments.n), moments.n)


@dataclass(frozen=True, slots=True, eq=False)
class Adjusted:
    """Two variants' estimates after CUPED.

    ``theta`` is the coefficient that was used, ``reduction`` the share of the variance of the difference that went
    away; where the covariate does not vary, both are 0 and the estimates are unadjusted.
    """

    control: Estimate
    treatment: Estimate
    theta: Floats
    reduction: Floats


def cuped_mean(control: Moments, treatment: Moments, variable: int = 0, covariate: int = 1) -> Adjusted:
    """Estimate means adjusted for a variable measured before exposure (Deng, Xu, Kohavi & Walker 2013, WSDM)."""
    outcome, before = (_unit_vector(control, i) for i in (variable, covariate))
    plain = mean(control, variable), mean(treatment, variable)
    covariates = (mean(side, covariate).value for side in (control, treatment, control.merge(treatment)))
    return _adjusted(control, treatment, plain, (outcome, outcome, outcome), (before, before, before), *covariates)


def cuped_ratio(
    control: Moments, treatment: Moments, outcome: tuple[int, int] = (0, 1), covariate: tuple[int, int] = (2, 3)
) -> Adjusted:
    """Estimate ratios of totals adjusted for the same ratio before exposure: CUPED on linearised values.

    ``outcome`` and ``covariate`` are the variables of numerator and denominator.
    """
    sides = (control, treatment, control.merge(treatment))
    slopes = [_linearised(side, *outcome)[1] for side in sides]
    before = [_linearised(side, *covariate) for side in sides]
    plain = ratio(control, *outcome), ratio(treatment, *outcome)
    return _adjusted(
        control,
        treatment,
        plain,
        (slopes[0], slopes[1], slopes[2]),
        (before[0][1], before[1][1], before[2][1]),
        *(value for value, _slope in before),
    )


def _adjusted(
    control: Moments,
    treatment: Moments,
    plain: tuple[Estimate, Estimate],
    outcome: tuple[Floats, Floats, Floats],
    before: tuple[Floats, Floats, Floats],
    control_before: Floats,
    treatment_before: Floats,
    overall_before: Floats,
) -> Adjusted:
    """Adjust ``plain`` by one theta of both variants' pooled units; vectors are of control, treatment and both."""
    both = control.merge(treatment)
    spread = _quadratic(both, before[2], before[2])
    usable = (spread > 0) & np.isfinite(control_before) & np.isfinite(treatment_before)
    theta = np.where(usable, _quadratic(both, outcome[2], before[2]) / np.where(usable, spread, 1.0), 0.0)
    adjusted = []
    for side, estimate, of, covariate, value in (
        (control, plain[0], outcome[0], before[0], control_before),
        (treatment, plain[1], outcome[1], before[1], treatment_before),
    ):
        change = -2 * theta * _quadratic(side, of, covariate) + theta**2 * _quadratic(side, covariate, covariate)
        adjusted.append(
            Estimate(
                np.where(usable, estimate.value - theta * (value - overall_before), estimate.value),
                np.where(usable, np.maximum(estimate.variance + change / _units(side.n), 0.0), estimate.variance),
                estimate.n,
            )
        )
    total = plain[0].variance + plain[1].variance
    left = adjusted[0].variance + adjusted[1].variance
    reduction = np.where(usable & (total > 0), 1.0 - left / np.where(total > 0, total, 1.0), 0.0)
    return Adjusted(adjusted[0], adjusted[1], theta, reduction)


def _linearised(moments: Moments, numerator: int, denominator: int) -> tuple[Floats, Floats]:
    """Return the ratio of two means and its gradient (g, k); NaN where the denominator is not positive."""
    under = moments.mean[:, denominator] + moments.rest[:, denominator]
    under = np.where(under > 0, under, np.nan)
    value = (moments.mean[:, numerator] + moments.rest[:, numerator]) / under
    slope = np.zeros_like(moments.mean)
    slope[:, numerator] = 1.0 / under
    slope[:, denominator] = -value / under
    return value, slope


def _quadratic(moments: Moments, one: Floats, other: Floats) -> Floats:
    """Return the covariance of two linear combinations of the variables; what is only rounding is zero."""
    terms = one[:, :, None] * moments.covariance() * other[:, None, :]
    total = terms.sum(axis=(1, 2))
    return np.where(np.abs(total) <= _ROUNDING * np.abs(terms).sum(axis=(1, 2)), 0.0, total)


def _unit_vector(moments: Moments, variable: int) -> Floats:
    vector = np.zeros_like(moments.mean)
    vector[:, variable] = 1.0
    return vector


def _units(n: Floats) -> Floats:
    return np.where(n > 0, n, np.nan)
