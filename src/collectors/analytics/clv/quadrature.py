"""Integrals the models need, to about 1e-10 of their value.

The published formulas use hypergeometric functions, with removable singularities (a = 1, s = 1, gamma = 1) and
cancellation near them. As expectations over the latent trait the same quantities have neither.
"""

from __future__ import annotations

import numpy as np

from collectors.analytics.clv.fit import Floats

_NODES = 128
_TAIL = 45.0  # exp(-45) is below the rounding of what it is added to


def beta_rule(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Return points and weights, shape (n, nodes), of the expectation over p ~ Beta(a, b), a and b of shape (n,).

    The trapezoidal rule in s, logit(p) = centre + scale * sinh(s), converges exponentially: both tails fall off
    doubly exponentially however small a or b is, and the peak is resolved however sharp it is. The weights are
    normalised to add up to 1, which also spares the beta function.
    """
    a, b = np.asarray(a, dtype=np.float64)[:, None], np.asarray(b, dtype=np.float64)[:, None]
    scale = 2 * np.minimum(1.0, np.sqrt(1 / a + 1 / b))
    reach = np.arcsinh(_TAIL / scale * (1 + 1 / np.minimum(a, b)))
    s = reach * np.linspace(-1.0, 1.0, _NODES)
    logit = np.log((a + 1) / (b + 1)) + scale * np.sinh(s)
    log_weight = -a * np.logaddexp(0, -logit) - b * np.logaddexp(0, logit) + np.log(np.cosh(s))
    weights = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    points = np.exp(np.maximum(-np.logaddexp(0, -logit), -650.0))  # never zero: it is divided by
    return points, weights


def legendre(nodes: int) -> tuple[Floats, Floats]:
    """Return points in (0, 1) and weights of the Gauss-Legendre rule."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    return (x + 1) / 2, w / 2


def scaled_expint(s: float, z: Floats) -> Floats:
    """Return exp(z) E_s(z) = the integral of exp(-z t) (1 + t)^(-s) over t > 0, for real s and z > 0.

    With Tricomi's U: exp(z) E_s(z) = z^(s-1) U(s, s, z).
    """
    z = np.asarray(z, dtype=np.float64)
    end = np.log1p((_TAIL + max(0.0, -s) * 10) / z)
    if s > 1:
        end = np.minimum(end, _TAIL / (s - 1))
    points, weights = legendre(_NODES)
    v = end[..., None] * points
    return np.asarray(end * (np.exp(-z[..., None] * np.expm1(v) + (1 - s) * v) @ weights))


def first_share(logs: Floats) -> Floats:
    """Return exp(logs[:, 0]) as a share of the sum of exp(logs) along each row, shape (rows,)."""
    return np.asarray(np.exp(logs[:, 0] - np.logaddexp.reduce(logs, axis=1)))


def shrinking_power(base_log: Floats, exponent: float) -> Floats:
    """Return (1 - exp(exponent * base_log)) / exponent, which is -base_log where the exponent is 0."""
    product = exponent * np.asarray(base_log, dtype=np.float64)
    small = np.abs(product) < 1e-300
    safe = np.where(small, 1.0, product)
    return np.asarray(np.where(small, -base_log, -np.expm1(safe) / safe * base_log))
