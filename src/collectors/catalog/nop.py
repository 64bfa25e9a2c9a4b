"""The shortest legal collector; start a new one from here."""

from __future__ import annotations

from collectors.config.collector import CollectorConfig
from collectors.contract.collector import Sampling
from collectors.model.metric import Collection, Kind, MetricSpec, Sample, Unit, Window

_UP = MetricSpec("collectors.nop.up", Kind.GAUGE, Unit.COUNT, "Always 1.")


class NopCollector(Sampling[CollectorConfig]):
    """Report that collection works, and touch nothing."""

    name = "nop"
    emits = (_UP,)

    async def collect(self, window: Window) -> Collection:  # noqa: ARG002  # it is always the same
        return Collection(samples=(Sample(_UP.name, 1.0),))


if __name__ == "__main__":
    from collectors.catalog.show import show

    show(NopCollector())
