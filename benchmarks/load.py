"""The load generator: a process of its own that sends the standard mix over loopback HTTP and times the answers.

    python -m benchmarks.load '{"port": 8080, "keys": {"nordic": "ck_…"}, "seconds": 60, …}'

With ``format`` "arrow" bodies are LZ4 compressed, encoded as they are sent from a pool of batches that get fresh ids
and times each time. Those of "arrow-plain" and "ndjson" are made beforehand and get fresh ids and times written into
them. Prints one JSON object.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from collectors.simulate.encode import TimeStyle, to_ipc, to_ndjson
from collectors.simulate.stream import EventStream
from collectors.simulate.world import World

_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_DASHES = [8, 13, 18, 23]
_DIGITS = [i for i in range(36) if i not in _DASHES]


@dataclass
class Tally:
    sent: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    refused: int = 0
    bytes: int = 0
    latencies_ms: list[float] = field(default_factory=list)


class ArrowPool:
    """Batches of the mix that become new events each time they are sent."""

    def __init__(self, options: dict[str, Any]) -> None:
        world = World(seed=options.get("seed", 1))
        stream = EventStream(world)
        rows = options["batch_rows"]
        made = stream.batches(rows * options.get("pool", 150), rows)
        self.batches = [b for b in made if b[2].num_rows > 0 and b[0] == options.get("only", b[0])]
        self._lock = threading.Lock()
        self._rng = np.random.default_rng()  # ids are new in every run
        self._next = 0

    def take(self) -> tuple[str, str, int, bytes]:
        with self._lock:
            tenant, type_name, batch = self.batches[self._next % len(self.batches)]
            self._next += 1
            ids = self._rng.bytes(16 * batch.num_rows)
        n = batch.num_rows
        schema = batch.schema
        now = time.time_ns() // 1000
        times = now - np.arange(n, dtype=np.int64)[::-1] * 3
        columns = list(batch.columns)
        columns[0] = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), n, [None, pa.py_buffer(ids)])
        columns[1] = pa.array(times).cast(schema.field(1).type)
        return tenant, type_name, n, to_ipc(pa.RecordBatch.from_arrays(columns, schema=schema))


class PlainArrowPool:
    """Uncompressed bodies whose ids and times are overwritten in place."""

    def __init__(self, options: dict[str, Any]) -> None:
        arrow = ArrowPool(options)
        self._bodies = []
        for tenant, type_name, batch in arrow.batches:
            n = batch.num_rows
            ids, times = np.arange(2 * n) + 2**60, np.arange(n) + 2**61  # to be found in the body by
            columns = list(batch.columns)
            columns[0] = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), n, [None, pa.py_buffer(ids)])
            columns[1] = pa.array(times).cast(batch.schema.field(1).type)
            body = bytearray(to_ipc(pa.RecordBatch.from_arrays(columns, schema=batch.schema), compression=None))
            places = [np.frombuffer(body, np.int64, len(a), body.index(a.tobytes())) for a in (ids, times)]
            self._bodies.append((tenant, type_name, n, body, *places))
        self._rng = np.random.default_rng()
        self._lock = threading.Lock()
        self._next = 0

    def take(self) -> tuple[str, str, int, bytes]:
        with self._lock:
            tenant, type_name, n, body, ids, times = self._bodies[self._next % len(self._bodies)]
            self._next += 1
            ids[:] = np.frombuffer(self._rng.bytes(16 * n), np.int64)
        times[:] = time.time_ns() // 1000 - np.arange(n, dtype=np.int64)[::-1] * 3
        return tenant, type_name, n, memoryview(body)


class NdjsonPool:
    """Bodies whose ids and times are overwritten in place."""

    def __init__(self, options: dict[str, Any]) -> None:
        world = World(seed=options.get("seed", 1))
        rows = options["batch_rows"]
        self._bodies = []
        for tenant, type_name, batch in EventStream(world).batches(rows * options.get("pool", 60), rows):
            text = to_ndjson(batch, TimeStyle.EPOCH_US)
            data = np.frombuffer(bytearray(text), dtype=np.uint8)
            starts = np.flatnonzero(np.concatenate([[True], data[:-1] == ord("\n")]))
            first = text[: text.index(b"\n")]
            id_at = first.index(b'"event_id":"') + len(b'"event_id":"')
            time_at = first.index(b'"event_time":') + len(b'"event_time":')
            self._bodies.append((tenant, type_name, batch.num_rows, data, starts[:, None] + id_at, starts + time_at))
        self._rng = np.random.default_rng()
        self._lock = threading.Lock()
        self._next = 0

    def take(self) -> tuple[str, str, int, bytes]:
        with self._lock:
            tenant, type_name, n, data, ids_at, times_at = self._bodies[self._next % len(self._bodies)]
            self._next += 1
            digits = self._rng.integers(0, 16, (n, 32), dtype=np.uint8)
            data[ids_at + np.array(_DIGITS)] = _HEX[digits]
            now = str(time.time_ns() // 1000).encode()
            data[times_at[:, None] + np.arange(16)] = np.frombuffer(now, dtype=np.uint8)
            return tenant, type_name, n, data.tobytes()


Pool = ArrowPool | PlainArrowPool | NdjsonPool


class Connection:
    """A keep-alive HTTP/1.1 connection; ``post`` returns status and body."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def post(self, path: str, key: str, media: str, body: bytes) -> tuple[int, bytes]:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: {media}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        self._socket.sendall(head + bytes(body) if len(body) < 4096 else head)
        if len(body) >= 4096:
            self._socket.sendall(body)
        status = int(self._file.readline().split()[1])
        length = 0
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, self._file.read(length)


