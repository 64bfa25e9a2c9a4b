"""Send batches of events over several connections, and add up the receipts."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from collectors.cli.connect import Target, refusal, unreachable
from collectors.clock import SYSTEM_CLOCK, Clock
from collectors.errors import CollectorsError, Overloaded, SourceUnavailable, TooLarge

if TYPE_CHECKING:
    import httpx

PATIENCE_SECONDS = 60.0
"""How long a server may be away or full before the sender gives up."""

_TIMEOUT_SECONDS = 30.0
_IDLE_SECONDS = 60.0
_BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
_LONGEST_WAIT_SECONDS = 30.0
_REASONS_KEPT = 20


class Media(StrEnum):
    """What a body is; the value is its media type."""

    ARROW = "application/vnd.apache.arrow.stream"
    NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Parcel:
    """One request: events of one tenant and type. ``numbers`` are their rows where they come from."""

    tenant: str
    type: str
    rows: int
    body: bytes
    media: Media
    key: str
    """Idempotency key: sent again, the parcel counts once."""
    numbers: Sequence[int] = ()


@dataclass(slots=True)
class Receipts:
    """The sums over all answers; ``offered`` is what was sent and answered."""

    offered: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    dropped: int = 0
    requests: int = 0
    repeats: int = 0
    """Requests that had to be sent again."""
    bytes: int = 0
    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Events offered, by tenant and type."""
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Reason and detail of rejections, of the first ten of each request."""
    examples: list[tuple[int, str]] = field(default_factory=list)
    """Row and detail of the first rejections."""
    dead_letters: list[int] = field(default_factory=list)
    """Positions at which rejected events wait."""

    @property
    def unaccounted(self) -> int:
        """Events that were sent and that no receipt speaks of; 0 unless something is wrong."""
        return self.offered - self.accepted - self.duplicate - self.rejected - self.dropped

    def add(self, parcel: Parcel, answer: dict[str, Any]) -> None:
        """Count an answer in."""
        self.requests += 1
        self.bytes += len(parcel.body)
        self.offered += parcel.rows
        self.events[parcel.tenant, parcel.type] += parcel.rows
        self.accepted += int(answer["accepted"])
        self.duplicate += int(answer["duplicate"])
        self.rejected += int(answer["rejected"])
        self.dropped += int(answer["dropped"])
        for reason in answer.get("reasons", ()):
            self.reasons[str(reason["reason"]), str(reason["detail"])] += 1
            if len(self.examples) < _REASONS_KEPT:
                row = int(reason["row"])
                self.examples.append((parcel.numbers[row] if parcel.numbers else row, str(reason["detail"])))
        if answer.get("dead_letter") is not None:
            self.dead_letters.append(int(answer["dead_letter"]))

    def to_dict(self) -> dict[str, Any]:
        """Return the sums as values that JSON can hold."""
        return {
            "offered": self.offered,
            "accepted": self.accepted,
            "duplicate": self.duplicate,
            "rejected": self.rejected,
            "dropped": self.dropped,
            "unaccounted": self.unaccounted,
            "requests": self.requests,
            "repeats": self.repeats,
            "bytes": self.bytes,
            "reasons": [
                {"reason": reason, "detail": detail, "seen": n} for (reason, detail), n in self.reasons.most_common()
            ],
            "dead_letters": self.dead_letters,
        }


Keys = Callable[[str], str]
"""The API key to send a tenant's events with."""


