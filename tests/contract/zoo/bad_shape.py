"""Bad declarations, lives and data; each differs from a tame collector in the one thing its name says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, field_serializer

from collectors.contract.collector import CollectorContext
from collectors.contract.example import Example
from collectors.errors import SourceRefused, SourceUnavailable
from collectors.model.metric import Collection, Kind, MetricSpec, Sample, Unit, Window
from tests.contract.zoo.cage import ZOO, breaks
from tests.contract.zoo.loud_module import Loud
from tests.contract.zoo.tame_analyst import TameAnalyst
from tests.contract.zoo.tame_sampler import LEVEL, MEAN, READINGS, TameConfig, TameSampler
from tests.contract.zoo.tame_streamer import TameStreamer

ZOO["importing_does_nothing_else"] = Loud


# --- declaration ------------------------------------------------------------------------------------------------------


@breaks("is_found_by_its_name")
class Unregistered(TameSampler):
    """Report the levels of a few tanks."""


@breaks("docstring_begins_with_a_sentence")
class Speechless(TameSampler):
    """tanks"""


@breaks("brings_an_example_with_input")
class WithoutInput(TameSampler):
    """Report the levels of a few tanks."""

    emits = (READINGS,)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example()

    def samples(self, levels: dict[str, int]) -> tuple[Sample, ...]:
        return super().samples(levels)[:1]


@breaks("examples_have_names_of_their_own")
class OneNameForAll(TameSampler):
    """Report the levels of a few tanks."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example("tank", files={"tanks.txt": "north 3\n"})
        yield Example("tank", files={"tanks.txt": "south 5\n"})


@breaks("config_survives_being_written_down")
class LossyConfig(TameSampler):
    """Report the levels of a few tanks."""

    class Config(TameConfig):
        """Settings."""

        @field_serializer("limit")
        def _round(self, limit: int) -> int:
            return limit // 4 + 1


@breaks("config_is_frozen")
class SoftConfig(TameSampler):
    """Report the levels of a few tanks."""

    class Config(TameConfig):
        """Settings."""

        model_config = ConfigDict(frozen=False)


@breaks("config_refuses_what_it_does_not_know")
class TolerantConfig(TameSampler):
    """Report the levels of a few tanks."""

    class Config(TameConfig):
        """Settings."""

        model_config = ConfigDict(extra="ignore")


@breaks("settings_are_described")
class BareConfig(TameSampler):
    """Report the levels of a few tanks."""

    class Config(TameConfig):
        """Settings."""

        depth: int = 1


@breaks("secrets_are_masked")
class OpenSecret(TameSampler):
    """Report the levels of a few tanks."""

    class Config(TameConfig):
        """Settings."""

        api_key: str = ""
        """What the other gauge asks for."""


@breaks("aliases_mean_one_metric")
class DoubleAlias(TameSampler):
    """Report the levels of a few tanks."""

    emits = (READINGS, LEVEL, MetricSpec(MEAN.name, MEAN.kind, MEAN.unit, "Mean.", aliases=("level",), nullable=True))


@breaks("labels_leave_the_tenant_to_the_runner")
class TenantLabel(TameSampler):
    """Report the levels of a few tanks."""

    emits = (READINGS, MetricSpec(LEVEL.name, LEVEL.kind, LEVEL.unit, "Level.", labels=("tenant",)), MEAN)


@breaks("methods_can_be_called_as_the_contract_says")
class OwnWords(TameSampler):
    """Report the levels of a few tanks."""

    async def collect(self, period: Window) -> Collection:  # type: ignore[override]
        return await super().collect(period)


# --- lifecycle --------------------------------------------------------------------------------------------------------


@breaks("construction_does_nothing")
class Hasty(TameSampler):
    """Report the levels of a few tanks."""

    def __init__(self, config: Any = None, context: CollectorContext | None = None) -> None:
        super().__init__(config, context)
        Path("/dev/null").read_bytes()


@breaks("close_is_safe_unopened")
class ClosesWhatItHasNot(TameSampler):
    """Report the levels of a few tanks."""

    _open = False

    async def open(self) -> None:
        await super().open()
        self._open = True

    async def close(self) -> None:
        if not self._open:
            raise AttributeError("_gauge")
        await super().close()


@breaks("close_is_idempotent")
class ClosesOnce(TameSampler):
    """Report the levels of a few tanks."""

    _closed = 0

    async def open(self) -> None:
        await super().open()
        self._closed = 0

    async def close(self) -> None:
        await super().close()
        self._closed += 1
        if self._closed > 1:
            raise RuntimeError("closed already")


@breaks("collecting_closed_is_a_lifecycle_error")
class SilentWhenClosed(TameSampler):
    """Report the levels of a few tanks."""

    async def collect(self, window: Window) -> Collection:
        return Collection() if self._gauge is None else await super().collect(window)


