"""From request bodies to log records: everything between the queue and the commit, on whole Arrow batches.

Submissions of the same tenant and type are carried as one batch, so that the fixed cost of each step is paid once for
many small requests; their receipts are told apart again by row ranges.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from collectors.drivers.event_log import Record
from collectors.errors import CollectorsError
from collectors.intake.decode import decode_arrow
from collectors.intake.decoded import BadRow, Decoded, Limits
from collectors.intake.dedupe import DedupeWindow, Keys
from collectors.intake.ndjson import decode_json, decode_ndjson, join_bodies
from collectors.intake.validate import Rejection, validate
from collectors.model.event_type import TIMESTAMP, EventType
from collectors.privacy.aead import associated_data, seal
from collectors.privacy.event_ids import canonical_event_ids
from collectors.privacy.keys import Keyset
from collectors.privacy.policy import FieldPolicies, protect

REASONS_IN_RECEIPT = 10
DEAD_LETTER_FIELD = "dead_letter"
_JOIN_BELOW_BYTES = 65_536
_IN_PIECES_FROM_BYTES = 65_536
_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
_JOINED_LIMITS = Limits(max_rows=2**31)

log = structlog.get_logger()


class Lane(StrEnum):
    """In what form a submission's body came."""

    ARROW = "arrow"
    NDJSON = "ndjson"
    JSON = "json"
    DECODED = "decoded"


