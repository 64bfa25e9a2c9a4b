"""The least any design must do, measured in the same run as the figure it stands beside."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.load import ArrowPool, NdjsonPool, PlainArrowPool
from collectors.intake.ndjson import decode_ndjson
from collectors.model.event_types import EVENT_TYPES

Result = dict[str, object]


def decode_write_sync(result: Result) -> Result:
    """P1: decode the same bodies, write the same bytes, fdatasync; nothing else, one core."""
    pool = (ArrowPool if result["format"] == "arrow" else PlainArrowPool)({"batch_rows": result["batch_rows"]})
    bodies = [pool.take() for _ in range(100)]
    rows = sum(b[2] for b in bodies)
    options = pa.ipc.IpcReadOptions(use_threads=False)
    with tempfile.TemporaryDirectory() as folder:
        file = os.open(Path(folder) / "floor", os.O_WRONLY | os.O_CREAT)
        began = time.perf_counter()
        for _, _, _, body in bodies:
            pa.ipc.open_stream(body, options=options).read_all()
            os.write(file, body)
            os.fdatasync(file)
        elapsed = time.perf_counter() - began
        os.close(file)
    return {"what": "decode + write + fdatasync, one thread", "events_per_second": rows / elapsed}


def decode_only(result: Result) -> Result:
    """P2: the chosen decoder alone, one core."""
    pool = NdjsonPool({"batch_rows": result["batch_rows"], "pool": 30})
    bodies = [pool.take() for _ in range(30)]
    began = time.perf_counter()
    for _, type_name, _, body in bodies:
        decode_ndjson(body, EVENT_TYPES[type_name])
    elapsed = time.perf_counter() - began
    return {"what": "NDJSON decoder alone, one thread", "events_per_second": sum(b[2] for b in bodies) / elapsed}


def write_sync_paced(result: Result) -> Result:
    """P3: write and fdatasync the same bytes at the same pace."""
    pool = ArrowPool({"batch_rows": result["batch_rows"], "pool": 100})
    bodies = [pool.take()[3] for _ in range(100)]
    pace = float(result["batch_rows"]) / float(result["rate"])
    waits = []
    with tempfile.TemporaryDirectory() as folder:
        file = os.open(Path(folder) / "floor", os.O_WRONLY | os.O_CREAT)
        due = time.perf_counter()
        for i in range(round(10 / pace)):
            time.sleep(max(0.0, due - time.perf_counter()))
            began = time.perf_counter()
            os.write(file, bodies[i % 100])
            os.fdatasync(file)
            waits.append((time.perf_counter() - began) * 1e3)
            due += pace
        os.close(file)
    p50, p95, p99 = np.quantile(waits, [0.5, 0.95, 0.99])
    return {"what": "write + fdatasync at the same pace", "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}


FLOORS: dict[str, Callable[[Result], Result]] = {
    "P1": decode_write_sync,
    "P1-plain": decode_write_sync,
    "P2": decode_only,
    "P3": write_sync_paced,
}
