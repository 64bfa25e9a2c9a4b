"""How many workers a load needs: a pure decision, without a clock and without anything that starts or stops them.

The rule is proportional control on utilisation, as in the Kubernetes HorizontalPodAutoscaler (size times utilisation
over target, a tolerance around the target, the highest recommendation of a window before anything shrinks), with two
additions. Utilisation says nothing of demand once it is full, so work that waits is added: by Little's law what
arrived in ``lag_seconds`` is about the demand times the lag, and it is to be gone within ``drain_seconds``. And a
worker that runs late for any other reason asks for one more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """Bounds and temper of the decision. Times are seconds; ``target``, ``ceiling`` and ``tolerance`` are ratios.

    The size is the one that comes nearest to ``target``, but never one at which utilisation would be above ``ceiling``.
    ``tolerance`` is what utilisation may be off the target, as a part of it, before anything is done. A size is given
    up only if nothing in the last ``shrink_after_seconds`` asked for as much. One decision at most multiplies the
    size by ``growth``. ``lag_allowed_seconds`` and ``lateness_allowed_seconds`` are what is normal.
    """

    minimum: int = 1
    maximum: int = 64
    target: float = 0.85
    ceiling: float = 0.95
    tolerance: float = 0.05
    shrink_after_seconds: float = 180.0
    growth: float = 2.0
    drain_seconds: float = 60.0
    lag_allowed_seconds: float = 5.0
    lateness_allowed_seconds: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.maximum:
            raise ValueError("minimum must be 1 or more and no more than maximum")
        if not 0 < self.target <= self.ceiling <= 1 or self.tolerance < 0:
            raise ValueError("target must be above 0, ceiling no less and at most 1, tolerance not negative")
        if self.target * (1 + self.tolerance) > self.ceiling:
            raise ValueError("the tolerance above the target must stay below the ceiling")
        if self.growth <= 1 or self.drain_seconds <= 0 or self.shrink_after_seconds < 0:
            raise ValueError("growth must be above 1, drain_seconds above 0 and shrink_after_seconds not negative")


@dataclass(frozen=True, slots=True)
class Load:
    """What was measured at ``time`` (monotonic seconds): ``workers`` that are ready, and how they are doing.

    ``utilisation`` is the mean part of their time that they worked, 0 to 1. ``lag_seconds`` is the age of the oldest
    event that waits, ``lateness_seconds`` the 99th percentile of collectors' lateness. ``starting`` workers are on
    their way and do no work yet.
    """

    time: float
    workers: int
    utilisation: float
    lag_seconds: float = 0.0
    lateness_seconds: float = 0.0
    starting: int = 0

    def __post_init__(self) -> None:
        measured = (self.time, self.utilisation, self.lag_seconds, self.lateness_seconds)
        if not all(math.isfinite(x) for x in measured) or min(measured[1:]) < 0:
            raise ValueError("what is measured is finite and not negative")
        if self.workers < 0 or self.starting < 0:
            raise ValueError("there are no fewer than 0 workers")


@dataclass(frozen=True, slots=True)
class Decision:
    """The size to have, and why."""

    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class Wish:
    """A size that was asked for at a time."""

    time: float
    size: int


def demand(policy: ScalingPolicy, load: Load) -> float:
    """Return the work that comes in and waits, in workers that are busy all the time."""
    busy = load.workers * min(1.0, load.utilisation)
    waiting = max(0.0, load.lag_seconds - policy.lag_allowed_seconds)
    return busy * (1 + waiting / policy.drain_seconds)


def wish(policy: ScalingPolicy, load: Load) -> Decision:
    """Return the size this one measurement asks for, within the bounds; never less for more load."""
    if load.workers == 0:
        return Decision(_bounded(policy, load.starting or policy.minimum), "nothing is ready yet")
    work = demand(policy, load)
    ratio = work / (load.workers * policy.target)
    # The size nearest to the target, unless that leaves too little to spare; a hair less, lest rounding add a worker.
    size = max(math.floor(work / policy.target + 0.5), math.ceil(work / policy.ceiling - 1e-9))
    reason = "utilisation"
    if abs(ratio - 1) <= policy.tolerance:
        size, reason = load.workers, "on target"
    elif load.lag_seconds > policy.lag_allowed_seconds and ratio > 1:
        reason = "lag"
    if load.lateness_seconds > policy.lateness_allowed_seconds and size <= load.workers:
        size, reason = load.workers + 1, "lateness"
    return Decision(_bounded(policy, min(size, math.ceil(load.workers * policy.growth))), reason)


def decide(policy: ScalingPolicy, load: Load, earlier: Iterable[Wish] = ()) -> Decision:
    """Return the size to have, given what was asked for ``earlier``: grow at once, shrink when it has lasted."""
    now = wish(policy, load)
    current = _bounded(policy, load.workers + load.starting)
    if now.size >= current:
        return now
    since = load.time - policy.shrink_after_seconds
    held = max((w.size for w in earlier if since < w.time <= load.time), default=now.size)
    size = min(max(now.size, held), current)
    return Decision(size, now.reason if size == now.size else "held: more was asked for lately")


class Scaler:
    """Remembers what was asked for as long as it counts."""

    def __init__(self, policy: ScalingPolicy) -> None:
        self.policy = policy
        self._wishes: tuple[Wish, ...] = ()

    def observe(self, load: Load) -> Decision:
        """Take in a measurement and return the size to have."""
        since = load.time - self.policy.shrink_after_seconds
        earlier = tuple(w for w in self._wishes if since < w.time <= load.time)
        if not self._wishes:
            # Who has just begun does not know what was asked for before, and holds what is there.
            earlier = (Wish(load.time, _bounded(self.policy, load.workers + load.starting)),)
        decision = decide(self.policy, load, earlier)
        self._wishes = (*earlier, Wish(load.time, wish(self.policy, load).size))
        return decision


def _bounded(policy: ScalingPolicy, size: int) -> int:
    return max(policy.minimum, min(policy.maximum, size))
