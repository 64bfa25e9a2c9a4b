"""Treatment against control: difference, test and interval, absolute and relative, for any number of pairs at once.

A result that does not exist is NaN in the arrays, and ``undefined`` says why: no caller shows a number where the code
is not ``DEFINED``. Point estimates and tests are undefined apart: with one unit there is a mean but no test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np
from scipy import special

from collectors.analytics.experiments.estimates import Estimate
from collectors.analytics.experiments.moments import Floats, Ints
from collectors.analytics.experiments.tails import normal_two_sided, student_two_sided

Relative: TypeAlias = Literal["delta", "fieller", "log"]


class Undefined(IntEnum):
    """Why a result does not exist."""

    DEFINED = 0
    EMPTY = 1
    ONE_UNIT = 2
    NO_VARIANCE = 3
    ZERO_CONTROL = 4
    UNBOUNDED = 5
    NOT_POSITIVE = 6


REASONS: Mapping[Undefined, str] = MappingProxyType(
    {
        Undefined.EMPTY: "a variant has no units, or its denominator is zero",
        Undefined.ONE_UNIT: "a variant has one unit, so how much units vary is unknown",
        Undefined.NO_VARIANCE: "no unit differs within its variant, so effect and chance cannot be told apart",
        Undefined.ZERO_CONTROL: "the value under control is zero",
        Undefined.UNBOUNDED: "the value under control cannot be told from zero",
        Undefined.NOT_POSITIVE: "the logarithm of a value that is not positive is undefined",
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Treatment minus control, or relative to it; ``undefined`` holds ``Undefined`` codes of test and interval."""

    value: Floats
    error: Floats
    df: Floats
    p_value: Floats
    log_p: Floats
    low: Floats
    high: Floats
    undefined: Ints


def welch(control: Estimate, treatment: Estimate, alpha: Floats | float = 0.05) -> Comparison:
    """Compare by Welch's t test, with Satterthwaite's degrees of freedom (Welch 1947, Biometrika 34)."""
    error, df, undefined = _error(control, treatment)
    value = treatment.value - control.value
    statistic = value / np.where(undefined == 0, error, np.nan)
    p, log_p = student_two_sided(statistic, df)
    half = _student_quantile(df, alpha) * error
    return _comparison(value, error, df, (p, log_p), half, undefined)


def z_test(control: Estimate, treatment: Estimate, alpha: Floats | float = 0.05) -> Comparison:
    """Compare by the normal distribution: for large samples, or variances that are known."""
    error, df, undefined = _error(control, treatment)
    value = treatment.value - control.value
    tails = normal_two_sided(value / np.where(undefined == 0, error, np.nan))
    return _comparison(value, error, np.full_like(df, np.inf), tails, _normal_quantile(alpha) * error, undefined)


def proportions(control: Estimate, treatment: Estimate, alpha: Floats | float = 0.05) -> Comparison:
    """Compare shares: the test pools them, as they are equal if there is no effect; the interval does not.

    So test and interval can disagree at the margin. Estimates are those of ``estimates.proportion``.
    """
    n = control.n + treatment.n
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (control.value * control.n + treatment.value * treatment.n) / n
        pooled_error = np.sqrt(pooled * (1.0 - pooled) * (1.0 / control.n + 1.0 / treatment.n))
    undefined = np.select(
        [(control.n < 1) | (treatment.n < 1), ~(pooled_error > 0)], [Undefined.EMPTY, Undefined.NO_VARIANCE], 0
    )
    value = treatment.value - control.value
    tails = normal_two_sided(value / np.where(undefined == 0, pooled_error, np.nan))
    error = np.sqrt(control.variance + treatment.variance)
    # Where each variant is all or nothing, the unpooled error is zero, which no interval may claim.
    undefined = np.where((undefined == 0) & ~(error > 0), Undefined.NO_VARIANCE, undefined)
    df = np.full_like(value, np.inf)
    return _comparison(value, error, df, tails, _normal_quantile(alpha) * error, undefined)