@dataclass(frozen=True, slots=True)
class Submission:
    """Events of one type that a request brings for one tenant.

    ``key`` is the idempotency key: rows without an event_id get the same one when they are sent again under it.
    ``replays`` is the position of the dead letters these rows come from; their ``offered`` was counted then.
    """

    tenant: str
    type: EventType
    lane: Lane
    body: bytes | Decoded
    received_us: int
    key: bytes = b""
    replays: int = 0
    credit: int = 0
    """Rows of the dead letters that are taken back by a replay."""

    @property
    def is_lines(self) -> bool:
        """Tell whether its body is lines of JSON, or one: then it can be read together with others."""
        body = self.body
        if self.lane is Lane.JSON and isinstance(body, bytes):
            return body[:1] == b"{" and b"\n" not in body.rstrip(b"\r\n")
        return self.lane is Lane.NDJSON

    @property
    def weight(self) -> int:
        """Bytes it holds while it waits."""
        return len(self.body) if isinstance(self.body, bytes) else int(self.body.table.nbytes) + 256


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a submission; exact, and durable by the time it is handed out.

    ``position`` is where it stands in the log, ``dead_letter`` the same if rows were rejected, else None.
    """

    accepted: int
    duplicate: int
    rejected: int
    dropped: int
    position: int
    dead_letter: int | None
    reasons: tuple[Rejection, ...] = ()


class Waiter(Protocol):
    """Who waits for a receipt: a future of ``asyncio`` or of ``concurrent.futures``."""

    def done(self) -> bool:
        """Tell whether it has an answer or has gone away."""

    def set_result(self, result: Receipt, /) -> None:
        """Hand the receipt over."""

    def set_exception(self, exception: CollectorsError, /) -> None:
        """Say what went wrong."""


Outcome = tuple[Waiter, Receipt | CollectorsError]


@dataclass(frozen=True, slots=True)
class IntakePolicy:
    """What intake must know of a tenant: its keys, how its fields are protected, and types it does not want."""

    keyset: Keyset
    policies: FieldPolicies
    dropped_types: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Part:
    """One submission on its way: its rows in the joined batch, and what is known of them."""

    submission: Submission
    waiter: Waiter
    decoded: Decoded | None = None
    error: CollectorsError | None = None
    start: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    duplicate: int = 0
    dropped: int = 0

    @property
    def rows(self) -> int:
        return self.decoded.table.num_rows if self.decoded else 0

    @property
    def offered(self) -> int:
        return self.decoded.rows_offered if self.decoded else 0

    def row_number(self, row: int) -> int:
        """Return the number in the request of a row of the decoded table."""
        numbers = self.decoded.row_numbers if self.decoded else None
        return row if numbers is None else int(numbers[row])


@dataclass(slots=True)
class Prepared:
    """What a group holds for one tenant and type: a record to commit, and who waits for it."""

    parts: list[_Part]
    record: Record | None
    keys: Keys | None
    """Ids newly in the dedupe window, to be forgotten if the commit fails."""

    @property
    def waiters(self) -> list[Waiter]:
        """Everyone who waits."""
        return [p.waiter for p in self.parts]

    def outcomes(self, position: int) -> list[Outcome]:
        """Return what each submission is told once the record stands at ``position``."""
        results: list[Outcome] = []
        for p in self.parts:
            if p.error is not None:
                results.append((p.waiter, p.error))
                continue
            rejected = len(p.rejections)
            receipt = Receipt(
                accepted=p.offered - p.duplicate - rejected - p.dropped,
                duplicate=p.duplicate,
                rejected=rejected,
                dropped=p.dropped,
                position=position,
                dead_letter=position if rejected else None,
                reasons=tuple(p.rejections[:REASONS_IN_RECEIPT]),
            )
            results.append((p.waiter, receipt))
        return results


class Preparer:
    """Decode, validate, deduplicate, protect and encode. Used by one thread."""

    def __init__(self, policy: Callable[[str], IntakePolicy], window: DedupeWindow, limits: Limits) -> None:
        self._policy = policy
        self._window = window
        self._limits = limits

    def forget(self, keys: Keys) -> None:
        """Take ids back that were prepared but never committed."""
        self._window.forget(keys)

    def prepare(self, waiting: Sequence[tuple[Submission, Waiter]], now_us: int) -> list[Prepared]:
        """Turn ``waiting`` into one record for each tenant and type."""
        groups: dict[tuple[str, str, int], list[_Part]] = {}
        for submission, waiter in waiting:
            key = (submission.tenant, submission.type.name, submission.replays)
            groups.setdefault(key, []).append(_Part(submission, waiter))
        return [self._prepare_group(parts, now_us) for parts in groups.values()]

    def _prepare_group(self, parts: list[_Part], now_us: int) -> Prepared:
        first = parts[0].submission
        try:
            policy = self._policy(first.tenant)
            self._decode(parts)
            return self._record(parts, first.type, policy, now_us)
        except CollectorsError as error:
            return _failed(parts, error)
        except Exception:
            # Whatever a body managed to break must not end the only thread that prepares bodies.
            log.exception("intake.prepare_failed", tenant=first.tenant, type=first.type.name)
            return _failed(parts, CollectorsError("these events could not be processed; the log says why"))

    def _decode(self, parts: list[_Part]) -> None:
        small = [p for p in parts if p.submission.is_lines and p.submission.weight < _JOIN_BELOW_BYTES]
        if len(small) > 1:
            self._decode_joined(small)
            for part in small:
                # What is wrong with a body of JSON is said of it as a whole.
                if part.submission.lane is Lane.JSON and part.decoded and part.decoded.bad:
                    part.decoded = None
        for part in parts:
            if part.decoded is None:
                try:
                    part.decoded = self._decode_one(part.submission)
                except CollectorsError as error:
                    part.error = error

    def _decode_one(self, submission: Submission) -> Decoded:
        body = submission.body
        if isinstance(body, Decoded):
            return body
        decode = {Lane.ARROW: decode_arrow, Lane.NDJSON: decode_ndjson, Lane.JSON: decode_json}[submission.lane]
        return decode(body, submission.type, self._limits)

    def _decode_joined(self, parts: list[_Part]) -> None:
        """Decode small bodies in one go and share the rows out again."""
        bodies = [p.submission.body for p in parts]
        joined, firsts = join_bodies([b for b in bodies if isinstance(b, bytes)])
        decoded = decode_ndjson(joined, parts[0].submission.type, _JOINED_LIMITS)
        numbers = np.arange(decoded.table.num_rows) if decoded.row_numbers is None else decoded.row_numbers
        cuts = np.searchsorted(numbers, [*firsts, 2**62]).tolist()
        owners = np.searchsorted(firsts, [b.row for b in decoded.bad], side="right") - 1
        bad: dict[int, list[BadRow]] = {}
        for owner, row in zip(owners.tolist(), decoded.bad, strict=True):
            bad.setdefault(owner, []).append(BadRow(row.row - firsts[owner], row.code, row.message, row.raw))
        for i, part in enumerate(parts):
            mine = decoded.table.slice(cuts[i], cuts[i + 1] - cuts[i])
            unread = tuple(bad.get(i, ()))
            part.decoded = Decoded(
                mine, unread, mine.num_rows + len(unread), numbers[cuts[i] : cuts[i + 1]] - firsts[i]
            )

    def _record(self, parts: list[_Part], event_type: EventType, policy: IntakePolicy, now_us: int) -> Prepared:
        good = [p for p in parts if p.decoded is not None]
        if not good:
            return Prepared(parts, None, None)
        for p in good:
            assert p.decoded is not None
            p.rejections = [Rejection(b.row, b.code, b.message) for b in p.decoded.bad]
        first = parts[0].submission
        if event_type.name in policy.dropped_types:
            for p in good:
                p.dropped, p.rejections = p.offered, []
            return Prepared(parts, _account(good, first, self._window.covered_since_us, now_us), None)
        rows = _joined(good)
        broken = validate(rows, event_type, now_us)
        keep = np.ones(rows.num_rows, dtype=bool)
        if broken:
            keep[[r.row for r in broken]] = False
            _assign(good, broken)
        dead = self._dead_letters(good, rows, broken, event_type, policy)
        keys, repeated = self._repeats(rows, keep, first, now_us)
        if repeated.any():
            _count_by_part(good, repeated)
            keep &= ~repeated
        body = None
        stored = int(np.count_nonzero(keep))
        if stored:
            kept = rows if stored == rows.num_rows else rows.filter(pa.array(keep))
            body = _encode(protect(kept, event_type, first.tenant, policy.keyset, policy.policies))
        record = _account(good, first, self._window.covered_since_us, now_us, rows=stored, body=body, dead=dead)
        return Prepared(parts, record, keys)

    def _repeats(
        self, rows: pa.RecordBatch, keep: npt.NDArray[np.bool_], first: Submission, now_us: int
    ) -> tuple[Keys, npt.NDArray[np.bool_]]:
        """Take the ids of the rows to keep into the window; return the new keys, and which rows repeat an old one."""
        column = rows.column("event_id")
        ids = np.frombuffer(column.buffers()[1], dtype=np.uint8).reshape(-1, 16)
        keys = self._window.keys(first.tenant, first.type.name, ids[column.offset : column.offset + len(column)])
        if keep.all():
            repeated = self._window.add(keys, now_us)
            return (keys[~repeated] if repeated.any() else keys), repeated
        repeated = np.zeros(len(keep), dtype=bool)
        repeated[keep] = self._window.add(keys[keep], now_us)
        return keys[keep & ~repeated], repeated

    def _dead_letters(
        self,
        parts: Sequence[_Part],
        rows: pa.RecordBatch,
        broken: Sequence[Rejection],
        event_type: EventType,
        policy: IntakePolicy,
    ) -> bytes | None:
        """Seal the rejected rows, whole, for a later replay."""
        bad = [b for p in parts if p.decoded for b in p.decoded.bad]
        if not bad and not broken:
            return None
        taken = pa.Table.from_batches([rows]).take(pa.array([r.row for r in broken], pa.int64()))
        taken = taken.select(event_type.wire_schema.names)
        count = len(bad)
        columns = {
            "reason": pa.array([*(r.reason for r in broken), *(b.code for b in bad)], pa.string()),
            "detail": pa.array([*(r.detail for r in broken), *(b.message for b in bad)], pa.string()),
            "raw": pa.array([*([None] * len(broken)), *(b.raw for b in bad)], pa.binary()),
        }
        for name, column in zip(taken.column_names, taken.columns, strict=True):
            columns[name] = pa.chunked_array([*column.chunks, pa.nulls(count, column.type)], column.type)
        plain = _encode_table(pa.table(columns))
        return seal(policy.keyset, associated_data(policy.keyset.tenant, event_type.name, DEAD_LETTER_FIELD), plain)


def _failed(parts: list[_Part], error: CollectorsError) -> Prepared:
    for p in parts:
        p.error = p.error or error
    return Prepared(parts, None, None)


def _joined(parts: Sequence[_Part]) -> pa.RecordBatch:
    """Return the rows of all parts as one batch with ids, times and ``received_time``, and note where each starts."""
    batches = []
    start = 0
    for p in parts:
        assert p.decoded is not None
        p.start = start
        start += p.rows
        batches.append(p.decoded.table)
    if len({batch.column(0).type for batch in batches}) > 1:
        batches = [_with_ids(batch, canonical_event_ids(batch.column(0))) for batch in batches]
    rows = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
    rows = _identified(parts, rows)
    received = _received(parts, rows.num_rows)
    times = rows.column("event_time")
    if times.null_count:
        rows = rows.set_column(1, pa.field("event_time", TIMESTAMP), pc.fill_null(times, received))
    return rows.append_column(pa.field("received_time", TIMESTAMP), received)


def _received(parts: Sequence[_Part], rows: int) -> pa.Array:
    times = np.repeat(np.array([p.submission.received_us for p in parts], dtype=np.int64), [p.rows for p in parts])
    assert len(times) == rows
    return pa.array(times).cast(TIMESTAMP)


def _identified(parts: Sequence[_Part], rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return ``rows`` with canonical ids, made up from the idempotency keys where there are none."""
    given = rows.column("event_id")
    ids = canonical_event_ids(given)
    if ids.null_count:
        made = np.concatenate([_made_up_ids(p) for p in parts])
        made = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(ids), [None, pa.py_buffer(made)])
        ids = made if ids.null_count == len(ids) else pc.if_else(ids.is_null(), made, ids)
    elif ids is given:
        return rows
    return _with_ids(rows, ids)


