"""A sampling collector that keeps the contract; bad ones differ from it in one thing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr

from collectors.config.collector import CollectorConfig
from collectors.contract.collector import Sampling
from collectors.contract.example import Example
from collectors.errors import LifecycleError, SourceUnavailable
from collectors.model.metric import Collection, Kind, MetricSpec, Sample, Unit, Window

READINGS = MetricSpec("zoo.readings", Kind.COUNTER, Unit.COUNT, "Readings since it was opened.")
LEVEL = MetricSpec("zoo.level", Kind.GAUGE, Unit.BYTES, "Level of each tank.", labels=("tank",), aliases=("level",))
MEAN = MetricSpec("zoo.mean", Kind.GAUGE, Unit.BYTES, "Mean level.", nullable=True)


class Gauge:
    """A driver: reads tanks from a file, as a real one would from a device."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "tanks.txt"

    async def read(self) -> str:
        return self._file.read_text() if self._file.exists() else ""

    def unit(self) -> str:
        return "By"


class TameConfig(CollectorConfig):
    """Settings."""

    limit: int = Field(default=10, ge=1, le=100)
    """Most tanks that are reported."""

    password: SecretStr = SecretStr("")
    """What the gauge asks for."""


class TameSampler(Sampling[TameConfig]):
    """Report the levels of a few tanks."""

    name = "tame_sampler"
    Config = TameConfig
    emits = (READINGS, LEVEL, MEAN)

    _gauge: Any = None
    _readings = 0

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example("two_tanks", {"password": "hunter2-hunter2"}, files={"tanks.txt": "north 3\nsouth 5\n"})
        yield Example("dry", files={"tanks.txt": ""})
        yield Example("rusty", files={"tanks.txt": "north three"}, fails=SourceUnavailable)

    @classmethod
    def recorded(cls, folder: Path) -> Mapping[str, Any]:
        return {"gauge": Gauge(folder)}

    async def open(self) -> None:
        self._gauge = self.context.drivers["gauge"]
        self._readings = 0

    async def collect(self, window: Window) -> Collection:
        if self._gauge is None:
            raise LifecycleError("open it before collecting")
        levels = self.parsed(await self._gauge.read())
        await self.context.clock.sleep(0.1)
        self._readings += 1
        return Collection(self.samples(levels))

    async def close(self) -> None:
        self._gauge = None

    def parsed(self, text: str) -> dict[str, int]:
        try:
            pairs = dict(line.split(" ") for line in text.splitlines())
            return {tank: int(level) for tank, level in pairs.items()}
        except ValueError:
            raise SourceUnavailable("the gauge answers something else than levels; look at it") from None

    def samples(self, levels: dict[str, int]) -> tuple[Sample, ...]:
        mean = sum(levels.values()) / len(levels) if levels else None
        return (
            Sample(READINGS.name, self._readings),
            *(Sample(LEVEL.name, level, (tank,)) for tank, level in sorted(levels.items())[: self.config.limit]),
            Sample(MEAN.name, mean, reason="" if levels else "there is no tank"),
        )
