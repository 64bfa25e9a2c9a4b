"""How many units an experiment needs, how small an effect it can find, and how many days that takes.

Normal approximations for the difference of two variants: ``variance`` is that of one unit, for a mean the sample
variance, for a ratio that of its linearised values, both after CUPED if it is used. A test of non-inferiority is one-
sided, and what has to be bridged is the margin (plus the effect, if one is expected).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, special

from collectors.analytics.experiments.group_sequential import crossing_probabilities, spending_bounds
from collectors.analytics.experiments.moments import Floats
from collectors.errors import BadInput


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted: level, power, sides, and units under treatment per unit under control."""

    alpha: float = 0.05
    power: float = 0.8
    two_sided: bool = True
    allocation: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.alpha < self.power < 1 and self.allocation > 0):
            raise BadInput("a plan needs 0 < alpha < power < 1 and an allocation above 0")

    @property
    def drift(self) -> float:
        """The z that must be expected at the end for a fixed-size test to have the power."""
        side = self.alpha / 2.0 if self.two_sided else self.alpha
        return float(special.ndtri(1.0 - side) + special.ndtri(self.power))


def units_needed(effect: Floats | float, variance: Floats | float, plan: Plan | None = None) -> Floats:
    """Return the units of both variants together that find a difference of ``effect``; infinite if it is zero."""
    plan = plan or Plan()
    size = np.abs(np.asarray(effect, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        under_control = (plan.drift / size) ** 2 * np.asarray(variance) * (1.0 + 1.0 / plan.allocation)
    both = np.ceil(under_control) + np.ceil(under_control * plan.allocation)
    return np.asarray(np.where(size > 0, both, np.inf), dtype=np.float64)


def units_needed_for_shares(control: float, treatment: float, plan: Plan | None = None) -> float:
    """Return the units of both variants together that tell two shares apart, by the pooled test."""
    plan = plan or Plan()
    if not (0 < control < 1 and 0 < treatment < 1) or control == treatment:
        raise BadInput("two different shares between 0 and 1 are needed")
    k = plan.allocation
    pooled = (control + k * treatment) / (1.0 + k)
    side = plan.alpha / 2.0 if plan.two_sided else plan.alpha
    under_null = -special.ndtri(side) * math.sqrt(pooled * (1.0 - pooled) * (1.0 + 1.0 / k))
    under_effect = special.ndtri(plan.power) * math.sqrt(control * (1 - control) + treatment * (1 - treatment) / k)
    n = ((under_null + under_effect) / (treatment - control)) ** 2
    return float(math.ceil(n) + math.ceil(n * k))


def detectable_effect(error: Floats, plan: Plan | None = None) -> Floats:
    """Return the difference that a comparison with standard ``error`` finds with the plan's power."""
    return np.asarray((plan or Plan()).drift * error, dtype=np.float64)


def achieved_power(effect: Floats | float, error: Floats | float, plan: Plan | None = None) -> Floats:
    """Return the chance of finding ``effect`` (either sign, if two-sided) with standard ``error``."""
    plan = plan or Plan()
    z = np.asarray(effect) / np.asarray(error)
    if not plan.two_sided:
        return np.asarray(special.ndtr(z + special.ndtri(plan.alpha)), dtype=np.float64)
    limit = special.ndtri(plan.alpha / 2.0)
    return np.asarray(special.ndtr(z + limit) + special.ndtr(-z + limit), dtype=np.float64)


def sequential_inflation(fractions: Sequence[float], spending: str = "quadratic", plan: Plan | None = None) -> float:
    """Return by what the largest size of a group-sequential test exceeds that of a fixed test of the same power."""
    return _inflation(tuple(fractions), spending, plan or Plan())


@lru_cache(maxsize=64)
def _inflation(fractions: tuple[float, ...], spending: str, plan: Plan) -> float:
    bounds = spending_bounds(fractions, plan.alpha, spending, two_sided=plan.two_sided)

    def shortfall(drift: float) -> float:
        return plan.power - sum(crossing_probabilities(fractions, bounds, drift, two_sided=plan.two_sided))

    drift = optimize.brentq(shortfall, plan.drift * 0.9, plan.drift * 3.0, xtol=1e-10)
    return float((drift / plan.drift) ** 2)


def days_needed(units: float, first_seen: Sequence[int]) -> int | None:
    """Return the days until ``units`` have been exposed, if days go on like the last seven of ``first_seen``.

    ``first_seen`` counts the units first exposed on each complete day so far. 0 if they are there already; None if
    nobody came in the last seven days.
    """
    missing = units - sum(first_seen)
    if missing <= 0:
        return 0
    recent = first_seen[-7:]
    rate = sum(recent) / len(recent) if recent else 0.0
    return math.ceil(missing / rate) if rate > 0 and math.isfinite(missing) else None
