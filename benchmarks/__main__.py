"""Measure the platform: ``python -m benchmarks P1 P3 --seconds 60``.

Each result is one JSON line, printed and added to benchmarks/out/results.jsonl. What the names stand for is the first
line of each module.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa

from benchmarks import backlog, event_path, flood, probe, single, startup

Measure = Callable[[float, dict[str, object]], dict[str, object]]

MEASURES: dict[str, Measure] = {
    **{name: partial(event_path.measure, name) for name in event_path.WORKLOADS},
    "P4": probe.measure,
    "P5-P13": backlog.measure,
    "P6": single.measure,
    "P11": startup.measure,
    "flood": flood.measure,
}


def machine() -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in ("pyarrow", "duckdb", "deltalake", "numpy", "uvicorn")},
        "durability": "fdatasync before acknowledgement",
        "arrow_threads": pa.cpu_count(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[], help=f"of {', '.join(MEASURES)}; all if none is named")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="change the workload")
    options = parser.parse_args()
    overrides = {k: json.loads(v) for k, v in (item.split("=", 1) for item in options.set)}
    out = Path(__file__).parent / "out"
    out.mkdir(exist_ok=True)
    for name in options.names or MEASURES:
        result = {"name": name, **machine(), **MEASURES[name](options.seconds, overrides)}
        line = json.dumps(result)
        print(line, flush=True)
        with (out / "results.jsonl").open("a") as file:
            file.write(line + "\n")
        time.sleep(1)


if __name__ == "__main__":
    main()