def _with_ids(rows: pa.RecordBatch, ids: pa.Array) -> pa.RecordBatch:
    return rows.set_column(0, pa.field("event_id", ids.type), ids)


def _made_up_ids(part: _Part) -> npt.NDArray[np.uint64]:
    """Return ids of two words for the rows of ``part``: the same again under the same idempotency key."""
    seed = part.submission.key or os.urandom(16)
    base = np.frombuffer(hashlib.blake2b(seed, digest_size=16, person=b"event-id").digest(), dtype=np.uint64)
    numbers = part.decoded.row_numbers if part.decoded else None
    words = np.tile(base, (part.rows, 1))
    words[:, 1] += (np.arange(part.rows) if numbers is None else numbers).astype(np.uint64)
    return words


def _assign(parts: Sequence[_Part], broken: Sequence[Rejection]) -> None:
    """Give each part the rejections of its rows, numbered as in its request."""
    starts = [p.start for p in parts]
    owners = np.searchsorted(starts, [r.row for r in broken], side="right") - 1
    for owner, r in zip(owners.tolist(), broken, strict=True):
        part = parts[owner]
        part.rejections.append(Rejection(part.row_number(r.row - part.start), r.reason, r.detail))


def _count_by_part(parts: Sequence[_Part], repeated: npt.NDArray[np.bool_]) -> None:
    for p in parts:
        p.duplicate = int(np.count_nonzero(repeated[p.start : p.start + p.rows]))


