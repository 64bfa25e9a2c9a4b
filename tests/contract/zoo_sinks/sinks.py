"""A tame sink, what it writes to, and the bad ones; each differs from the tame one in what its check's name says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from collectors.config.alerting import SecretRef, read_secret
from collectors.config.sinks import SinkConfig
from collectors.contract.sink import BaseSink, Receipt, Repeats, SinkBatch, SinkContext
from collectors.errors import BadInput, LifecycleError, Overloaded, RetryableError
from collectors.testing.sink_target import BUSY_SECONDS, Arrival, SinkTarget, Trouble

SECRET = "tank-water-is-sweet"
Row = tuple[str, str, float | None]


class TankConfig(SinkConfig):
    """A shelf to write to."""

    type: Literal["tank"] = "tank"
    """Which kind of sink this is."""
    key: SecretRef
    """Where the key of the shelf stands."""


class Shelf(SinkTarget):
    """Takes rows with a batch's id and their place in it."""

    secrets = (SECRET,)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rows: list[tuple[str, int, Row]] = []

    @property
    def settings(self) -> Mapping[str, Any]:
        (self.folder / "key").write_text(SECRET)
        return {"key": f"file:{self.folder / 'key'}"}

    @property
    def drivers(self) -> Mapping[str, Any]:
        return {"shelf": self}

    def arrived(self) -> list[Arrival]:
        return [Arrival((id_, place), row[0], row[2]) for id_, place, row in self.rows]

    async def put(self, id_: str, rows: list[Row], key: str) -> str:
        """Say how it went, as servers do."""
        assert key == SECRET
        if self.trouble is Trouble.HANGING:
            await asyncio.Event().wait()
        if self.trouble is None:
            self.rows += [(id_, place, row) for place, row in enumerate(rows)]
        return self.trouble or "well"


class TameSink(BaseSink[TankConfig]):
    """Put samples on a shelf."""

    name = "tame"
    Config = TankConfig
    repeats = Repeats.RECOGNISABLE

    def __init__(self, config: TankConfig, context: SinkContext | None = None) -> None:
        super().__init__(config, context)
        self._shelf: Shelf | None = None

    async def open(self) -> None:
        self._shelf = self.context.drivers["shelf"]

    async def write(self, batch: SinkBatch) -> Receipt:
        if self._shelf is None:
            raise LifecycleError("open it first")
        key = await self.context.offload(read_secret, self.config.key)
        return self.judged(await self._shelf.put(self.id(batch), self.rows(batch), key.get_secret_value()), batch)

    def id(self, batch: SinkBatch) -> str:
        return batch.id

    def rows(self, batch: SinkBatch) -> list[Row]:
        return [(s.tenant, s.spec.name, s.value) for s in batch.samples]

    def judged(self, answer: str, batch: SinkBatch) -> Receipt:
        match answer:
            case Trouble.UNAVAILABLE | Trouble.WRONG_KEY:
                raise RetryableError("the shelf does not answer; look at its address and key")
            case Trouble.REFUSED:
                raise BadInput("the shelf refused the batch")
            case Trouble.BUSY:
                raise Overloaded("the shelf is busy", retry_after=BUSY_SECONDS)
        return Receipt(len(batch))

    async def close(self) -> None:
        self._shelf = None


B = TypeVar("B", bound=type[BaseSink[Any]])
ZOO: dict[str, type[BaseSink[Any]]] = {}


def breaks(check: str) -> Callable[[B], B]:
    """Put a class in the zoo."""

    def put(cls: B) -> B:
        assert check not in ZOO, f"one sink is enough to break {check}"
        ZOO[check] = cls
        return cls

    return put


@breaks("settings_are_described")
class Taciturn(TameSink):
    """Put samples on a shelf."""

    class Config(TankConfig):
        """A shelf to write to."""

        depth: int = 3


@breaks("construction_does_nothing")
class Hasty(TameSink):
    """Put samples on a shelf."""

    def __init__(self, config: TankConfig, context: SinkContext | None = None) -> None:
        super().__init__(config, context)
        Path(config.key.removeprefix("file:")).read_text()


@breaks("close_is_safe_unopened")
class ClosesWhatIsNot(TameSink):
    """Put samples on a shelf."""

    opened = False

    async def open(self) -> None:
        await super().open()
        self.opened = True

    async def close(self) -> None:
        if not self.opened:
            raise AttributeError("shelf")
        await super().close()


@breaks("close_is_idempotent")
class ClosesOnce(TameSink):
    """Put samples on a shelf."""

    closed = False

    async def open(self) -> None:
        await super().open()
        self.closed = False

    async def close(self) -> None:
        if self.closed and self._shelf is None:
            self.closed = False
            raise ValueError("it is closed")
        self.closed = self._shelf is not None
        await super().close()


