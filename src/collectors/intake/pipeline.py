"""The heart of the gateway: requests in, one group commit after the other, receipts out.

Two threads share the work. The first takes whatever waits (fairly over tenants), joins what belongs to the same tenant
and type, and carries it from bytes to a log record. The second commits records, one fsync a group, and releases the
receipts. A group that cannot be committed takes the groups prepared after it along, because these may count as
duplicates what was lost with the first; clients are told to retry all of them.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from collectors.clock import Clock
from collectors.drivers.event_log import LogWriter, Record
from collectors.errors import CollectorsError, Overloaded, StorageUnavailable
from collectors.intake.dedupe import Keys
from collectors.intake.fair_queue import FairQueue
from collectors.intake.prepare import Outcome, Prepared, Preparer, Submission, Waiter


@dataclass(slots=True)
class _Group:
    prepared: list[Prepared] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """How much may wait, and how large a group grows; bytes of request bodies."""

    queue_bytes: int = 64 * 2**20
    tenant_queue_bytes: int = 24 * 2**20
    group_bytes: int = 1_500_000
    group_submissions: int = 512


Deliver = Callable[[Sequence[Outcome]], None]


class IntakePipeline:
    """Carry submissions to the log. ``submit`` is thread-safe and never blocks."""

    def __init__(
        self,
        preparer: Preparer,
        log: LogWriter,
        clock: Clock,
        deliver: Deliver | None = None,
        limits: PipelineLimits | None = None,
    ) -> None:
        self._preparer = preparer
        self._log = log
        self._clock = clock
        self._deliver = deliver or settle
        self._limits = limits or PipelineLimits()
        self._waiting: FairQueue[tuple[Submission, Waiter]] = FairQueue(
            total=self._limits.queue_bytes, per_tenant=self._limits.tenant_queue_bytes
        )
        self._ready: queue.Queue[_Group | None] = queue.Queue(maxsize=1)
        self._epoch = 0
        self._failed_keys: list[Keys] = []
        self._last_commit_us = 0
        self._threads = [
            threading.Thread(target=self._prepare_forever, name="intake-prepare", daemon=True),
            threading.Thread(target=self._commit_forever, name="intake-commit", daemon=True),
        ]

    def start(self) -> None:
        """Start the two threads."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Finish what waits, then stop."""
        self._waiting.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._log.close()

    @property
    def queued_bytes(self) -> int:
        """Bytes of request bodies that wait."""
        return self._waiting.weight

    @property
    def oldest_waiting_us(self) -> int:
        """When the request that waits longest came in, 0 if none waits."""
        oldest = self._waiting.peek()
        return oldest[0].received_us if oldest else 0

    @property
    def last_commit_us(self) -> int:
        """When the log last took a group, 0 if it never did; together with ``queued_bytes`` this shows progress."""
        return self._last_commit_us

    def submit(self, submission: Submission, waiter: Waiter) -> None:
        """Queue ``submission``; ``waiter`` gets its receipt once it is durable, or a CollectorsError.

        Raises Overloaded at once if too much waits already.
        """
        if not self._waiting.put(submission.tenant, submission.weight, (submission, waiter)):
            raise Overloaded("too many events wait to be stored; send them again later", retry_after=1.0)

    def _prepare_forever(self) -> None:
        epoch = self._epoch
        while True:
            waiting = self._waiting.take(self._limits.group_bytes, self._limits.group_submissions)
            if not waiting:
                self._ready.put(None)
                return
            if epoch != self._epoch:
                # A commit failed: let the groups that built on it fail too, then take all their ids back.
                self._ready.join()
                epoch, failed, self._failed_keys = self._epoch, self._failed_keys, []
                for keys in failed:
                    self._preparer.forget(keys)
            prepared = self._preparer.prepare(waiting, self._clock.now_us())
            self._ready.put(_Group(prepared, [p.record for p in prepared if p.record is not None], epoch))

    def _commit_forever(self) -> None:
        while (group := self._ready.get()) is not None:
            self._commit(group)
            self._ready.task_done()

    def _commit(self, group: _Group) -> None:
        if group.epoch != self._epoch:
            self._fail(group, StorageUnavailable("an earlier commit failed; send the events again"))
            return
        try:
            position = self._log.append(group.records) if group.records else self._log.next_position
        except StorageUnavailable as error:
            self._epoch += 1
            self._fail(group, error)
            return
        self._last_commit_us = self._clock.now_us()
        results: list[Outcome] = []
        for prepared in group.prepared:
            results.extend(prepared.outcomes(position if prepared.record is not None else 0))
            position += prepared.record is not None
        self._deliver(results)

    def _fail(self, group: _Group, error: StorageUnavailable) -> None:
        self._failed_keys.extend(p.keys for p in group.prepared if p.keys is not None)
        self._deliver([(waiter, error) for p in group.prepared for waiter in p.waiters])


def settle(outcomes: Sequence[Outcome]) -> None:
    """Tell each waiter what became of its submission, unless it has gone away."""
    for waiter, result in outcomes:
        if waiter.done():
            continue
        if isinstance(result, CollectorsError):
            waiter.set_exception(result)
        else:
            waiter.set_result(result)
