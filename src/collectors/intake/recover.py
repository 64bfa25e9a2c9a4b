"""Fill the dedupe window after a restart from what the log still holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from collectors.drivers.event_log import recent_records
from collectors.intake.dedupe import DedupeWindow

_ONLY_IDS = pa.ipc.IpcReadOptions(included_fields=[0], use_threads=False)


def recover_window(window: DedupeWindow, log_folder: Path, *, now_us: int, max_bytes: int = 128 * 2**20) -> None:
    """Take the ids of the newest records in, and state since when the window is complete.

    ``max_bytes`` of log bound the time this takes; what is older is looked up in the lake when a repeat is loaded.
    """
    records = list(recent_records(log_folder, max_bytes=max_bytes))
    records.reverse()
    if records:
        complete = records[0].position == 1
        window.assume_covered_since(0 if complete else records[0].acked_us)
    else:
        fresh = not any(log_folder.glob("*.segment"))
        window.assume_covered_since(0 if fresh else now_us)
    for record in records:
        if record.body is None:
            continue
        column = pa.ipc.open_stream(record.body, options=_ONLY_IDS).read_all().column("event_id").combine_chunks()
        ids = np.frombuffer(column.buffers()[1], dtype=np.uint8).reshape(-1, 16)
        window.add(window.keys(record.tenant, record.type, ids), record.acked_us)
