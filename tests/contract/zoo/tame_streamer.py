"""A streaming collector that keeps the contract; bad ones differ from it in one thing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pyarrow.compute as pc

from collectors.config.collector import CollectorConfig
from collectors.contract.collector import CollectorContext, Streaming
from collectors.contract.example import Example
from collectors.errors import MalformedBody
from collectors.model.batch import Batch
from collectors.model.metric import Collection, Finding, Kind, MetricSpec, Sample, Severity, Unit, Window

DEVICES = ("phone", "tv")
PLAYS = MetricSpec("zoo.plays", Kind.COUNTER, Unit.EVENTS, "Plays by device.", labels=("device",))
SKIPS = MetricSpec("zoo.skips", Kind.COUNTER, Unit.EVENTS, "Plays that were skipped.")


class TameStreamer(Streaming[CollectorConfig]):
    """Count plays by device, and tell of songs that nobody wants."""

    name = "tame_streamer"
    emits = (PLAYS, SKIPS)
    event_types = ("playback",)

    def __init__(self, config: CollectorConfig | None = None, context: CollectorContext | None = None) -> None:
        super().__init__(config, context)
        self.plays: Counter[str] = Counter()
        self.skips = 0

    @classmethod
    def examples(cls) -> Iterable[Example]:
        play: dict[str, Any] = {
            "user_id": "ada",
            "track_id": "t",
            "ms_played": 1000,
            "device": "phone",
            "skipped": False,
        }
        yield Example(
            "evening",
            events={
                "playback": [
                    {
                        **play,
                        "event_time": timedelta(seconds=n),
                        "user_id": f"u{n % 3}",
                        "device": device,
                        "skipped": n == 4,
                    }
                    for n, device in enumerate(("phone", "tv", "phone", "fridge", "tv", "phone", "tv"))
                ]
            },
        )

    def observe(self, batch: Batch) -> Collection:
        table = batch.table
        self.plays.update(self.device(value) for value in table.column("device").to_pylist())
        skipped = table.filter(pc.fill_null(table.column("skipped"), False))
        self.skips += skipped.num_rows
        return Collection(findings=tuple(map(self.finding, sorted(set(skipped.column("track_id").to_pylist())))))

    def device(self, value: str | None) -> str:
        return value if value in DEVICES else "other"

    def finding(self, track: str) -> Finding:
        return Finding("skipped", track, Severity.INFO, f"{track} was skipped.")

    async def collect(self, window: Window) -> Collection:
        plays = (Sample(PLAYS.name, n, (device,)) for device, n in sorted(self.plays.items()))
        return Collection((*plays, Sample(SKIPS.name, self.skips)))

    def snapshot(self) -> bytes:
        return json.dumps(self.state(), sort_keys=True).encode()

    def state(self) -> dict[str, Any]:
        return {"plays": self.plays, "skips": self.skips}

    def restore(self, state: bytes) -> None:
        try:
            saved = json.loads(state)
            self.plays, self.skips = Counter(saved["plays"]), int(saved["skips"])
        except (ValueError, KeyError, TypeError) as error:
            raise MalformedBody("this is no snapshot of it; let it start without one") from error
