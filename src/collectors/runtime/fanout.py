"""Hand what collectors report on to every sink that wants it, each at its own pace.

Whoever offers never waits and never learns of a sink's trouble; a sink that is dead, slow, flapping or lying has a
queue, a breaker and a deadline of its own (``sink_lane``) and no part in the others' time or memory.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from collectors.clock import Clock
from collectors.config.sinks import SinkConfig
from collectors.contract.sink import BaseSink, ExportedSample, ExportedSpan, Offload, Signal, SinkStatus
from collectors.runtime.sink_codec import encode_samples, encode_spans
from collectors.runtime.sink_lane import Lane
from collectors.runtime.sink_queue import Spool

CHUNK_ITEMS = 1_000
"""A larger offer is cut, so that it does not need the whole memory of a queue at once."""
STOP_SECONDS = 5.0
"""How long ``stop`` lets sinks take what waits."""
_LOOK_SECONDS = 0.05

OpenSpool = Callable[[str, SinkConfig], Spool]
"""Makes the queue on disk of the sink with a name; it is the same queue each time."""


class FanOut:
    """The sinks that run. Used on one event loop."""

    def __init__(
        self,
        spool: OpenSpool,
        clock: Clock,
        *,
        jitter: random.Random | None = None,
        offload: Offload = asyncio.to_thread,
    ) -> None:
        self._spool = spool
        self._clock = clock
        self._jitter = jitter or random.Random()  # noqa: S311 - spreads retries, keeps no secret
        self._offload = offload
        self._routes: dict[str, _Route] = {}

    def start(self, sinks: Mapping[str, BaseSink[Any]]) -> None:
        """Run sinks, none of them opened yet, beside those that run; what waited for one from before comes first."""
        for name, sink in sinks.items():
            if name in self._routes:
                raise ValueError(f"there is a sink {name} that runs already")
            spool = self._spool(name, sink.config)
            own = random.Random(self._jitter.getrandbits(64))  # noqa: S311 - as above; no lane's luck is another's
            lane = Lane(name, sink, spool, self._clock, own, self._offload)
            self._routes[name] = _Route(lane, asyncio.create_task(lane.run(), name=f"sink {name}"))

    def offer(self, samples: Sequence[ExportedSample]) -> None:
        """Take samples for every sink that wants them; never waits."""
        for start in range(0, len(samples), CHUNK_ITEMS):
            part = samples[start : start + CHUNK_ITEMS]
            whole: bytes | None = None  # encoded once for all that want everything
            for route in self._routes.values():
                wanted = route.choose(part)
                if len(wanted) == len(part):
                    whole = whole or encode_samples(part)
                    route.lane.offer(whole, len(part))
                elif wanted:
                    route.lane.offer(encode_samples(wanted), len(wanted))

    def offer_spans(self, spans: Sequence[ExportedSpan]) -> None:
        """Take spans for every sink that wants them; never waits."""
        for start in range(0, len(spans), CHUNK_ITEMS):
            part = spans[start : start + CHUNK_ITEMS]
            for route in self._routes.values():
                wanted = route.choose_spans(part)
                if wanted:
                    route.lane.offer(encode_spans(wanted), len(wanted))

    def statuses(self) -> tuple[SinkStatus, ...]:
        """Report how each sink does, by name."""
        return tuple(self._routes[name].lane.status() for name in sorted(self._routes))

    async def stop(self, *names: str, seconds: float = STOP_SECONDS) -> None:
        """Stop the sinks of these names, or all: what is not taken within ``seconds`` is kept for the next start."""
        going = {name: self._routes[name] for name in names or tuple(self._routes)}
        for route in going.values():
            route.lane.drain()
        until = self._clock.monotonic() + seconds
        while not all(r.lane.idle for r in going.values()) and self._clock.monotonic() < until:
            await self._clock.sleep(_LOOK_SECONDS)
        await asyncio.gather(*(route.stop() for route in going.values()))
        for name in going:
            del self._routes[name]


class _Route:
    """A lane, its task, and what it wants."""

    def __init__(self, lane: Lane, task: asyncio.Task[None]) -> None:
        config: SinkConfig = lane.sink.config
        self.lane = lane
        self._task = task
        self._accepts = lane.sink.accepts
        self._tenants = frozenset(config.tenants)
        self._patterns = tuple(re.compile(re.escape(p).replace(r"\*", ".*")) for p in config.metrics)
        self._known: dict[str, bool] = {}

    def choose(self, samples: Sequence[ExportedSample]) -> Sequence[ExportedSample]:
        """Return those that it wants."""
        if Signal.SAMPLES not in self._accepts:
            return ()
        if self._tenants:
            samples = [s for s in samples if s.tenant in self._tenants]
        if self._patterns:
            samples = [s for s in samples if self._matches(s.spec.name)]
        return samples

    def choose_spans(self, spans: Sequence[ExportedSpan]) -> Sequence[ExportedSpan]:
        """Return those that it wants."""
        if Signal.SPANS not in self._accepts:
            return ()
        return [s for s in spans if s.tenant in self._tenants] if self._tenants else spans

    async def stop(self) -> None:
        """End the lane."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self.lane.close()

    def _matches(self, metric: str) -> bool:
        known = self._known.get(metric)
        if known is None:  # there are as many metrics as collectors declare
            known = self._known[metric] = any(p.fullmatch(metric) for p in self._patterns)
        return known
