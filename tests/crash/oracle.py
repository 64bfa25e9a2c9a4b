"""The crash oracle: numbered events go in while processes are killed, disks refuse and last writes are torn.

    python -m tests.crash.oracle --runs 1000 --seed 1

A run starts the real gateway and worker on an empty folder, sends batches by HTTP as a patient client does (what was
not acknowledged is sent again under the same ids), hurts the server at random points, starts it again, and in the end
compares the lake with what was acknowledged: nothing lost, nothing doubled, ledger exact.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import multiprocessing
import random
import resource
import shutil
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import duckdb

from collectors.app.folder import DataFolder
from collectors.app.supervisor import prepare_folder
from collectors.clock import SYSTEM_CLOCK
from collectors.config.server import IntakeConfig, LakeConfig, ServerConfig
from collectors.config.tenant import TenantConfig
from collectors.drivers.control_store import Scope
from collectors.drivers.event_log import segment_paths

TENANTS = ("acme", "zeta")
HARMS = ("kill_gateway", "kill_worker", "kill_both", "tear", "refuse_gateway", "refuse_worker")
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "collectors.server.gateway",
        "collectors.app.worker",
        "collectors.catalog.business.churn_analytics",
        "collectors.catalog.business.customer_lifetime_value",
        "collectors.catalog.business.revenue_metrics",
        "collectors.catalog.business.tenant_business_metrics",
        "collectors.catalog.business.user_engagement",
        "collectors.catalog.ml.experiment_tracking",
        "collectors.catalog.security.security_events",
        "uvloop",
    ]
)


def _gateway(text: str, listener: socket.socket) -> None:
    import uvloop

    from collectors.server.gateway import serve_gateway

    _quiet()
    uvloop.run(serve_gateway(ServerConfig.model_validate_json(text), listener))


def _worker(text: str) -> None:
    from collectors.app.worker import work

    _quiet()
    asyncio.run(work(ServerConfig.model_validate_json(text)))


def _quiet() -> None:
    import logging

    from collectors.monitoring.logs import configure_logs

    configure_logs("json", level=logging.ERROR)


@dataclass
class Outcome:
    """What a run found; ``problems`` is empty if the server kept its word."""

    seed: int
    acknowledged: int = 0
    offered: int = 0
    stored: int = 0
    harms: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Patient:
    """A server under test: its processes, and what is done to them."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder = folder
        self.data = DataFolder(folder, SYSTEM_CLOCK)
        self._rng = rng
        prepare_folder(self.data)
        self.keys = {}
        for tenant in TENANTS:
            self.data.control.put_tenant(tenant, TenantConfig(profile="standard", real_time_enabled=False))
            self.data.keys.create(tenant)
            self.keys[tenant] = self.data.control.create_key(tenant, [Scope.WRITE])
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        config = ServerConfig(
            data=folder,
            intake=IntakeConfig(
                log_segment_bytes=2**20, min_free_bytes=0, dedupe_bytes=rng.choice([2**20, 32 * 2**20])
            ),
            lake=LakeConfig(load_seconds=0.05, rollup_seconds=0.2, compact_seconds=0.3),
        )
        self._config = config.model_dump_json()
        self.gateway = self._start_gateway()
        self.worker = self._start_worker()

    def _start_gateway(self) -> ForkServerProcess:
        process = _CONTEXT.Process(target=_gateway, args=(self._config, self._listener), daemon=True)
        process.start()
        return process

    def _start_worker(self) -> ForkServerProcess:
        process = _CONTEXT.Process(target=_worker, args=(self._config,), daemon=True)
        process.start()
        return process

    def harm(self, kind: str) -> None:
        """Do ``kind`` to the server, and help it up again."""
        if kind == "refuse_gateway":
            self._refuse(self.gateway)
        elif kind == "refuse_worker":
            self._refuse(self.worker)
        if kind in ("kill_gateway", "kill_both", "tear"):
            self._kill(self.gateway)
        if kind in ("kill_worker", "kill_both", "tear"):
            self._kill(self.worker)
        if kind == "tear":
            self._tear()
        self.tend()

    def tend(self) -> None:
        """Start what does not run, as the supervisor does."""
        if not self.gateway.is_alive():
            self.gateway = self._start_gateway()
        if not self.worker.is_alive():
            self.worker = self._start_worker()

    def stop(self) -> None:
        """Kill everything for good."""
        self._kill(self.gateway)
        self._kill(self.worker)
        self._listener.close()

    def _kill(self, process: ForkServerProcess) -> None:
        process.kill()
        process.join()

    def _tear(self) -> None:
        """Leave the beginning of a write that never ended behind the last one that did."""
        for segment in segment_paths(self.data.log)[-1:]:
            image = segment.read_bytes()
            start = self._rng.randrange(0, max(1, len(image)), 64)
            with segment.open("ab") as file:
                file.write(image[start : start + self._rng.randrange(1, 40_000)] + self._rng.randbytes(100))

    def _refuse(self, process: ForkServerProcess) -> None:
        """Make the kernel refuse the process any growth of its files for a moment."""
        assert process.pid is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            limit, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (self._rng.choice([0, 4096, 200_000]), hard))
            time.sleep(self._rng.uniform(0.02, 0.2))
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, hard))


