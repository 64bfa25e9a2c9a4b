"""How one tenant's users listened on past days, in sessions whose gaps are known.

Every play ends before the next begins. Inside a session less than 20 minutes pass from one event to the next, between
sessions at least ``SESSION_GAP_US``; so the rule of 30 minutes of inactivity finds exactly these sessions, whether it
measures between event times or from the end of what was heard.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from collectors.simulate.listening import OPENED, Listening, Plays
from collectors.simulate.sampling import (
    DAY_US,
    SECOND_US,
    SLOT_BITS,
    Flags,
    Floats,
    Ints,
    SlotTable,
    Words,
    generator,
    joined,
    mix64,
    picked,
    words,
)
from collectors.simulate.truth import TenantTruth
from collectors.simulate.world import Population, World

SESSION_GAP_US = 45 * 60 * SECOND_US
_MOST_SESSIONS = 4  # a day
_NEVER = np.iinfo(np.int64).max
_MOST_PLAYS = 25  # a session
_MEAN_PLAYS = 6.0
_PAUSE_SHARE = 0.03  # of plays begin after a pause of up to ten minutes
_NEWCOMER_SHARE = 0.3  # of users sign up within the past that is made
_LEAVING = (1.0, 80.0)  # beta distribution of a user's daily chance to stop listening for good
_HOUR_SHARES = (1, 1, 1, 1, 1, 2, 4, 7, 8, 7, 6, 6, 7, 7, 6, 6, 7, 9, 10, 10, 9, 7, 5, 3)


class SessionStarts(NamedTuple):
    """Columns of sessions: who began them, when, and their keys."""

    users: Ints
    times: Ints
    keys: Words


class PastListening:
    """Makes one tenant's plays of ``days`` local days and the day that ``end_us`` falls into.

    ``users`` is how many of the population's users take part. Nothing ends at or after ``end_us``.
    """

    def __init__(
        self,
        world: World,
        people: Population,
        truth: TenantTruth,
        listening: Listening,
        *,
        days: int,
        users: int,
        end_us: int,
    ) -> None:
        self._people = people
        self._truth = truth
        self._listening = listening
        self._end_us = end_us
        self._rng = rng = generator(world.seed, "past", people.profile.id)
        self.first_day = truth.days.day(end_us) - days
        newcomer = rng.random(users) < _NEWCOMER_SHARE
        self._signup: Ints = np.where(newcomer, rng.integers(0, max(days, 1), users), -1)
        self._gone = np.maximum(self._signup, 0) + rng.geometric(np.maximum(rng.beta(*_LEAVING, users), 1e-4))
        self._intensity: Floats = people.weight[:users] / people.weight[:users].mean()
        self._chance = np.clip(1.0 - np.exp(-0.5 * self._intensity), 0.03, 0.97)
        self._free_us = np.zeros(users, dtype=np.int64)
        self._sessions = np.zeros(users, dtype=np.int64)
        self._hours = SlotTable(_HOUR_SHARES, bits=10)

    @property
    def signup_us(self) -> Ints:
        """When each user signed up, UTC microseconds; 0 for those who were there before the first day."""
        first = self._truth.days.start_us(self.first_day)
        return np.where(self._signup < 0, 0, first + self._signup * DAY_US)

    def day(self, day: int, batch_rows: int) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Make the events of the sessions that begin on a local day, in the order of their times."""
        present = (self._signup <= day - self.first_day) & (day - self.first_day < self._gone)
        listens = self._rng.random(len(present)) < self._chance
        users = np.flatnonzero(present & (listens | (self._signup == day - self.first_day)))
        if len(users) == 0:
            return
        extra = self._rng.poisson(0.6 * np.minimum(self._intensity[users], 3.0))
        begins = self._begins(day, np.minimum(1 + extra, _MOST_SESSIONS))
        parts = [
            self._play(users[more], begins[more, k])
            for k in range(_MOST_SESSIONS)
            if (more := begins[:, k] != _NEVER).any()
        ]
        sessions = joined([opened for opened, _ in parts])
        order = np.argsort(sessions.times, kind="stable")
        for at in range(0, len(order), batch_rows):
            opened = picked(sessions, order[at : at + batch_rows])
            kinds = np.full(len(opened.times), OPENED)
            yield "app_event", self._listening.actions(self._rng, opened.users, kinds, opened.times, opened.keys)
        plays = joined([played for _, played in parts])
        order = np.argsort(plays.times, kind="stable")
        for at in range(0, len(order), batch_rows):
            yield "playback", self._listening.plays(self._rng, picked(plays, order[at : at + batch_rows]))

    def _begins(self, day: int, sessions: Ints) -> Ints:
        """Draw when users would like to begin their sessions of a day, each row ascending and then ``_NEVER``."""
        start = self._truth.days.start_us(day)
        shape = (len(sessions), _MOST_SESSIONS)
        hours = self._hours.draw(self._rng, shape[0] * shape[1]).reshape(shape) + self._rng.random(shape)
        wished = start + (hours / 24 * (self._truth.days.start_us(day + 1) - start)).astype(np.int64)
        return np.sort(np.where(np.arange(_MOST_SESSIONS) < sessions[:, None], wished, _NEVER), axis=1)

    def _play(self, users: Ints, begins: Ints) -> tuple[SessionStarts, Plays]:
        """Make one session of each user, begun when wished or as soon as the gap to the last session allows.

        Sessions that would last beyond the end of the past are left out.
        """
        rng = self._rng
        begins = np.maximum(begins, self._free_us[users])
        plays = np.minimum(rng.geometric(1 / _MEAN_PLAYS, len(users)), _MOST_PLAYS)
        session = np.repeat(np.arange(len(users)), plays)
        source = words(rng, len(session))
        tracks = self._people.taste.pick(source)
        endings, ms = self._listening.endings(tracks, source, SLOT_BITS)
        pause = np.where(
            rng.random(len(session)) < _PAUSE_SHARE,
            rng.integers(30 * SECOND_US, 600 * SECOND_US, len(session)),
            rng.integers(SECOND_US // 5, 4 * SECOND_US, len(session)),
        )
        firsts = np.cumsum(plays) - plays
        passed = np.cumsum(pause + ms.astype(np.int64) * 1000)
        before = passed[firsts] - (pause + ms.astype(np.int64) * 1000)[firsts]
        ends = begins[session] + passed - before[session]
        last = ends[firsts + plays - 1]
        kept: Flags = last < self._end_us
        self._free_us[users[kept]] = last[kept] + SESSION_GAP_US
        self._sessions[users] += 1
        keys = mix64(self._people.key[users] ^ mix64(self._sessions[users].view(np.uint64)))
        if kept.any():
            self._truth.listening.began(ends[firsts[kept]])
        rows = kept[session]
        return (
            picked(SessionStarts(users, begins, keys), kept),
            picked(Plays(users[session], tracks, ends, endings, ms, keys[session]), rows),
        )
