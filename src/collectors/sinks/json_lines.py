"""Samples and spans as lines of JSON in files, for whatever reads files: log shippers, scripts, archives."""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson

from collectors.config import sinks as config
from collectors.contract.sink import BaseSink, Receipt, Repeats, Signal, SinkBatch, SinkContext
from collectors.errors import LifecycleError, StorageUnavailable

_TAIL_BYTES = 64 * 2**10
_NAME = re.compile(r"samples-\d{8}-\d{6,}\.jsonl")


class JsonLinesSink(BaseSink[config.JsonLinesSink]):
    """Append lines of JSON to files that are closed when they are large or the UTC day ends.

    Each line has the ``batch`` it came with and its ``item`` in it, by which a reader knows a line that came twice. A
    batch is on disk (fsync) before it counts as delivered.
    """

    name = "json_lines"
    Config = config.JsonLinesSink
    accepts = frozenset({Signal.SAMPLES, Signal.SPANS})
    repeats = Repeats.RECOGNISABLE

    def __init__(self, given: config.JsonLinesSink, context: SinkContext | None = None) -> None:
        super().__init__(given, context)
        self._file: io.FileIO | None = None
        self._day = ""
        self._lock = threading.Lock()  # a write that was given up may still go on in its thread

    async def open(self) -> None:
        await self.close()
        await self.context.offload(self._open)

    async def write(self, batch: SinkBatch) -> Receipt:
        if self._file is None:
            raise LifecycleError("the sink is not open; open it before writing")
        await self.context.offload(self._append, batch)
        return Receipt(len(batch))

    async def close(self) -> None:
        if self._file is not None:
            await self.context.offload(self._close)

    def _close(self) -> None:
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                file.close()

    def _today(self) -> str:
        return datetime.fromtimestamp(self.context.clock.now_us() / 1e6, UTC).strftime("%Y%m%d")

    def _open(self) -> None:
        """Go on with the newest file of today, without the torn line that a crash may have left, or begin one."""
        day = self._today()
        try:
            self.config.folder.mkdir(parents=True, exist_ok=True)
            files = self._files()
            newest = files[-1] if files else None
            if newest is None or not newest.name.startswith(f"samples-{day}-") or self._is_large(newest):
                number = _number(newest) + 1 if newest else 1
                newest = self.config.folder / f"samples-{day}-{number:06d}.jsonl"
                files.append(newest)
            for old in files[: -self.config.files]:
                old.unlink(missing_ok=True)
            file = io.FileIO(newest, "a+")
        except OSError as error:
            raise StorageUnavailable(f"the folder can't be written: {error.strerror}") from None
        _mend(file)
        self._file, self._day = file, day

    def _append(self, batch: SinkBatch) -> None:
        content = b"".join(lines(batch))
        with self._lock:
            if self._file is None:
                raise LifecycleError("the sink was closed while it wrote")
            if self._day != self._today() or os.fstat(self._file.fileno()).st_size >= self.config.file_bytes:
                self._file.close()
                self._open()
            number = self._file.fileno()
            size = os.fstat(number).st_size
            try:
                view = memoryview(content)
                while view:
                    view = view[self._file.write(view) :]
                os.fsync(number)
            except OSError as error:
                os.ftruncate(number, size)  # all of a batch or nothing of it
                raise StorageUnavailable(f"the file can't be written: {error.strerror}") from None

    def _files(self) -> list[Path]:
        return sorted((p for p in self.config.folder.iterdir() if _NAME.fullmatch(p.name)), key=_number)

    def _is_large(self, path: Path) -> bool:
        return path.stat().st_size >= self.config.file_bytes


def _number(path: Path) -> int:
    """Return the place of a file in the order."""
    return int(path.stem.rpartition("-")[2])


def lines(batch: SinkBatch) -> Iterator[bytes]:
    """Yield one line an item."""
    number = 0
    for s in batch.samples:
        yield orjson.dumps(
            {
                "batch": batch.id,
                "item": number,
                "tenant": s.tenant,
                "metric": s.spec.name,
                "kind": s.spec.kind,
                "unit": s.spec.unit,
                "labels": dict(s.labels),
                "time": s.time_us,
                "value": s.value,
                **({"reason": s.reason} if s.value is None else {}),
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        number += 1
    for span in batch.spans:
        yield orjson.dumps(
            {
                "batch": batch.id,
                "item": number,
                "tenant": span.tenant,
                "trace": span.trace_id,
                "span": span.span_id,
                "parent": span.parent_id,
                "name": span.name,
                "start": span.start_us,
                "end": span.end_us,
                "attributes": dict(span.attributes),
                "error": span.error,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        number += 1


def _mend(file: io.FileIO) -> None:
    """Cut off what follows the last line feed: a line that was never finished."""
    end = size = os.fstat(file.fileno()).st_size
    while end:
        start = max(0, end - _TAIL_BYTES)
        found = os.pread(file.fileno(), end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end != size:
        os.ftruncate(file.fileno(), end)
