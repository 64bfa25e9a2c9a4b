"""What is exactly true of everything a simulation generated, as an oracle for those who measure it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import numpy as np

from collectors.simulate.facts import LearningFacts, ListeningFacts, RevenueFacts, SecurityFacts
from collectors.simulate.local_time import LocalDays
from collectors.simulate.world import Population, World


class TenantTruth:
    """What is true of one tenant; see the parts."""

    def __init__(self, world: World, population: Population) -> None:
        profile = population.profile
        self.days = LocalDays(profile.time_zone)
        self.events: Counter[str] = Counter()
        """Events by type."""
        self.listening = ListeningFacts(self.days, len(population))
        self.revenue = RevenueFacts(
            self.days, tuple(m.currency for m in profile.markets), population.market.astype(np.int64)
        )
        self.security = SecurityFacts(world.start_us)
        self.learning = LearningFacts(
            tuple(e.name for e in world.experiments),
            tuple(e.metric for e in world.experiments),
            tuple(m.name for m in world.models),
            len(population),
        )
        self.statuses: Counter[str] = Counter()
        """API requests by status code."""

    def to_dict(self) -> dict[str, object]:
        return {
            "events": dict(sorted(self.events.items())),
            "listening": self.listening.to_dict(),
            "revenue": self.revenue.to_dict(),
            "security": self.security.to_dict(),
            "learning": self.learning.to_dict(),
            "api_statuses": dict(sorted(self.statuses.items())),
        }


class Truth:
    """What is true of a world's events so far, by tenant.

    It is tallied while events are drawn, from the draws and not from the batches, so that comparing the two finds
    faults on either side. It covers what the generators made; what ``Faults`` adds is counted there.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.tenants = {name: TenantTruth(world, people) for name, people in world.populations.items()}

    @property
    def events(self) -> dict[tuple[str, str], int]:
        """Number of events by tenant and type."""
        return {(name, kind): n for name, t in self.tenants.items() for kind, n in t.events.items()}

    @property
    def total(self) -> int:
        """Number of events."""
        return sum(t.events.total() for t in self.tenants.values())

    def to_dict(self) -> dict[str, object]:
        """Return everything as values that JSON can hold."""
        world = self._world
        return {
            "seed": world.seed,
            "start_us": world.start_us,
            "total": self.total,
            "parameters": {
                "churn": {interval: asdict(b) for interval, b in sorted(world.churn.items())},
                "experiments": [asdict(e) for e in world.experiments],
                "models": [asdict(m) for m in world.models],
                "attacks": [asdict(a.attack) for a in world.attackers],
                "users": {name: len(p) for name, p in world.populations.items()},
            },
            "tenants": {name: t.to_dict() for name, t in self.tenants.items()},
        }
