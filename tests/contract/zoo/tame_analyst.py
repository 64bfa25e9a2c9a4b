"""An analytical collector that keeps the contract; bad ones differ from it in one thing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from collectors.config.collector import CollectorConfig
from collectors.contract.collector import Analytical
from collectors.contract.example import Example
from collectors.contract.tables import events
from collectors.model.metric import Collection, Kind, MetricSpec, Sample, Unit, Window

PLAYS = MetricSpec("zoo.all_plays", Kind.GAUGE, Unit.EVENTS, "Plays the lake holds.")
LISTENERS = MetricSpec("zoo.listeners", Kind.GAUGE, Unit.USERS, "Listeners by country.", labels=("country",))


class TameAnalyst(Analytical[CollectorConfig]):
    """Count the plays in the lake, and listeners by country."""

    name = "tame_analyst"
    emits = (PLAYS, LISTENERS)
    countries = 3

    @classmethod
    def examples(cls) -> Iterable[Example]:
        rows = [
            {"event_time": timedelta(hours=n), "user_id": f"u{n % 3}", "track_id": "t", "ms_played": n, "country": "SE"}
            for n in range(6)
        ]
        yield Example("six_hours", events={"playback": rows})

    def queries(self, window: Window) -> Mapping[str, Any]:
        plays = events("playback")
        people = plays.group_by("country").agg(n=plays.user_id.nunique())
        return {"plays": plays.agg(n=plays.count()), "people": people.order_by("country").limit(self.countries)}

    def derive(self, results: Mapping[str, Any], window: Window) -> Collection:
        people = results["people"].to_pylist()
        return Collection((
            Sample(PLAYS.name, results["plays"].column("n")[0].as_py()),
            *(Sample(LISTENERS.name, row["n"], (row["country"] or "unknown",)) for row in people),
        ))  # fmt: skip