@dataclass
class Client:
    """Sends numbered events and remembers what was acknowledged."""

    patient: Patient
    rng: random.Random
    sent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TENANTS, 0))
    acknowledged: dict[str, set[int]] = field(default_factory=lambda: {t: set() for t in TENANTS})
    offered: dict[str, set[int]] = field(default_factory=lambda: {t: set() for t in TENANTS})
    unsure: list[tuple[str, list[int], int]] = field(default_factory=list)
    _connection: http.client.HTTPConnection | None = None

    def send_some(self) -> None:
        """Send one batch: a new one, one that nobody acknowledged, or one that somebody did."""
        dice = self.rng.random()
        if self.unsure and dice < 0.5:
            tenant, numbers, time_us = self.unsure.pop(self.rng.randrange(len(self.unsure)))
        else:
            tenant = self.rng.choice(TENANTS)
            time_us = time.time_ns() // 1000
            if dice > 0.9 and self.acknowledged[tenant]:
                numbers = self.rng.sample(sorted(self.acknowledged[tenant]), k=1)
                time_us = self._times[tenant, numbers[0]]
            else:
                first = self.sent[tenant]
                numbers = list(range(first, first + self.rng.choice([1, 1, 7, 50, 400])))
                self.sent[tenant] += len(numbers)
        self._send(tenant, numbers, time_us)

    def settle(self, deadline: float) -> None:
        """Send again what is unsure until all of it is acknowledged."""
        while self.unsure and time.monotonic() < deadline:
            self._send(*self.unsure.pop())
            self.patient.tend()

    def close(self) -> None:
        """Hang up; the next batch opens a new connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __post_init__(self) -> None:
        self._times: dict[tuple[str, int], int] = {}

    def _send(self, tenant: str, numbers: list[int], time_us: int) -> None:
        self.offered[tenant].update(numbers)
        for number in numbers:
            self._times[tenant, number] = time_us
        lines = b"\n".join(
            json.dumps(
                {
                    "event_id": str(uuid.UUID(int=number + 1)),
                    "event_time": time_us,
                    "user_id": f"u{number % 17}",
                    "track_id": "t",
                    "ms_played": number % 60_000,
                }
            ).encode()
            for number in numbers
        )
        try:
            connection = self._connection or http.client.HTTPConnection("127.0.0.1", self.patient.port, timeout=10)
            self._connection = connection
            connection.request(
                "POST",
                f"/v1/tenants/{tenant}/events/playback",
                lines,
                {"Authorization": f"Bearer {self.patient.keys[tenant]}", "Content-Type": "application/x-ndjson"},
            )
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            self.unsure.append((tenant, numbers, time_us))
            return
        if response.status == 202:
            answer = json.loads(body)
            if answer["accepted"] + answer["duplicate"] != len(numbers):
                raise AssertionError(f"{len(numbers)} events sent, answered {answer}")
            self.acknowledged[tenant].update(numbers)
        elif response.status in (429, 503):
            self.unsure.append((tenant, numbers, time_us))
        else:
            raise AssertionError(f"{response.status}: {body!r}")


def run(seed: int, folder: Path, *, harms: int = 3, batches: int = 25) -> Outcome:
    """Do one run and return what it found."""
    rng = random.Random(seed)
    outcome = Outcome(seed)
    patient = Patient(folder, rng)
    client = Client(patient, rng)
    try:
        points = sorted(rng.randrange(1, batches) for _ in range(harms))
        for step in range(batches):
            client.send_some()
            while points and points[0] == step:
                points.pop(0)
                kind = rng.choice(HARMS)
                outcome.harms.append(kind)
                time.sleep(rng.uniform(0, 0.08))
                patient.harm(kind)
            patient.tend()
        client.settle(time.monotonic() + 60)
        if client.unsure:
            outcome.problems.append(f"{len(client.unsure)} batches were never acknowledged")
        _wait_until_loaded(patient)
    except (AssertionError, TimeoutError) as error:
        outcome.problems.append(str(error))
    finally:
        client.close()
        patient.stop()
    _compare(patient, client, outcome)
    return outcome


def _wait_until_loaded(patient: Patient, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        patient.tend()
        if all(c.in_flight == 0 for c in patient.data.ledger.counts().values()):
            return
        time.sleep(0.02)
    raise TimeoutError("acknowledged events were never loaded")


def _compare(patient: Patient, client: Client, outcome: Outcome) -> None:
    """Hold the lake and the ledger against what the client knows."""
    lake = _lake_ids(patient.data.lake / "playback")
    ledger = patient.data.ledger.counts()
    for tenant in TENANTS:
        stored = lake.get(tenant, [])
        acknowledged = client.acknowledged[tenant]
        outcome.acknowledged += len(acknowledged)
        outcome.stored += len(stored)
        if lost := acknowledged.difference(stored):
            outcome.problems.append(f"{tenant}: {len(lost)} acknowledged events lost, such as {min(lost)}")
        if len(stored) != len(set(stored)):
            outcome.problems.append(f"{tenant}: {len(stored) - len(set(stored))} events doubled")
        if unknown := set(stored).difference(client.offered[tenant]):
            outcome.problems.append(f"{tenant}: {len(unknown)} events that nobody sent")
        counts = ledger.get((tenant, "playback"))
        if counts is None:
            if stored:
                outcome.problems.append(f"{tenant}: stored events, but no ledger")
            continue
        outcome.offered += counts.offered
        if counts.balance or counts.in_flight or counts.stored != len(stored) or counts.rejected or counts.dropped:
            outcome.problems.append(f"{tenant}: the ledger says {counts}, the lake holds {len(stored)}")


def _lake_ids(table: Path) -> dict[str, list[int]]:
    """Read the table as others do: through its Delta log."""
    from deltalake import DeltaTable

    if not (table / "_delta_log").exists():
        return {}
    paths = [uri.removeprefix("file://") for uri in DeltaTable(str(table)).file_uris()]
    if not paths:
        return {}
    found: dict[str, list[int]] = {}
    with duckdb.connect() as connection:
        rows = connection.execute("SELECT tenant_id, event_id FROM read_parquet($paths)", {"paths": paths}).fetchall()
    for tenant, event_id in rows:
        found.setdefault(tenant, []).append(int.from_bytes(event_id, "big") - 1)
    return found


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="collectors-crash-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Run the oracle from the command line; exit 1 if any run found a problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    failed = 0
    totals = {"acknowledged": 0, "stored": 0, "offered": 0}
    harms: dict[str, int] = {}
    for seed in range(options.seed, options.seed + options.runs):
        with _scratch() as folder:
            outcome = run(seed, folder)
        for name in totals:
            totals[name] += getattr(outcome, name)
        for kind in outcome.harms:
            harms[kind] = harms.get(kind, 0) + 1
        if outcome.problems:
            failed += 1
            print(f"seed {seed}, {outcome.harms}: {outcome.problems}", flush=True)
        if sys.stderr.isatty() or seed % 20 == 0:
            print(f"{seed - options.seed + 1}/{options.runs} runs, {failed} failed", file=sys.stderr, flush=True)
    print(json.dumps({"runs": options.runs, "failed": failed, **totals, "harms": harms}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