@breaks("can_be_opened_again")
class OpensOnce(TameSampler):
    """Report the levels of a few tanks."""

    _opened = False

    async def open(self) -> None:
        if self._opened:
            raise RuntimeError("opened already")
        await super().open()
        self._opened = type(self._gauge).__name__ == "Gauge"  # behind a faulty source this shows in another check


@breaks("instances_share_no_state")
class SharedNotes(TameSampler):
    """Report the levels of a few tanks."""

    notes: ClassVar[dict[str, int]] = {}


@breaks("leaves_nothing_behind")
class LeavesATask(TameSampler):
    """Report the levels of a few tanks."""

    async def collect(self, window: Window) -> Collection:
        collection = await super().collect(window)
        self._task = asyncio.ensure_future(asyncio.Event().wait())
        return collection


@breaks("can_be_cancelled_at_every_await")
class Stubborn(TameSampler):
    """Report the levels of a few tanks."""

    async def collect(self, window: Window) -> Collection:
        try:
            await self.context.clock.sleep(0.1)
        except asyncio.CancelledError:
            return Collection()
        return await super().collect(window)


# --- data -------------------------------------------------------------------------------------------------------------


@breaks("fails_as_the_example_says")
class AnotherError(TameSampler):
    """Report the levels of a few tanks."""

    def parsed(self, text: str) -> dict[str, int]:
        try:
            return super().parsed(text)
        except SourceUnavailable as error:
            raise SourceRefused(str(error)) from None


@breaks("returns_a_collection")
class ReturnsLists(TameSampler):
    """Report the levels of a few tanks."""

    def samples(self, levels: dict[str, int]) -> tuple[Sample, ...]:
        return list(super().samples(levels))  # type: ignore[return-value]


@breaks("emits_only_what_it_declares")
class Undeclared(TameSampler):
    """Report the levels of a few tanks."""

    def samples(self, levels: dict[str, int]) -> tuple[Sample, ...]:
        return (*super().samples(levels), Sample("zoo.undeclared", 1.0))


@breaks("shows_every_metric_it_declares")
class NeverSeen(TameSampler):
    """Report the levels of a few tanks."""

    emits = (*TameSampler.emits, MetricSpec("zoo.unicorns", Kind.GAUGE, Unit.COUNT, "Unicorns."))


@breaks("series_are_distinct")
class Twice(TameSampler):
    """Report the levels of a few tanks."""

    def samples(self, levels: dict[str, int]) -> tuple[Sample, ...]:
        return (*super().samples(levels), Sample(READINGS.name, self._readings))


@breaks("only_nullable_metrics_are_undefined")
class UndefinedByAccident(TameSampler):
    """Report the levels of a few tanks."""

    emits = (READINGS, LEVEL, MetricSpec(MEAN.name, MEAN.kind, MEAN.unit, "Mean level."))


@breaks("times_are_inside_the_window")
class LongAgo(TameSampler):
    """Report the levels of a few tanks."""

    def samples(self, levels: dict[str, int]) -> tuple[Sample, ...]:
        return (Sample(READINGS.name, self._readings, time_us=1), *super().samples(levels)[1:])


@breaks("counters_never_fall")
class CountsDown(TameSampler):
    """Report the levels of a few tanks."""

    def samples(self, levels: dict[str, int]) -> tuple[Sample, ...]:
        return (Sample(READINGS.name, 100 - self._readings), *super().samples(levels)[1:])


@breaks("bears_a_source_without_events")
class NeedsEvents(TameAnalyst):
    """Count the plays in the lake, and listeners by country."""

    def derive(self, results: Mapping[str, Any], window: Window) -> Collection:
        results["people"].to_pylist()[0]
        return super().derive(results, window)


@breaks("leaves_what_it_is_given_alone")
class WritesIntoConfig(TameSampler):
    """Report the levels of a few tanks."""

    def samples(self, levels: dict[str, int]) -> tuple[Sample, ...]:
        self.config.tags["seen"] = "yes"  # type: ignore[index]
        return super().samples(levels)


@breaks("asking_does_not_change_the_answer")
class GrowingLabels(TameSampler):
    """Report the levels of a few tanks."""

    def samples(self, levels: dict[str, int]) -> tuple[Sample, ...]:
        grown = (Sample(LEVEL.name, 0, (f"tank-{n}",)) for n in range(self._readings))
        return (*super().samples(levels), *grown)


@breaks("labels_stay_bounded")
class AnyLabel(TameStreamer):
    """Count plays by device, and tell of songs that nobody wants."""

    def device(self, value: str | None) -> str:
        return value or "unknown"


@breaks("labels_hold_no_personal_value")
class NamesPeople(TameStreamer):
    """Count plays by device, and tell of songs that nobody wants."""

    def device(self, value: str | None) -> str:
        return "u1" if value == "tv" else super().device(value)
