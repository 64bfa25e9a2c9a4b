"""How long people wait for the buffer, against how long they listen.

The ratio is rebuffering time over playing time, of plays that tell both, since the collector began to watch; the
platforms are a closed list, so that no producer can make new series.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from collectors.config.collector import CollectorConfig
from collectors.contract.collector import CollectorContext, Streaming
from collectors.contract.example import Example
from collectors.errors import MalformedBody
from collectors.model.batch import Batch
from collectors.model.metric import Collection, Kind, MetricSpec, Sample, Unit, Window

PLATFORMS = ("android", "ios", "web", "other")
RATIO = MetricSpec(
    "acme.playback.stall_ratio", Kind.GAUGE, Unit.RATIO, "Waiting over listening time.", ("platform",), nullable=True
)
STALLED = MetricSpec(
    "acme.playback.stalled", Kind.COUNTER, Unit.EVENTS, "Plays that had to wait too long.", ("platform",)
)


class StallRatioConfig(CollectorConfig):
    """When waiting is too long."""

    patience_ms: int = Field(default=2000, ge=0)
    """Milliseconds of waiting after which a play counts as stalled."""


class StallRatioCollector(Streaming[StallRatioConfig]):
    """Report how much of their listening time people wait for the buffer, by platform."""

    name = "stall_ratio"
    Config = StallRatioConfig
    emits = (RATIO, STALLED)
    event_types = ("playback",)

    def __init__(self, config: CollectorConfig | None = None, context: CollectorContext | None = None) -> None:
        super().__init__(config, context)
        self._sums = {platform: [0, 0, 0] for platform in PLATFORMS}  # waited, heard, stalled

    @classmethod
    def examples(cls) -> Iterable[Example]:
        plays = [
            {"track_id": "t", "ms_played": 60_000, "buffering_ms": waited, "platform": platform}
            for waited, platform in ((300, "ios"), (0, "web"), (2_700, "ios"), (1_200, "fridge"), (6_000, "android"))
        ]
        yield Example("evening", events={"playback": plays})
        yield Example("impatient", {"patience_ms": 100}, {"playback": plays})

    def observe(self, batch: Batch) -> Collection:
        told = batch.table.filter(pc.is_valid(batch.table.column("buffering_ms")))
        platform, waited = told.column("platform"), told.column("buffering_ms")
        known = pc.is_in(platform, value_set=pa.array(PLATFORMS))
        rows = pa.table({
            "platform": pc.if_else(known, platform, "other"),
            "waited": waited,
            "heard": told.column("ms_played"),
            "stalled": pc.cast(pc.greater(waited, self.config.patience_ms), pa.int64()),
        })  # fmt: skip
        sums = rows.group_by("platform").aggregate([("waited", "sum"), ("heard", "sum"), ("stalled", "sum")])
        for row in sums.to_pylist():
            for at, key in enumerate(("waited_sum", "heard_sum", "stalled_sum")):
                self._sums[row["platform"]][at] += row[key]
        return Collection()

    async def collect(self, window: Window) -> Collection:  # noqa: ARG002  # it tells all it has seen
        samples = []
        for platform, (waited, heard, stalled) in self._sums.items():
            ratio = waited / heard if heard else None
            samples.append(Sample(RATIO.name, ratio, (platform,), reason="" if heard else "nothing was heard there"))
            samples.append(Sample(STALLED.name, stalled, (platform,)))
        return Collection(tuple(samples))

    def snapshot(self) -> bytes:
        return json.dumps(self._sums).encode()

    def restore(self, state: bytes) -> None:
        try:
            saved = json.loads(state)
            self._sums = {platform: [int(n) for n in saved[platform]] for platform in PLATFORMS}
        except (ValueError, KeyError, TypeError) as error:
            raise MalformedBody("this is no snapshot of stall_ratio; let it start without one") from error
