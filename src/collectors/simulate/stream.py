"""The events of a simulated world: a live stream in the standard mix, and a coherent past."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from collectors.simulate.billing import Billing
from collectors.simulate.learning import Learning
from collectors.simulate.listening import Listening
from collectors.simulate.operations import Operations
from collectors.simulate.past import Past
from collectors.simulate.sampling import SECOND_US, Ints, generator, spread_times
from collectors.simulate.truth import Truth
from collectors.simulate.world import World

Tagged = tuple[str, str, pa.RecordBatch]
"""Tenant, event type and a batch of the type's ``wire_schema``."""

MIX: tuple[tuple[str, float], ...] = (
    ("playback", 0.70),
    ("app_event", 0.10),
    # What answers another event comes after it, and with the same share, so that it always finds one to answer.
    ("recommendation", 0.025),
    ("feedback", 0.025),
    ("prediction", 0.025),
    ("label", 0.025),
    ("api_request", 0.05),
    ("auth", 0.02),
    ("subscription", 0.005),
    ("payment", 0.005),
    ("exposure", 0.005),
    ("outcome", 0.005),
    ("audit", 0.01),
)
"""The standard mix: the share of each event type in a live stream."""


class Makers:
    """What makes the events of one tenant."""

    def __init__(self, world: World, tenant: str, truth: Truth) -> None:
        people, facts = world.populations[tenant], truth.tenants[tenant]
        self.listening = Listening(world, people, facts)
        self.operations = Operations(world, people, facts)
        self.learning = Learning(world, people, facts)
        self.billing = Billing(world, people, facts)
        self.make: dict[str, Callable[[Ints], pa.RecordBatch]] = {
            "playback": self.listening.playback,
            "app_event": self.listening.app_event,
            "recommendation": self.listening.recommendation,
            "feedback": self.listening.feedback,
            "prediction": self.learning.prediction,
            "label": self.learning.label,
            "api_request": self.operations.api_request,
            "auth": self.operations.auth,
            "subscription": self.billing.subscription,
            "payment": self.billing.payment,
            "exposure": self.learning.exposure,
            "outcome": self.learning.outcome,
            "audit": self.operations.audit,
        }
