"""The events of a simulated world: a live stream in the standard mix, and a coherent past."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from collectors.errors import ConfigError
from collectors.simulate.billing import Billing
from collectors.simulate.learning import Learning
from collectors.simulate.listening import Listening
from collectors.simulate.operations import Operations
from collectors.simulate.past import PastListening
from collectors.simulate.past_billing import PastBilling
from collectors.simulate.sampling import SECOND_US, Floats, Ints, Tagged, apportion, generator, spread_times
from collectors.simulate.truth import Truth
from collectors.simulate.world import MOST, World

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


_PAST = ("playback", "app_event", "subscription", "payment")  # a past has its own ways to make these


class Makers:
    """What makes the live events of one tenant."""

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

    def available(self, kind: str, wanted: int) -> int:
        """Return how many of ``wanted`` events can be made now; an answer needs something to answer."""
        if kind == "label":
            return min(wanted, self.learning.labels_due)
        if kind == "feedback":
            return wanted * self.listening.feedback_ready
        if kind == "outcome":
            return wanted * self.learning.outcome_ready
        return wanted


@dataclass(slots=True)
class _Lane:
    """One tenant's events of one type that are due but not yet in a batch."""

    tenant: str
    kind: str
    since_us: int
    pending: int = 0


class EventStream:
    """Yields a world's events as batches of one tenant and one type, and tells ``truth`` about them.

    The same world and the same calls give the same bytes, except that a ``now_us`` callable brings its own times. An
    iterator is to be used to its end or dropped, one at a time; ``truth`` is that of the batches yielded so far, but
    for a past also of what it has still to yield about contracts.
    """

    def __init__(self, world: World, truth: Truth | None = None) -> None:
        self.world = world
        self.truth = truth or Truth(world)
        self._makers = {name: Makers(world, name, self.truth) for name in world.tenants}
        self._rng = generator(world.seed, "times")
        self._now_us = world.start_us

    def batches(
        self,
        n_events: int | None = None,
        batch_rows: int = 10_000,
        *,
        now_us: Callable[[], int] | None = None,
        rate: float = 1_000_000.0,
        flush_s: float | None = None,
    ) -> Iterator[Tagged]:
        """Yield ``n_events`` (None: for ever) of the standard mix in batches of at most ``batch_rows``.

        Shares of tenants and types are exact to one event of each over the run. Events of a rare kind wait until their
        batch is full, the oldest is ``flush_s`` seconds old, or the run ends. Event times are those of ``now_us``
        (UTC microseconds) as batches are made, or start at the world's start and go on at ``rate`` events a second.
        """
        if now_us is not None:
            self._now_us = now_us()
        began_us = self._now_us
        lanes = [_Lane(name, kind, began_us) for name in self.world.tenants for kind, _ in MIX]
        weights = np.array([t.share * share for t in self.world.tenants.values() for _, share in MIX])
        weights /= weights.sum()
        allotted = np.zeros(len(lanes), dtype=np.int64)
        total = 0
        while n_events is None or total < n_events:
            step = batch_rows if n_events is None else min(batch_rows, n_events - total)
            total += step
            more = _allot(weights * total - allotted, step)
            allotted += more
            self._now_us = now_us() if now_us is not None else began_us + int(total * SECOND_US / rate)
            for lane, due in zip(lanes, more.tolist(), strict=True):
                lane.pending += due
                stale = flush_s is not None and self._now_us - lane.since_us >= flush_s * SECOND_US
                yield from self._take(lane, batch_rows, at_least=1 if stale else batch_rows)
        for lane in lanes:
            yield from self._take(lane, batch_rows, at_least=1)

    def _take(self, lane: _Lane, batch_rows: int, *, at_least: int) -> Iterator[Tagged]:
        """Yield batches from a lane while they have ``at_least`` that many rows."""
        makers = self._makers[lane.tenant]
        while (n := makers.available(lane.kind, min(lane.pending, batch_rows))) >= at_least:
            until = lane.since_us + (self._now_us - lane.since_us) * n // lane.pending
            times = spread_times(self._rng, n, lane.since_us, until)
            lane.pending -= n
            lane.since_us = until
            yield lane.tenant, lane.kind, makers.make[lane.kind](times)
        if lane.pending == 0:
            lane.since_us = self._now_us

    def history(
        self,
        days: int,
        *,
        users: int | None = None,
        months: int = 24,
        end_us: int | None = None,
        batch_rows: int = 10_000,
        services: bool = True,
    ) -> Iterator[Tagged]:
        """Yield a coherent past of ``days`` whole local days and the current one, up to ``end_us`` (the world's start).

        Sign-ups, listening sessions and days of silence belong to persistent users, of whom ``users`` (all) take part,
        split over the tenants as the population is. Contracts and payments go back ``months``, before the days' first;
        live billing then goes on from where they end. ``services`` adds, in the proportions of the standard mix, what
        the platform itself records. Days come in order, and within a day each type is ordered by time.
        """
        end = self.world.start_us if end_us is None else end_us
        sizes = apportion(
            [len(p) for p in self.world.populations.values()],
            min(users or MOST, sum(len(p) for p in self.world.populations.values())),
        )
        if days < 1 or months < 1 or int(sizes.min()) < 1:
            raise ConfigError("a past needs a day, a month and a user of each tenant", fix="ask for more of them")
        pasts = {name: self._past(name, days, int(n), months, end) for name, n in zip(self._makers, sizes, strict=True)}
        for offset in range(days + 1):
            for name, (listening, billing) in pasts.items():
                day = listening.first_day + offset
                calendar = self.truth.tenants[name].days
                start = calendar.start_us(day)
                stop = min(calendar.start_us(day + 1), end)
                for kind, made in (("subscription", billing.subscriptions), ("payment", billing.payments)):
                    for batch in made(start if offset else 0, stop, batch_rows):
                        yield name, kind, batch
                plays = 0
                for kind, batch in listening.day(day, batch_rows):
                    plays += batch.num_rows if kind == "playback" else 0
                    yield name, kind, batch
                if services:
                    yield from self._services(name, plays, start, stop, batch_rows)
        self._now_us = end
        for name, (_, billing) in pasts.items():
            known = billing.customers[~billing.leaving[billing.customers]]
            self._makers[name].billing.resume(known, billing.plan[known], billing.monthly[known])

    def _past(self, tenant: str, days: int, users: int, months: int, end_us: int) -> tuple[PastListening, PastBilling]:
        people, truth = self.world.populations[tenant], self.truth.tenants[tenant]
        makers = self._makers[tenant]
        listening = PastListening(self.world, people, truth, makers.listening, days=days, users=users, end_us=end_us)
        billing = PastBilling(self.world, people, truth, months=months, end_us=end_us, signup_us=listening.signup_us)
        return listening, billing

    def _services(self, tenant: str, plays: int, start_us: int, end_us: int, batch_rows: int) -> Iterator[Tagged]:
        """Yield a past day of what the platform records; labels are those of the predictions of the day before."""
        makers = self._makers[tenant]
        lanes = [_Lane(tenant, "label", start_us, makers.learning.labels_due)]
        lanes += [
            _Lane(tenant, kind, start_us, round(plays * share / MIX[0][1]))
            for kind, share in MIX
            if kind not in (*_PAST, "label")
        ]
        self._now_us = end_us
        for lane in lanes:
            yield from self._take(lane, batch_rows, at_least=1)


def _allot(owed: Floats, step: int) -> Ints:
    """Split ``step`` events over lanes by what each is owed, so that no lane is ever off by more than one.

    Of equal claims the earlier lane's is met first: a question before its answer.
    """
    whole = np.maximum(np.floor(owed), 0).astype(np.int64)
    order = np.argsort(whole - owed, kind="stable")
    rest = step - int(whole.sum())
    whole[order[:rest]] += 1
    return whole
