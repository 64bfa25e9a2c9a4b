from __future__ import annotations

from collections import defaultdict

import pyarrow as pa

from collectors.simulate.scenario import Attack, AttackKind
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