def _account(
    parts: Sequence[_Part],
    first: Submission,
    covered_since_us: int,
    now_us: int,
    *,
    rows: int = 0,
    body: memoryview | list[memoryview] | None = None,
    dead: bytes | None = None,
) -> Record:
    credit = sum(p.submission.credit for p in parts)
    return Record(
        tenant=first.tenant,
        type=first.type.name,
        acked_us=now_us,
        covered_since_us=covered_since_us,
        rows=rows,
        offered=sum(p.offered for p in parts) - credit,
        duplicate=sum(p.duplicate for p in parts),
        rejected=sum(len(p.rejections) for p in parts) - credit,
        dropped=sum(p.dropped for p in parts),
        replays=first.replays,
        body=body,
        dead=dead,
    )


def _encode(batch: pa.RecordBatch) -> memoryview | list[memoryview]:
    """Return ``batch`` as an Arrow IPC stream, not compressed; a large one in pieces, which are its own buffers.

    The log is written once and read once, soon after. LZ4 would take a third off it (127 instead of 190 bytes a
    playback) for 170 ns an event to write and 70 ns to read, several times what the bytes cost. Leaving the columns
    where they are saves another 30.
    """
    if batch.nbytes < _IN_PIECES_FROM_BYTES:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return memoryview(sink.getvalue())
    pieces = _Pieces()
    with pa.PythonFile(pieces, mode="w") as file, pa.ipc.new_stream(file, batch.schema) as writer:
        writer.write_batch(batch)
    return pieces.parts


class _Pieces:
    """A file that keeps what is written to it where it is."""

    closed = False

    def __init__(self) -> None:
        self.parts: list[memoryview] = []

    def write(self, data: pa.Buffer | bytes) -> int:
        self.parts.append(memoryview(data))
        return len(data)

    def tell(self) -> int:
        return sum(map(len, self.parts))

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


def _encode_table(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_LZ4) as writer:
        writer.write_table(table)
    result: bytes = sink.getvalue().to_pybytes()
    return result
