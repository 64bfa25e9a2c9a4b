"""P11: importing the package, ``collectors --help``, and from ``serve --demo`` to the first point of a chart."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

_TIMES = 15
_COLLECTORS = Path(sys.executable).with_name("collectors")


def measure(seconds: float, overrides: dict[str, object]) -> dict[str, object]:
    del seconds, overrides
    return {
        "import_ms": _best([sys.executable, "-c", "import collectors"]) - _best([sys.executable, "-c", "pass"]),
        "import_with_interpreter_ms": _best([sys.executable, "-c", "import collectors"]),
        "importtime_us": _import_time(),
        "help_ms": _best([str(_COLLECTORS), "--help"]),
        "first_chart_seconds": _first_chart(),
        "floor": {"what": "bare interpreter", "ms": _best([sys.executable, "-c", "pass"])},
    }


def _best(command: list[str]) -> float:
    took = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took.append(time.perf_counter() - began)
    return min(took) * 1e3


def _import_time() -> int:
    """Cumulative microseconds of ``import collectors`` as -X importtime tells them."""
    command = [sys.executable, "-X", "importtime", "-c", "import collectors"]
    text = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True).stderr
    (line,) = [line for line in text.splitlines() if re.search(r"\|\s+collectors$", line)]
    return int(line.split("|")[1])


def _first_chart() -> float:
    """Seconds until the page has two points of a metric to draw a line through, in an empty data folder."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command = [str(_COLLECTORS), "serve", "--demo", "--port", "0", "--data", folder]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert server.stdout is not None
            address = next(m[0] for line in server.stdout if (m := re.search(r"http://127\.0\.0\.1:\d+", line)))
            key = Path(folder, "admin.key").read_text().strip()
            path = "/v1/tenants/platform/samples?metric=system.cpu.utilization&points=100"
            request = urllib.request.Request(address + path, headers={"Authorization": f"Bearer {key}"})
            while time.perf_counter() - began < 60:
                with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:
                    series = json.load(answer)["series"]
                    if any(sum(v is not None for _, v in s["points"]) > 1 for s in series):
                        return time.perf_counter() - began
                time.sleep(0.05)
            raise TimeoutError("no chart came")
        finally:
            os.kill(server.pid, 15)
            server.wait(30)