def relative(
    control: Estimate,
    treatment: Estimate,
    alpha: Floats | float = 0.05,
    method: Relative = "delta",
    df: Floats | None = None,
) -> Comparison:
    """Compare as treatment / control - 1, with an interval by ``method``.

    delta: symmetric, with the variance of a quotient of two means. fieller: exact for normal means; it is unbounded
    where control cannot be told from zero (Fieller 1954, JRSS B 16), and there the others would mislead, so none is
    given. log: delta of the logarithms, asymmetric, for positive values. All count control's own variance, which an
    absolute interval divided by control's mean leaves out. Quantiles are of Student's t with ``df``, by default
    Welch's; infinite for the normal ones of the delta method's original form.
    """
    error, welch_df, undefined = _error(control, treatment)
    df = welch_df if df is None else df
    c, t = np.where(control.value == 0, np.nan, control.value), treatment.value
    undefined = np.where((undefined == 0) & ~np.isfinite(c), Undefined.ZERO_CONTROL, undefined)
    quotient = t / c
    value = quotient - 1.0
    quantile = _student_quantile(df, alpha)
    error = np.sqrt(treatment.variance + quotient**2 * control.variance) / np.abs(c)
    share = quantile**2 * control.variance / c**2  # Fieller's g: how near to zero control may be
    undefined = np.where((undefined == 0) & (share >= 1.0), Undefined.UNBOUNDED, undefined)
    if method == "log":
        undefined = np.where((undefined == 0) & ~((quotient > 0) & (c > 0)), Undefined.NOT_POSITIVE, undefined)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            low, high = (quotient * np.exp(sign * quantile * error / quotient) - 1.0 for sign in (-1, 1))
    elif method == "fieller":
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = treatment.variance * (1.0 - share) + quotient**2 * control.variance
            half = quantile / np.abs(c) * np.sqrt(spread)
            low, high = ((quotient - half) / (1.0 - share) - 1.0, (quotient + half) / (1.0 - share) - 1.0)
    else:
        low, high = value - quantile * error, value + quantile * error
    # The hypothesis is that of the difference: a quotient of one is a difference of zero.
    statistic = value * np.abs(c) / np.where(undefined == 0, np.sqrt(control.variance + treatment.variance), np.nan)
    p, log_p = student_two_sided(statistic, df)
    return Comparison(value, error, df, p, log_p, _shown(low, undefined), _shown(high, undefined), _codes(undefined))


def _error(control: Estimate, treatment: Estimate) -> tuple[Floats, Floats, Ints]:
    """Return standard error and degrees of freedom of a difference, and why there are none."""
    variance = control.variance + treatment.variance
    no_value = ~(np.isfinite(control.value) & np.isfinite(treatment.value))
    undefined = np.select(
        [no_value, (control.n < 2) | (treatment.n < 2), ~(variance > 0)],
        [Undefined.EMPTY, Undefined.ONE_UNIT, Undefined.NO_VARIANCE],
        Undefined.DEFINED,
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        # In shares of the total, so that squares of tiny or huge variances stay in range.
        own, other = control.variance / variance, treatment.variance / variance
        df = 1.0 / (own**2 / (control.n - 1.0) + other**2 / (treatment.n - 1.0))
    return np.sqrt(np.maximum(variance, 0.0)), df, _codes(undefined)


def _comparison(
    value: Floats, error: Floats, df: Floats, tails: tuple[Floats, Floats], half: Floats, undefined: Ints
) -> Comparison:
    low, high = _shown(value - half, undefined), _shown(value + half, undefined)
    return Comparison(value, error, df, _shown(tails[0], undefined), _shown(tails[1], undefined), low, high, undefined)


def _shown(values: Floats, undefined: Ints) -> Floats:
    return np.where(undefined == 0, values, np.nan)


def _codes(undefined: Ints) -> Ints:
    return np.asarray(undefined, dtype=np.int64)


def _student_quantile(df: Floats, alpha: Floats | float) -> Floats:
    return np.asarray(-special.stdtrit(df, np.asarray(alpha) / 2.0), dtype=np.float64)


def _normal_quantile(alpha: Floats | float) -> Floats:
    return np.asarray(-special.ndtri(np.asarray(alpha) / 2.0), dtype=np.float64)
