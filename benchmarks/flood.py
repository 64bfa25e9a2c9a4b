"""What a tenant that floods does to another's acknowledgements: its p99 alone, and beside a tenant at full speed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from benchmarks.event_path import drive
from benchmarks.server import running

RATE = 20_000


def measure(seconds: float, overrides: dict[str, object]) -> dict[str, object]:
    with running() as server, ThreadPoolExecutor(1) as threads:
        calm, noisy = list(server.keys)[-1], next(iter(server.keys))
        quiet = {"format": "arrow", "batch_rows": 100, "connections": 2, "rate": RATE, "only": calm, "pool": 900}
        quiet |= {"seconds": seconds} | overrides
        flood = {"format": "arrow-plain", "batch_rows": 10_000, "connections": 8, "only": noisy, "seconds": seconds + 4}
        alone = drive(server, quiet)
        flooding = threads.submit(drive, server, flood)
        beside = drive(server, quiet)
        noise = flooding.result()
        server.wait_loaded()
        ledger = server.ledger()
    accepted = sum(int(r["accepted"]) for r in (alone, beside, noise))
    return {
        **quiet,
        "alone": alone,
        "beside_a_flood": beside,
        "flood": noise,
        "p99_ratio": float(beside["p99_ms"]) / float(alone["p99_ms"]),
        "ledger": ledger,
        "ledger_ok": ledger["balance"] == 0 and ledger["stored"] == accepted,
    }
