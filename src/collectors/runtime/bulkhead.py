"""Walls between tenants and between sources: who is full, throttled or broken delays only itself."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

from collectors.resilience.adaptive import AdaptiveLimit, AdaptivePolicy
from collectors.resilience.breaker import Breaker, BreakerPolicy
from collectors.resilience.quota import Limit, Rate, TenantLimits, TenantQuota
from collectors.resilience.retry_budget import RetryBudget
from collectors.runtime.cost import Cost

J = TypeVar("J")


class Gate(Generic[J]):
    """A bound on what goes on at once; those without room wait here, the most urgent in front."""

    __slots__ = ("limit", "used", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.waiting: list[tuple[float, int, J, int]] = []

    @property
    def full(self) -> bool:
        """Whether nothing more may begin."""
        return self.used >= self.limit

    def park(self, entry: tuple[float, int, J, int]) -> None:
        """Let an entry of the ready queue wait for room."""
        heapq.heappush(self.waiting, entry)


class TenantShare(Generic[J]):
    """What one tenant may use of the machine, and what it used."""

    __slots__ = ("breakers", "gate", "jobs", "name", "quota", "retired", "retries")

    def __init__(self, name: str, limits: TenantLimits, retries: RetryBudget, now: float) -> None:
        self.name = name
        self.gate: Gate[J] = Gate(limits.concurrent_runs)
        self.quota = TenantQuota(limits, now)
        self.retries = retries
        self.breakers: dict[str, Breaker] = {}
        self.jobs: set[J] = set()
        self.retired = Cost()
        """Costs of its collectors that were stopped."""

    def reconfigure(self, limits: TenantLimits, now: float) -> None:
        """Change the limits while runs go on."""
        self.gate.limit = limits.concurrent_runs
        self.quota.reconfigure(limits, now)

    def breaker(self, source: str, policy: BreakerPolicy) -> Breaker:
        """Return the breaker that the tenant's collectors of one source share.

        Tenants don't share one: a tenant's wrong query must not cut the others off from a source they have in common.
        """
        return self.breakers.setdefault(source, Breaker(policy))

    def wait(self, now: float) -> float:
        """Return the seconds until a run may begin."""
        return max(self.quota.runs.wait(1, now), self.quota.query_seconds.solvency(now))


class SourceShare(Generic[J]):
    """A source that several collectors ask: how many at once adapts to its latency, how often is configured."""

    __slots__ = ("adaptive", "gate", "name", "rate")

    def __init__(self, name: str, policy: AdaptivePolicy, rate: Rate | None, now: float) -> None:
        self.name = name
        self.adaptive = AdaptiveLimit(policy)
        self.gate: Gate[J] = Gate(self.adaptive.limit)
        self.rate = Limit(rate, now)

    def observe(self, began: float, ended: float, unloaded: float, *, failed: bool) -> None:
        """Learn from a call that just ended and still holds its place."""
        self.adaptive.observe(began, ended, unloaded, self.gate.used, failed=failed)
        self.gate.limit = self.adaptive.limit
