from __future__ import annotations

import pytest
from simulate_support import Run, small_world

from collectors.simulate.stream import EventStream


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
