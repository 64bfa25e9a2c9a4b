"""Bad conduct in order, tenancy, failure and restart; each differs from a tame one in what its name says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from pydantic import SecretStr

from collectors.contract.collector import CollectorContext
from collectors.errors import CollectorsError, SourceRefused, SourceUnavailable
from collectors.model.batch import Batch
from collectors.model.metric import Collection, Sample, Window
from tests.contract.zoo.cage import breaks
from tests.contract.zoo.tame_analyst import TameAnalyst
from tests.contract.zoo.tame_sampler import TameSampler
from tests.contract.zoo.tame_streamer import TameStreamer

# --- invariance -------------------------------------------------------------------------------------------------------


@breaks("the_same_input_gives_the_same_output")
class AnyOrder(TameSampler):
    """Report the levels of a few tanks."""

    made = 0

    def __init__(self, config: Any = None, context: CollectorContext | None = None) -> None:
        super().__init__(config, context)
        AnyOrder.made += 1
        self._backwards = AnyOrder.made % 2 == 0

    def samples(self, levels: dict[str, int]) -> tuple[Sample, ...]:
        samples = super().samples(levels)
        return samples[::-1] if self._backwards else samples


@breaks("the_order_of_rows_does_not_matter")
class CountsChanges(TameStreamer):
    """Count plays by device, and tell of songs that nobody wants."""

    last = ""

    def observe(self, batch: Batch) -> Collection:
        skips = self.skips
        collection = super().observe(batch)
        self.skips = skips
        for device in batch.table.column("device").to_pylist():
            self.skips += device != self.last
            self.last = device
        return collection

    def state(self) -> dict[str, Any]:
        return {**super().state(), "last": self.last}

    def restore(self, state: bytes) -> None:
        super().restore(state)
        self.last = json.loads(state)["last"]


@breaks("cutting_into_batches_does_not_matter")
class CountsBatches(TameStreamer):
    """Count plays by device, and tell of songs that nobody wants."""

    def observe(self, batch: Batch) -> Collection:
        self.skips += 1
        return super().observe(batch)


@breaks("looks_only_at_its_own_rows")
class ForgetsTheOffset(TameStreamer):
    """Count plays by device, and tell of songs that nobody wants."""

    def observe(self, batch: Batch) -> Collection:
        times = batch.table.column("event_time")
        raw = np.frombuffer(times.buffers()[1], np.int64, len(times))
        self.skips += int((raw % 7).sum()) if len(times) else 0
        return super().observe(batch)


@breaks("batches_are_left_as_they_were")
class WritesIntoBatches(TameStreamer):
    """Count plays by device, and tell of songs that nobody wants."""

    def observe(self, batch: Batch) -> Collection:
        values = np.frombuffer(batch.table.column("ms_played").buffers()[1], np.int32)
        if values.flags.writeable:
            values[:] = 0
        return super().observe(batch)


@breaks("optional_fields_may_be_missing")
class NeedsEverything(TameStreamer):
    """Count plays by device, and tell of songs that nobody wants."""

    def device(self, value: str | None) -> str:
        assert value is not None
        return super().device(value.lower())


# --- tenancy ----------------------------------------------------------------------------------------------------------


@breaks("tenants_are_treated_alike")
class SaysWhoItIsFor(TameStreamer):
    """Count plays by device, and tell of songs that nobody wants."""

    def device(self, value: str | None) -> str:
        return f"{self.context.tenant.id}-{super().device(value)}"


_KNOWN: dict[Window, Collection] = {}


@breaks("a_neighbour_is_never_seen")
class OneCacheForAll(TameAnalyst):
    """Count the plays in the lake, and listeners by country."""

    def derive(self, results: Mapping[str, Any], window: Window) -> Collection:
        return _KNOWN.setdefault(window, super().derive(results, window))


# --- failure ----------------------------------------------------------------------------------------------------------


class Translating(TameSampler):
    """Report the levels of a few tanks."""

    async def collect(self, window: Window) -> Collection:
        gauge, self._gauge = self._gauge, _Translated(self, self._gauge) if self._gauge else None
        try:
            return await super().collect(window)
        finally:
            self._gauge = gauge

    def translated(self, error: CollectorsError) -> Exception:
        return error


class _Translated:
    def __init__(self, collector: Translating, gauge: Any) -> None:
        self._collector = collector
        self._gauge = gauge

    async def read(self) -> str:
        try:
            return await self._gauge.read()
        except CollectorsError as error:
            raise self._collector.translated(error) from None


@breaks("an_unavailable_source_is_retryable")
class CrashesOnSilence(Translating):
    """Report the levels of a few tanks."""

    def translated(self, error: CollectorsError) -> Exception:
        return RuntimeError("what now?") if isinstance(error, SourceUnavailable) else error


@breaks("a_source_that_says_no_is_told")
class CrashesOnRefusal(Translating):
    """Report the levels of a few tanks."""

    def translated(self, error: CollectorsError) -> Exception:
        return RuntimeError("what now?") if isinstance(error, SourceRefused) else error


@breaks("a_hanging_source_is_cut_off")
class WaitsForEver(TameSampler):
    """Report the levels of a few tanks."""

    async def collect(self, window: Window) -> Collection:
        if self._gauge is None:
            return await super().collect(window)
        try:
            await self._gauge.read()
        except asyncio.CancelledError:
            return Collection()
        return await super().collect(window)


@breaks("every_run_is_accounted_for")
class NeverRecovers(Translating):
    """Report the levels of a few tanks."""

    _lost = False

    async def collect(self, window: Window) -> Collection:
        if self._lost:
            raise SourceUnavailable("the source was lost once; restart the server")
        return await super().collect(window)

    def translated(self, error: CollectorsError) -> Exception:
        self._lost = True
        return error


@breaks("rubbish_is_told")
class Credulous(TameSampler):
    """Report the levels of a few tanks."""

    def parsed(self, text: str) -> dict[str, int]:
        if " -" in text:
            raise KeyError(text)
        return super().parsed(text)


@breaks("errors_tell_no_secret")
class Chatty(Translating):
    """Report the levels of a few tanks."""

    def translated(self, error: CollectorsError) -> Exception:
        if isinstance(error, SourceRefused):
            secret: SecretStr = self.config.password
            return SourceRefused(f"the gauge does not like the password {secret.get_secret_value()}; change it")
        return error


# --- telemetry --------------------------------------------------------------------------------------------------------


@breaks("a_success_is_told")
class Stagename(TameSampler):
    """Report the levels of a few tanks."""

    @property
    def instance_name(self) -> str:
        return "the_great_sampler"


@breaks("a_failure_is_told")
class Taciturn(Translating):
    """Report the levels of a few tanks."""

    def translated(self, error: CollectorsError) -> Exception:
        return type(error)("failed")


# --- resume -----------------------------------------------------------------------------------------------------------


@breaks("goes_on_where_it_stopped")
class ForgetsSkips(TameStreamer):
    """Count plays by device, and tell of songs that nobody wants."""

    def state(self) -> dict[str, Any]:
        return {"plays": self.plays, "skips": 0}


_ASIDE: WeakKeyDictionary[Any, bytes] = WeakKeyDictionary()


@breaks("a_crash_loses_nothing")
class KeepsStateAside(TameStreamer):
    """Count plays by device, and tell of songs that nobody wants."""

    async def close(self) -> None:
        _ASIDE[self.context.clock] = self.snapshot()

    def restore(self, state: bytes) -> None:
        super().restore(_ASIDE.get(self.context.clock, state))


@breaks("a_snapshot_changes_nothing")
class SnapshotClears(TameStreamer):
    """Count plays by device, and tell of songs that nobody wants."""

    def snapshot(self) -> bytes:
        state = super().snapshot()
        self.skips = 0
        return state


@breaks("restoring_replaces_the_state")
class RestoreAdds(TameStreamer):
    """Count plays by device, and tell of songs that nobody wants."""

    def restore(self, state: bytes) -> None:
        plays, skips = self.plays, self.skips
        super().restore(state)
        self.plays += plays
        self.skips += skips


@breaks("a_foreign_snapshot_is_refused")
class BelievesAnything(TameStreamer):
    """Count plays by device, and tell of songs that nobody wants."""

    def restore(self, state: bytes) -> None:
        try:
            super().restore(state)
        except CollectorsError:
            return
