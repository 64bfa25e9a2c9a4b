"""Tenures of subscribers, from the spells in which each was one without a break."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

DAY_S = 86_400
NEVER = np.iinfo(np.int64).max


class Lifetimes(NamedTuple):
    """Lifetimes in whole days, as the survival kernels take them."""

    durations: Ints
    events: Bools
    entry: Ints


class Movement(NamedTuple):
    """Customers of a period: at its start, those of them lost at its end, cancellations, and how many on each day."""

    at_start: int
    lost: int
    cancellations: int
    daily: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Spells:
    """Spells of subscribers, arrays (n,), times in whole seconds since 1970; ``NEVER`` for what has no end.

    ``customer`` numbers the customers; ``number`` is 0 for a customer's first spell; ``known`` says that the spell
    surely began at ``begun``. The beginning was recorded at ``recorded``, the end announced at ``told``.
    """

    customer: Ints
    begun: Ints
    recorded: Ints
    ended: Ints
    told: Ints
    number: Ints
    known: Bools

    @property
    def first(self) -> Bools:
        """First spells of customers whose beginning is known: one for each, so that they are independent."""
        return np.asarray((self.number == 0) & self.known)

    def lifetimes(self, end_s: int, observed_since_s: int | None = None) -> Lifetimes:
        """Return the first tenures as known at ``end_s``.

        Who began before the records (``observed_since_s``, or the moment of the first record if that is later) is
        observed only from then on; who had left by then is left out. A day of a tenure counts when it is over: an end
        in day k (the k-th 24 hours) is at k, and the unfinished last day of those who stay is not counted, nor an end
        in it. So each day's leavers are compared with those who were there for all of that day, or left in it.
        """
        chosen = self.first
        begun, ended = self.begun[chosen], self.ended[chosen]
        since = self.recorded[chosen]
        if observed_since_s is not None:
            since = np.maximum(since, observed_since_s)
        entry = _days_begun(np.maximum(since - begun, 0))
        followed = (end_s - begun) // DAY_S
        left_on = np.maximum(_days_begun(np.minimum(ended, end_s + DAY_S) - begun), 1)
        events = (ended <= end_s) & (left_on <= followed)
        durations = np.where(events, left_on, followed)
        seen = entry < durations
        return Lifetimes(durations[seen], events[seen], entry[seen])

    def movement(self, end_s: int, days: int) -> Movement:
        """Count the customers over the ``days`` times 24 hours before ``end_s``; who leaves at an instant is gone."""
        start_s = end_s - days * DAY_S
        there = self.active(start_s)
        stay = np.unique(self.customer[self.active(end_s)])
        lost = int(np.count_nonzero(~np.isin(self.customer[there], stay)))
        # Day d is looked at its end; a spell counts from the first such instant on or after its beginning.
        first = np.clip(_days_begun(np.maximum(self.begun - start_s, 0)), 0, days + 1)
        stop = np.clip(_days_begun(np.maximum(np.minimum(self.ended, end_s + DAY_S) - start_s, 0)), 0, days + 1)
        change = np.bincount(first, minlength=days + 2) - np.bincount(stop, minlength=days + 2)
        cancelled = (self.ended > start_s) & (self.ended <= end_s)
        return Movement(
            at_start=int(np.count_nonzero(there)),
            lost=lost,
            cancellations=int(np.count_nonzero(cancelled)),
            daily=tuple(np.cumsum(change)[1 : days + 1].tolist()),
        )

    def active(self, at_s: int) -> Bools:
        """Return which spells run at an instant."""
        return (self.begun <= at_s) & (self.ended > at_s)

    def undecided(self, at_s: int) -> Bools:
        """Return which spells run at an instant without an end having been announced."""
        return (self.begun <= at_s) & (self.told >= at_s) & (self.ended > at_s)


def _days_begun(seconds: Ints) -> Ints:
    return -(-seconds // DAY_S)