class Sender:
    """Sends parcels, each until it is answered. Requests that fail for now are repeated; what fails for good raises.

    ``stop`` ends it early: what was taken from the source is still sent, nothing more is taken.
    """

    def __init__(
        self,
        target: Target,
        *,
        connections: int = 2,
        keys: Keys | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Clock = SYSTEM_CLOCK,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
    ) -> None:
        self.receipts = Receipts()
        self._target = target
        self._keys = keys
        self._connections = connections
        self._patience = patience_seconds
        self._clock = clock
        self._transport = transport
        self._turn = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._answered = 0.0

    @property
    def stopped(self) -> bool:
        """Whether ``stop`` was called."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Take nothing more from the source."""
        self._stopping.set()

    async def run(
        self,
        parcels: Iterator[Parcel],
        *,
        pace: Callable[[int], float] = lambda _: 0.0,
        on_answer: Callable[[Receipts], None] = lambda _: None,
    ) -> Receipts:
        """Send everything; ``pace`` gets the rows that want to go and says in how many seconds they may.

        ``parcels`` is advanced in threads, one at a time, so that making the next ones does not hold up answers.
        """
        import httpx

        async with httpx.AsyncClient(
            base_url=self._target.url,
            timeout=_TIMEOUT_SECONDS,
            limits=httpx.Limits(max_connections=self._connections, keepalive_expiry=_IDLE_SECONDS),
            transport=self._transport() if self._transport else None,
            trust_env=not self._target.local,
        ) as client:
            self._answered = self._clock.monotonic()
            try:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(self._connections):
                        tasks.create_task(self._work(client, parcels, pace, on_answer))
            except BaseExceptionGroup as group:
                known = group.subgroup(CollectorsError)
                if known is None:
                    raise
                # All connections meet the same trouble: one report of it is enough.
                raise _first(known) from None
        return self.receipts

    async def _work(
        self,
        client: httpx.AsyncClient,
        parcels: Iterator[Parcel],
        pace: Callable[[int], float],
        on_answer: Callable[[Receipts], None],
    ) -> None:
        while (parcel := await self._next(parcels, pace)) is not None:
            answer = await self._delivered(client, parcel)
            self.receipts.add(parcel, answer)
            on_answer(self.receipts)

    async def _next(self, parcels: Iterator[Parcel], pace: Callable[[int], float]) -> Parcel | None:
        async with self._turn:
            if self._stopping.is_set():
                return None
            parcel = await asyncio.to_thread(next, parcels, None)
            if parcel is not None:
                await self._pause(pace(parcel.rows))
            return parcel

    async def _delivered(self, client: httpx.AsyncClient, parcel: Parcel) -> dict[str, Any]:
        """Send ``parcel`` until there is an answer."""
        failures = 0
        while True:
            try:
                return await self._post(client, parcel)
            except (Overloaded, SourceUnavailable) as error:
                if self._clock.monotonic() - self._answered > self._patience:
                    raise
                wait = _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)]
                if isinstance(error, Overloaded):
                    wait = min(error.retry_after, _LONGEST_WAIT_SECONDS)
            failures += 1
            self.receipts.repeats += 1
            await self._clock.sleep(wait)

    async def _post(self, client: httpx.AsyncClient, parcel: Parcel) -> dict[str, Any]:
        import httpx

        key = self._keys(parcel.tenant) if self._keys else self._target.key
        headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": parcel.media,
            "Idempotency-Key": parcel.key,
        }
        path = f"/v1/tenants/{parcel.tenant}/events/{parcel.type}"
        try:
            response = await client.post(path, content=parcel.body, headers=headers)
        except httpx.TransportError as error:
            raise unreachable(self._target, error) from error
        if response.is_error:
            refused = refusal(response.status_code, response.content, response.headers)
            if isinstance(refused, TooLarge):
                raise TooLarge(f"{refused}; or send fewer at once with --batch-rows")
            raise refused
        self._answered = self._clock.monotonic()
        answer: dict[str, Any] = response.json()
        return answer

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than until ``stop``."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()


def send_all(
    make: Callable[[], Sender],
    parcels: Iterator[Parcel],
    *,
    pace: Callable[[int], float] = lambda _: 0.0,
    on_answer: Callable[[Receipts], None] = lambda _: None,
) -> tuple[Receipts, bool]:
    """Run a sender to its end, or until a first SIGINT or SIGTERM asks it to stop; tell whether one did."""

    async def run() -> tuple[Receipts, bool]:
        sender = make()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Only once: a second signal ends the program at once.
            loop.add_signal_handler(number, _stop_once, loop, sender)
        return await sender.run(parcels, pace=pace, on_answer=on_answer), sender.stopped

    return asyncio.run(run())


def _stop_once(loop: asyncio.AbstractEventLoop, sender: Sender) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
    sender.stop()


def _first(group: BaseExceptionGroup[CollectorsError] | ExceptionGroup[CollectorsError]) -> CollectorsError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, CollectorsError), "the group was split by that class"
    return error
