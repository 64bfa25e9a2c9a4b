"""What listeners do: plays, things done in the application, slates of recommendations and reactions to them."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from collectors.model.event_types import APP_EVENT, FEEDBACK, PLAYBACK, RECOMMENDATION
from collectors.simulate.sampling import (
    SECOND_US,
    SLOT_BITS,
    Index,
    Ints,
    SlotTable,
    Words,
    apportion,
    bits,
    generator,
    hex_text,
    mix64,
    record_batch,
    text_of,
    words,
)
from collectors.simulate.truth import TenantTruth
from collectors.simulate.vocabulary import (
    APP_EVENTS,
    CLIENTS,
    CONTEXT_SHARES,
    CONTEXTS,
    ENDINGS,
    PLANS,
    POSITION_SHARES,
    POSITIVE_ACTIONS,
    POSITIVE_SHARES,
    PROPERTY_SHARE,
    SLATE_SIZE,
)
from collectors.simulate.world import Population, World

_SESSION_US = 45 * 60 * SECOND_US  # a live user's session identifier changes this often
_SHORTEST_MS = 200
_HIDE_SHARE = 0.02  # of reactions without interest
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

_DEVICES = pa.array([c[0] for c in CLIENTS])
_PLATFORMS = pa.array([c[1] for c in CLIENTS])
_SOURCES = pa.array([c[2] for c in CLIENTS])
_CONTEXTS = pa.array(CONTEXTS)
_REASONS = pa.array([e[0] for e in ENDINGS])
_SKIPS = np.array([e[1] for e in ENDINGS])
_NAMES = pa.array([a[0] for a in APP_EVENTS])
_SCREENS = pa.array([a[1] for a in APP_EVENTS])
_ON_TRACK = np.array([a[2] for a in APP_EVENTS])
_ACTIONS = pa.array([*POSITIVE_ACTIONS, "impression", "hide"])
_IMPRESSION = len(POSITIVE_ACTIONS)

OPENED = 0
"""Position of 'App Opened' in ``APP_EVENTS``."""


class Plays(NamedTuple):
    """Columns of plays: positions of users, tracks and endings; when they ended; session keys."""

    users: Index
    tracks: Index
    times: Ints
    endings: Index
    ms_played: Index
    sessions: Words


class Listening:
    """Makes the listeners' events of one tenant and tells its truth."""

    def __init__(self, world: World, people: Population, truth: TenantTruth) -> None:
        self._catalogue = world.catalogue
        self._people = people
        self._truth = truth
        self._countries = pa.array([m.country for m in people.profile.markets])
        self._rng = {
            t.name: generator(world.seed, "live", people.profile.id, t.name)
            for t in (PLAYBACK, APP_EVENT, RECOMMENDATION, FEEDBACK)
        }
        rng = generator(world.seed, "tables", people.profile.id)
        self._contexts = SlotTable(CONTEXT_SHARES, bits=8)
        self._app_events = SlotTable([a[3] for a in APP_EVENTS], bits=10)
        self._positions = SlotTable(POSITION_SHARES, bits=10)
        self._positive = SlotTable(POSITIVE_SHARES, bits=10)
        # How plays end: 2**16 drawn pairs of ending and share of the track that was heard.
        self._ending = np.repeat(np.arange(len(ENDINGS), dtype=np.uint8), apportion([e[2] for e in ENDINGS], 1 << 16))
        self._heard = np.ones(len(self._ending), dtype=np.float32)
        for i, (_, _, _, a, b) in enumerate(ENDINGS):
            if a:
                mine = self._ending == i
                self._heard[mine] = rng.beta(a, b, int(mine.sum()))
        self._bitrates = np.array([[p.bitrate_kbps] * 11 + [160] * 4 + [96] for p in PLANS], dtype=np.int32)
        self._buffering = np.minimum(rng.lognormal(np.log(180), 0.9, 1 << 12), 30_000).astype(np.int32)
        self._properties = _property_texts(rng, 1 << 12)
        self._slates: tuple[Words, Index, Index, Ints] | None = None

    def playback(self, times: Ints) -> pa.RecordBatch:
        """Make plays that end at ``times``."""
        rng = self._rng["playback"]
        first = words(rng, len(times))
        users = self._people.activity.pick(first)
        tracks = self._people.taste.pick(first, SLOT_BITS)
        endings, ms_played = self.endings(tracks, first, 2 * SLOT_BITS)
        return self.plays(rng, Plays(users, tracks, times, endings, ms_played, self._sessions(users, times)))

    def endings(self, tracks: Index, source: Words, shift: int) -> tuple[Index, Index]:
        """Draw from 16 bits how plays of tracks end, and how many milliseconds of each were heard."""
        row = bits(source, shift, 16)
        heard = self._heard.take(row)
        length = self._catalogue.track_ms.take(tracks)
        return self._ending.take(row), np.maximum((length * heard.astype(np.float64)).astype(np.int32), _SHORTEST_MS)

    def plays(self, rng: np.random.Generator, plays: Plays) -> pa.RecordBatch:
        """Make a batch of plays and count it."""
        people, catalogue = self._people, self._catalogue
        users, tracks, times, endings, ms_played, sessions = plays
        source = words(rng, len(times))
        skipped = _SKIPS.take(endings)
        client = people.client.take(users)
        self._truth.events["playback"] += len(times)
        self._truth.listening.played(users, times, ms_played, skipped)
        return record_batch(
            PLAYBACK,
            rng,
            times,
            {
                "source": text_of(_SOURCES, client),
                "user_id": text_of(people.ids, users),
                "session_id": hex_text(sessions),
                "track_id": text_of(catalogue.track_ids, tracks),
                "artist_id": text_of(catalogue.artist_ids, catalogue.artist.take(tracks)),
                "context": text_of(_CONTEXTS, self._contexts.pick(source)),
                "ms_played": pa.array(ms_played, pa.int32()),
                "track_ms": pa.array(catalogue.track_ms.take(tracks), pa.int32()),
                "reason_end": text_of(_REASONS, endings),
                "skipped": pa.array(skipped),
                "country": text_of(self._countries, people.market.take(users)),
                "device": text_of(_DEVICES, client),
                "platform": text_of(_PLATFORMS, client),
                "bitrate_kbps": pa.array(
                    self._bitrates.ravel().take(people.plan.take(users).astype(np.int64) * 16 + bits(source, 8, 4))
                ),
                "buffering_ms": pa.array(self._buffering.take(bits(source, 12, 12))),
            },
        )

    def app_event(self, times: Ints) -> pa.RecordBatch:
        """Make application events at ``times``."""
        rng = self._rng["app_event"]
        source = words(rng, len(times))
        users = self._people.activity.pick(source)
        return self.actions(rng, users, self._app_events.pick(source, SLOT_BITS), times, self._sessions(users, times))

    def actions(
        self, rng: np.random.Generator, users: Index, kinds: Index, times: Ints, sessions: Words
    ) -> pa.RecordBatch:
        """Make a batch of application events, ``kinds`` pointing into ``APP_EVENTS``, and count it."""
        people = self._people
        source = words(rng, len(times))
        client = people.client.take(users)
        bare = bits(source, SLOT_BITS, 16) >= PROPERTY_SHARE * (1 << 16)
        self._truth.events["app_event"] += len(times)
        return record_batch(
            APP_EVENT,
            rng,
            times,
            {
                "source": text_of(_SOURCES, client),
                "user_id": text_of(people.ids, users),
                "session_id": hex_text(sessions),
                "properties": text_of(self._properties, bits(source, SLOT_BITS + 16, 12), bare),
                "name": text_of(_NAMES, kinds),
                "screen": text_of(_SCREENS, kinds),
                "target": text_of(self._catalogue.track_ids, people.taste.pick(source), ~_ON_TRACK.take(kinds)),
                "country": text_of(self._countries, people.market.take(users)),
                "device": text_of(_DEVICES, client),
            },
        )

    def recommendation(self, times: Ints) -> pa.RecordBatch:
        """Make slates shown at ``times``: position k holds a track of shelf k, with the probability it was drawn."""
        rng = self._rng["recommendation"]
        n = len(times)
        source = words(rng, n)
        users = self._people.activity.pick(source)
        slate = words(rng, n)
        items = np.stack([shelf.draw(rng, n) for shelf in self._people.shelves], axis=1)
        offsets = pa.array(np.arange(0, n * SLATE_SIZE + 1, SLATE_SIZE, dtype=np.int32))
        self._slates = slate, items, users, times
        self._truth.events["recommendation"] += n
        self._truth.learning.slates += n
        flat = items.ravel()
        return record_batch(
            RECOMMENDATION,
            rng,
            times,
            {
                "source": pa.repeat(pa.scalar("recommender"), n),
                "user_id": text_of(self._people.ids, users),
                "session_id": hex_text(self._sessions(users, times)),
                "slate_id": hex_text(slate, "sl-"),
                "model": pa.repeat(pa.scalar("shelves-2"), n),
                "items": pa.ListArray.from_arrays(offsets, text_of(self._catalogue.track_ids, flat)),
                "propensities": pa.ListArray.from_arrays(offsets, pa.array(self._people.propensity.take(flat))),
            },
        )

    @property
    def feedback_ready(self) -> bool:
        """Whether there is a slate to react to."""
        return self._slates is not None

    def feedback(self, times: Ints) -> pa.RecordBatch:
        """Make reactions to slates of the last batch, each after its slate was shown; see ``feedback_ready``.

        The position is drawn from ``POSITION_SHARES``; the listener plays, clicks or saves with the track's
        ``attraction``, whatever the position.
        """
        rng = self._rng["feedback"]
        assert self._slates is not None
        slate, items, users, shown = self._slates
        source = words(rng, len(times))
        which = rng.integers(0, len(slate), len(times))
        position = self._positions.pick(source)
        item = items[which, position]
        positive = rng.random(len(times)) < self._catalogue.attraction.take(item)
        hidden = bits(source, 30, 16) < _HIDE_SHARE * (1 << 16)
        action = np.where(positive, self._positive.pick(source, 10), _IMPRESSION + hidden)
        counts = np.bincount(action, minlength=len(_ACTIONS)).tolist()
        self._truth.events["feedback"] += len(times)
        self._truth.learning.actions.update(dict(zip(_ACTIONS.to_pylist(), counts, strict=True)))
        self._truth.learning.reacted(position, positive)
        return record_batch(
            FEEDBACK,
            rng,
            np.maximum(times, shown.take(which) + 1),
            {
                "source": text_of(_SOURCES, self._people.client.take(users.take(which))),
                "user_id": text_of(self._people.ids, users.take(which)),
                "slate_id": hex_text(slate.take(which), "sl-"),
                "item": text_of(self._catalogue.track_ids, item),
                "position": pa.array(position, pa.int32()),
                "action": text_of(_ACTIONS, action),
            },
        )

    def _sessions(self, users: Index, times: Ints) -> Words:
        key = self._people.key.take(users)
        # Each user's sessions change at a moment of its own, not all at once.
        part = (times + (key & np.uint64(0xFFFFFFFF)).view(np.int64)) // _SESSION_US
        with np.errstate(over="ignore"):
            return mix64(key ^ (part.view(np.uint64) * _GOLDEN))


def _property_texts(rng: np.random.Generator, n: int) -> pa.StringArray:
    columns = zip(
        rng.integers(0, 200, n).tolist(),
        rng.integers(0, 5000, n).tolist(),
        np.round(rng.lognormal(5.0, 0.6, n), 1).tolist(),
        strict=True,
    )
    return pa.array(
        [json.dumps({"position": p, "results": r, "latency_ms": ms}, separators=(",", ":")) for p, r, ms in columns],
        pa.string(),
    )
