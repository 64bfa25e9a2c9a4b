"""Group-sequential tests: a planned maximum size, a few looks on the way, and a level shared out among them.

At look k the information fraction t_k is the share of the planned information that is there. Statistics of the looks
are those of a Brownian motion B(t) with z = B(t) / sqrt(t), if the information of all looks adds up (Jennison &
Turnbull 2000, Group Sequential Methods). A spending function says how much of the level may be used up by t; the bound
of a look is what spends just that (Lan & DeMets 1983, Biometrika 70), so looks may come when they like.

The density of B at a look, of paths that crossed no bound yet, is carried from look to look by Gauss-Legendre
integration over the region where the trial goes on (Armitage, McPherson & Rowe 1969, JRSS A 132). The density is as
smooth as a normal of the last step's variance, so the number of nodes follows from the widths of region and steps.
Bounds depend on fractions and level alone, and are cached by them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from scipy import optimize, special

from collectors.analytics.experiments.moments import Floats
from collectors.errors import BadInput

SMALLEST_STEP = 0.001
"""Least gain of information from look to look."""

_REACH = 9.0  # standard deviations beyond which a path is never met
_NEVER = 38.0  # a bound of so many is beyond what a float's tail can hold
_FEWEST_NODES, _NODES_PER_WIDTH = 48, 3.0


def _quadratic(t: float, alpha: float) -> float:
    return alpha * t * t


def _obrien_fleming(t: float, alpha: float) -> float:
    return 2.0 * float(special.ndtr(special.ndtri(alpha / 2.0) / math.sqrt(t)))


def _pocock(t: float, alpha: float) -> float:
    return alpha * math.log1p((math.e - 1.0) * t)


SPENDING: Mapping[str, Callable[[float, float], float]] = MappingProxyType(
    {"quadratic": _quadratic, "obrien_fleming": _obrien_fleming, "pocock": _pocock}
)
"""What part of ``alpha``, the level of one side, may be spent by fraction ``t``.

``obrien_fleming`` and ``pocock`` are the functions of Lan & DeMets that come near to those constant designs;
``quadratic``, alpha t^2, is the default of Spotify's published method.
"""


def spending_bounds(
    fractions: Sequence[float], alpha: float = 0.05, spending: str = "quadratic", *, two_sided: bool = True
) -> tuple[float, ...]:
    """Return the z bound of each look; a look that may spend nothing has an infinite one.

    ``fractions`` rise from above 0 to at most 1. If ``two_sided``, ``alpha`` is halved between the sides and the trial
    stops at a bound of either sign. Raises BadInput for fractions or a spending function that do not exist.
    """
    return _spending_bounds(_checked(fractions), alpha, spending, two_sided)


@lru_cache(maxsize=512)
def _spending_bounds(fractions: tuple[float, ...], alpha: float, spending: str, two_sided: bool) -> tuple[float, ...]:
    if spending not in SPENDING:
        raise BadInput(f"there is no spending function {spending[:32]!r}; there are: {', '.join(SPENDING)}")
    spend, side = SPENDING[spending], alpha / 2.0 if two_sided else alpha
    walk, spent, bounds = _Walk(two_sided=two_sided), 0.0, []
    for t, following in zip(fractions, (*fractions[1:], math.inf), strict=True):
        due = spend(t, side)
        bound = walk.bound(t, due - spent)
        spent = due
        bounds.append(bound)
        walk.go_on(t, bound, following)
    return tuple(bounds)


def pocock_bounds(fractions: Sequence[float], alpha: float = 0.05, *, two_sided: bool = True) -> tuple[float, ...]:
    """Return Pocock's design (1977, Biometrika 64): the same z bound at each look."""
    return _shaped_bounds(_checked(fractions), alpha, 0.0, two_sided)


def obrien_fleming_bounds(
    fractions: Sequence[float], alpha: float = 0.05, *, two_sided: bool = True
) -> tuple[float, ...]:
    """Return O'Brien & Fleming's design (1979, Biometrics 35): z bounds that fall as 1 / sqrt(t)."""
    return _shaped_bounds(_checked(fractions), alpha, 0.5, two_sided)


