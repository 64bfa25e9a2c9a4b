"""Tail probabilities and their logarithms, computed as tails: a small one is small, not a difference that became zero.

Where a probability is below what a float can hold, its logarithm still tells how small it is: the continued fractions
of the incomplete beta and gamma functions (DLMF 8.17.22 and 8.9.2) are evaluated without their leading factor.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from collectors.analytics.experiments.moments import Floats

_REPRESENTABLE = 1e-290
_STEPS = 300


def normal_two_sided(z: Floats) -> tuple[Floats, Floats]:
    """Return P(abs(Z) > abs(z)) of a standard normal, and its natural logarithm."""
    size = -np.abs(z)
    return 2.0 * special.ndtr(size), np.log(2.0) + special.log_ndtr(size)


def student_two_sided(t: Floats, df: Floats) -> tuple[Floats, Floats]:
    """Return P(abs(T) > abs(t)) of Student's t with ``df`` degrees of freedom, and its natural logarithm."""
    t, df = np.broadcast_arrays(np.asarray(t, np.float64), np.asarray(df, np.float64))
    p = 2.0 * special.stdtr(df, -np.abs(t))
    with np.errstate(divide="ignore"):
        log_p = np.log(p)
    tiny = p < _REPRESENTABLE
    if np.any(tiny):
        log_p = np.array(log_p)
        log_p[tiny] = _log_student_tail(np.abs(t[tiny]), df[tiny])
    return p, log_p


def chi_square(x: Floats, df: Floats) -> tuple[Floats, Floats]:
    """Return P(X > x) of chi-square with ``df`` degrees of freedom, and its natural logarithm."""
    x, df = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(df, np.float64))
    p = special.chdtrc(df, x)
    with np.errstate(divide="ignore"):
        log_p = np.log(p)
    tiny = p < _REPRESENTABLE
    if np.any(tiny):
        log_p = np.array(log_p)
        log_p[tiny] = _log_gamma_tail(df[tiny] / 2.0, x[tiny] / 2.0)
    return p, log_p


def _log_student_tail(t: Floats, df: Floats) -> Floats:
    """Return log I_x(df/2, 1/2) at x = df / (df + t^2), which is small here."""
    a, b = df / 2.0, 0.5
    log_x = -np.log1p(t * t / df)
    log_rest = np.log(t) * 2 - np.log(df) + log_x  # log(1 - x)
    x = np.exp(log_x)
    front = a * log_x + b * log_rest - np.log(a) - special.betaln(a, b)
    # Modified Lentz; see Numerical Recipes, 6.4.
    c, d = np.ones_like(x), 1.0 / (1.0 - (a + b) * x / (a + 1.0))
    value = d.copy()
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1.0 / (1.0 + step * d)
            c = 1.0 + step / c
            value *= c * d
    return np.asarray(front + np.log(value), dtype=np.float64)


def _log_gamma_tail(a: Floats, x: Floats) -> Floats:
    """Return log Q(a, x), which is small here, so x is far above a."""
    base = x + 1.0 - a
    c, d = np.full_like(x, 1e300), 1.0 / base
    value = d.copy()
    for m in range(1, _STEPS):
        step = -m * (m - a)
        base = base + 2.0
        d = 1.0 / (base + step * d)
        c = base + step / c
        value *= c * d
    return np.asarray(a * np.log(x) - x - special.gammaln(a) + np.log(value), dtype=np.float64)