@breaks("writing_closed_is_a_lifecycle_error")
class WritesClosed(TameSink):
    """Put samples on a shelf."""

    async def write(self, batch: SinkBatch) -> Receipt:
        return await super().write(batch) if self._shelf else Receipt(len(batch))


@breaks("can_be_opened_again")
class OpensOnce(TameSink):
    """Put samples on a shelf."""

    def __init__(self, config: TankConfig, context: SinkContext | None = None) -> None:
        super().__init__(config, context)
        self.wrote = self.spent = False

    async def open(self) -> None:
        await super().open()
        self.spent = self.wrote

    def rows(self, batch: SinkBatch) -> list[Row]:
        return [] if self.spent else super().rows(batch)

    def judged(self, answer: str, batch: SinkBatch) -> Receipt:
        receipt = super().judged(answer, batch)
        self.wrote = True
        return receipt


@breaks("leaves_nothing_behind")
class LeavesAThread(TameSink):
    """Put samples on a shelf."""

    wrote = 0

    def judged(self, answer: str, batch: SinkBatch) -> Receipt:
        receipt = super().judged(answer, batch)
        if batch.id:
            self.wrote += 1
        return receipt

    async def close(self) -> None:
        if self.wrote == 1 and self._shelf is not None:
            threading.Thread(target=threading.Event().wait, args=(3,), daemon=True).start()
        await super().close()


@breaks("can_be_cancelled_at_every_await")
class SwallowsCancelling(TameSink):
    """Put samples on a shelf."""

    async def open(self) -> None:
        try:
            await self.context.offload(int)
        except asyncio.CancelledError:
            await self.context.offload(int)
        await super().open()


@breaks("every_item_arrives_once")
class Distorts(TameSink):
    """Put samples on a shelf."""

    def rows(self, batch: SinkBatch) -> list[Row]:
        return [(tenant, metric, 9.0 if value == 0.25 else value) for tenant, metric, value in super().rows(batch)]


@breaks("odd_values_and_labels_are_accounted_for")
class NeedsValues(TameSink):
    """Put samples on a shelf."""

    def rows(self, batch: SinkBatch) -> list[Row]:
        return [(s.tenant, s.spec.name, s.value + 0.0) for s in batch.samples]  # type: ignore[operator]


@breaks("an_empty_batch_is_fine")
class NeedsSomething(TameSink):
    """Put samples on a shelf."""

    def rows(self, batch: SinkBatch) -> list[Row]:
        return [super().rows(batch)[0], *super().rows(batch)[1:]]


@breaks("a_repeated_batch_can_be_known")
class NewIdEachTime(TameSink):
    """Put samples on a shelf."""

    count = 0

    def id(self, batch: SinkBatch) -> str:
        self.count += 1
        return f"{batch.id}-{self.count}"


@breaks("an_unavailable_target_is_retryable")
class GivesUp(TameSink):
    """Put samples on a shelf."""

    def judged(self, answer: str, batch: SinkBatch) -> Receipt:
        if answer == Trouble.UNAVAILABLE:
            raise BadInput("the shelf is not there")
        return super().judged(answer, batch)


@breaks("a_wrong_key_is_retryable")
class GivesUpOnKeys(TameSink):
    """Put samples on a shelf."""

    def judged(self, answer: str, batch: SinkBatch) -> Receipt:
        if answer == Trouble.WRONG_KEY:
            raise BadInput("the key is wrong")
        return super().judged(answer, batch)


@breaks("a_refusal_is_permanent")
class NeverGivesUp(TameSink):
    """Put samples on a shelf."""

    def judged(self, answer: str, batch: SinkBatch) -> Receipt:
        if answer == Trouble.REFUSED:
            raise RetryableError("again")
        return super().judged(answer, batch)


@breaks("a_busy_target_says_when")
class Impatient(TameSink):
    """Put samples on a shelf."""

    def judged(self, answer: str, batch: SinkBatch) -> Receipt:
        if answer == Trouble.BUSY:
            raise Overloaded("the shelf is busy", retry_after=0.1)
        return super().judged(answer, batch)


@breaks("a_hanging_target_can_be_given_up")
class AnswersForTheTarget(TameSink):
    """Put samples on a shelf."""

    async def write(self, batch: SinkBatch) -> Receipt:
        if self._shelf is not None and self._shelf.trouble is Trouble.HANGING:
            return Receipt(len(batch))
        return await super().write(batch)


@breaks("secrets_are_never_told")
class Chatterbox(TameSink):
    """Put samples on a shelf."""

    def judged(self, answer: str, batch: SinkBatch) -> Receipt:
        if answer == Trouble.WRONG_KEY:
            raise RetryableError(f"the shelf does not know {read_secret(self.config.key).get_secret_value()}")
        return super().judged(answer, batch)