@lru_cache(maxsize=64)
def _shaped_bounds(fractions: tuple[float, ...], alpha: float, power: float, two_sided: bool) -> tuple[float, ...]:
    shape = np.asarray(fractions) ** -power * fractions[-1] ** power

    def excess(constant: float) -> float:
        return sum(crossing_probabilities(fractions, (constant * shape).tolist(), two_sided=two_sided)) - alpha

    constant = optimize.brentq(excess, 0.5, 12.0, xtol=1e-12)
    return tuple((constant * shape).tolist())


def crossing_probabilities(
    fractions: Sequence[float], bounds: Sequence[float], drift: float = 0.0, *, two_sided: bool = True
) -> tuple[float, ...]:
    """Return the probability that each look is the first to cross, if B(t) drifts by ``drift`` until t = 1.

    ``drift`` is the expected z at the planned end: 0 under no effect, where the sum is the error of the first kind.
    """
    checked = _checked(fractions)
    walk, crossed = _Walk(two_sided=two_sided, drift=drift), []
    for t, bound, following in zip(checked, bounds, (*checked[1:], math.inf), strict=True):
        crossed.append(walk.crossed(t, bound))
        walk.go_on(t, bound, following)
    return tuple(crossed)


@dataclass(slots=True)
class _Walk:
    """B at the latest look, of the paths that go on: nodes, and the probability each node stands for."""

    two_sided: bool
    drift: float = 0.0
    time: float = 0.0
    nodes: Floats | None = None
    mass: Floats | None = None

    def above(self, t: float, bound: float) -> float:
        """Return the probability of first being above ``bound`` at ``t``."""
        return self._beyond(t, bound, 1.0)

    def crossed(self, t: float, bound: float) -> float:
        """Return the probability of first being beyond a bound at ``t``, on either side if two-sided."""
        return self._beyond(t, bound, 1.0) + (self._beyond(t, bound, -1.0) if self.two_sided else 0.0)

    def _beyond(self, t: float, bound: float, sign: float) -> float:
        nodes, mass = self._state()
        step = t - self.time
        distance = bound * math.sqrt(t) - sign * (nodes + self.drift * step)
        return float(mass @ special.ndtr(-distance / math.sqrt(step)))

    def bound(self, t: float, due: float) -> float:
        """Return the bound above which the probability is ``due``; solved in logarithms, as ``due`` may be tiny."""
        if due <= 0.0 or self.above(t, _NEVER) >= due:
            return math.inf
        goal = math.log(due)
        return float(optimize.brentq(lambda z: math.log(max(self.above(t, z), 1e-320)) - goal, -_REACH, _NEVER))

    def go_on(self, t: float, bound: float, following: float) -> None:
        """Move to look ``t``; ``following`` is when the next one comes, infinite if none does."""
        if math.isinf(following):
            return
        nodes, mass = self._state()
        step, root = t - self.time, math.sqrt(t)
        middle = self.drift * t
        high = min(bound * root, max(middle, 0.0) + _REACH * root)
        low = min(middle, 0.0) - _REACH * root
        if self.two_sided:
            low = max(low, -bound * root)
        smoothness = math.sqrt(min(step, following - t))
        points, weights = _legendre(_FEWEST_NODES + 16 * math.ceil(_NODES_PER_WIDTH * (high - low) / smoothness / 16))
        half = (high - low) / 2.0
        places = (high + low) / 2.0 + half * points
        gap = (places[:, None] - (nodes + self.drift * step)[None, :]) / math.sqrt(step)
        density = np.exp(-0.5 * gap * gap) @ mass / math.sqrt(2.0 * math.pi * step)
        self.nodes, self.mass, self.time = places, weights * half * density, t

    def _state(self) -> tuple[Floats, Floats]:
        if self.nodes is None or self.mass is None:
            return np.zeros(1), np.ones(1)
        return self.nodes, self.mass


@lru_cache(maxsize=256)
def _legendre(n: int) -> tuple[Floats, Floats]:
    points, weights = special.roots_legendre(n)
    return np.asarray(points), np.asarray(weights)


def _checked(fractions: Sequence[float]) -> tuple[float, ...]:
    steps = np.diff([0.0, *fractions])
    if len(steps) == 0 or not (np.all(steps >= SMALLEST_STEP * (1 - 1e-9)) and fractions[-1] <= 1.0 + 1e-12):
        raise BadInput(f"information fractions must rise by {SMALLEST_STEP:g} or more, from above 0 to at most 1")
    return tuple(float(t) for t in fractions)
