from __future__ import annotations

from collections import defaultdict

import pyarrow as pa
import pytest

from collectors.simulate.scenario import Attack, AttackKind
from collectors.simulate.stream import EventStream
from collectors.simulate.world import World

Tables = dict[tuple[str, str], pa.Table]

ATTACKS = (
    Attack(AttackKind.BRUTE_FORCE, "nordic", first_s=2, duration_s=3, every_s=10, intensity=0.4, targets=2),
    Attack(AttackKind.CREDENTIAL_STUFFING, "americas", 5, 8, intensity=0.6, sources=3, targets=300, success=0.05),
)


def small_world(seed: int = 7, **changes) -> World:
    return World(seed, **{"users": 2_000, "tracks": 1_000, "attacks": ATTACKS, **changes})


def tables_of(batches) -> Tables:
    found = defaultdict(list)
    for tenant, kind, batch in batches:
        found[tenant, kind].append(batch)
    return {key: pa.Table.from_batches(parts) for key, parts in found.items()}


class Run:
    """A world's events, and the truth told of them."""

    def __init__(self, world: World, batches, truth) -> None:
        self.world = world
        self.batches = list(batches)
        self.truth = truth
        self.tables = tables_of(self.batches)

    def everyone(self, kind: str) -> pa.Table:
        return pa.concat_tables([t for (_, k), t in sorted(self.tables.items()) if k == kind])


@pytest.fixture(scope="session")
def live() -> Run:
    """Twenty seconds of the standard mix at 5,000 events a second."""
    stream = EventStream(small_world())
    return Run(stream.world, stream.batches(100_000, 1_000, rate=5_000.0), stream.truth)


@pytest.fixture(scope="session")
def past() -> Run:
    """Forty days of listening and two years of contracts."""
    stream = EventStream(small_world(users=1_500))
    return Run(stream.world, stream.history(40, batch_rows=2_000), stream.truth)
