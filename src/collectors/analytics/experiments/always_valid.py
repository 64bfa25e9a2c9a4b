"""Tests that may be looked at any time and stopped at any time, for experiments whose size is not planned.

A p-value here is valid at every look at once: under no effect it ever falls to ``alpha`` with probability at most
``alpha``, and the intervals cover the truth at all looks at once with probability at least 1 - ``alpha``.

    * ``asymptotic``: confidence sequences for means of any distribution (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas,
      Time-uniform central limit theory and asymptotic confidence sequences, arXiv 2103.06476, theorem 2.2).
    * ``mixture``: the mixture sequential probability ratio test, for a normal difference whose effect is drawn from
      N(0, tau^2) (Johari, Koomen, Pekelis & Walsh 2022, Operations Research 70).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collectors.analytics.experiments.moments import Floats

TUNED_FOR = 5000.0
"""Sample size at which an asymptotic sequence is tightest, unless told otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """A confidence sequence at one time: p-values, their logarithms, and half the width of the intervals."""

    p_value: Floats
    log_p: Floats
    half_width: Floats


def asymptotic(
    difference: Floats, error: Floats, n: Floats, alpha: Floats | float = 0.05, tuned_for: Floats | float = TUNED_FOR
) -> Sequence:
    """Test a difference with standard ``error`` of ``n`` units of both variants together.

    NaN where the error is not positive. ``tuned_for`` must be chosen before the data are seen.
    """
    error = np.where(error > 0, error, np.nan)
    level = -2.0 * np.log(np.asarray(alpha))
    rho_square = (level + np.log(level + 1.0)) / np.asarray(tuned_for)
    information = np.where(n > 0, n, np.nan) * rho_square
    growth = 2.0 * (information + 1.0) / information
    boundary = 0.5 * np.log1p(information)
    half = error * np.sqrt(growth * (boundary + level / 2.0))
    log_p = np.minimum(0.0, boundary - (difference / error) ** 2 / growth)
    return Sequence(np.exp(log_p), log_p, half)


def mixture(difference: Floats, error: Floats, tau: Floats | float, alpha: Floats | float = 0.05) -> Sequence:
    """Test a difference with standard ``error`` where effects of about ``tau`` are expected; NaN without error."""
    variance = np.where(error > 0, error, np.nan) ** 2
    prior = np.asarray(tau) ** 2
    growth = 2.0 * variance * (variance + prior) / prior
    boundary = 0.5 * np.log1p(prior / variance)
    half = np.sqrt(growth * (boundary - np.log(np.asarray(alpha))))
    log_p = np.minimum(0.0, boundary - difference**2 / growth)
    return Sequence(np.exp(log_p), log_p, half)