def send(pool: Pool, options: dict[str, Any], tally: Tally, start: float, index: int) -> None:
    """One connection's work: closed loop, or on a schedule of its own if a rate is given."""
    connection = Connection(options["port"])
    media = "application/x-ndjson" if options["format"] == "ndjson" else "application/vnd.apache.arrow.stream"
    connections, rate = options["connections"], options.get("rate")
    due = start + (index / connections) * (connections * options["batch_rows"] / rate if rate else 0)
    deadline = start + options["seconds"]
    while True:
        tenant, type_name, n, body = pool.take()
        now = time.perf_counter()
        if rate:
            if due > now:
                time.sleep(due - now)
            now = due  # time from when it should have been sent: no coordinated omission
            due += connections * n / rate
        if now >= deadline:
            return
        path = f"/v1/tenants/{tenant}/events/{type_name}"
        status, answer = connection.post(path, options["keys"][tenant], media, body)
        tally.latencies_ms.append((time.perf_counter() - now) * 1e3)
        if status == 202:
            receipt = json.loads(answer)
            tally.sent += n
            tally.bytes += len(body)
            tally.accepted += receipt["accepted"]
            tally.duplicate += receipt["duplicate"]
            tally.rejected += receipt["rejected"]
        elif status in (429, 503):
            tally.refused += n
            time.sleep(0.05)
        else:
            raise SystemExit(f"{status}: {answer[:500]!r}")


def main() -> None:
    options = json.loads(sys.argv[1])
    sys.setswitchinterval(0.0005)
    pool = {"arrow": ArrowPool, "arrow-plain": PlainArrowPool, "ndjson": NdjsonPool}[options["format"]](options)
    tallies = [Tally() for _ in range(options["connections"])]
    print("ready", flush=True)
    sys.stdin.readline()
    start, cpu = time.perf_counter(), time.process_time()
    threads = [threading.Thread(target=send, args=(pool, options, tally, start, i)) for i, tally in enumerate(tallies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - start
    waits = np.sort(np.concatenate([np.array(t.latencies_ms) for t in tallies]))
    names = ("sent", "accepted", "duplicate", "rejected", "refused", "bytes")
    total = {name: sum(getattr(t, name) for t in tallies) for name in names}
    print(
        json.dumps(
            total
            | {
                "seconds": elapsed,
                "generator_cpu_seconds": time.process_time() - cpu,
                "requests": len(waits),
                "p50_ms": float(np.quantile(waits, 0.5)),
                "p95_ms": float(np.quantile(waits, 0.95)),
                "p99_ms": float(np.quantile(waits, 0.99)),
                "max_ms": float(waits[-1]),
            }
        )
    )


if __name__ == "__main__":
    main()
