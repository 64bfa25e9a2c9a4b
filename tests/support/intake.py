"""A whole intake without HTTP: pipeline, log and lake in a folder, driven by futures."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import orjson

from collectors.clock import SYSTEM_CLOCK
from collectors.drivers.event_log import LogReader, LogWriter
from collectors.drivers.ledger_store import LedgerStore
from collectors.intake.decoded import Limits
from collectors.intake.dedupe import DedupeWindow
from collectors.intake.pipeline import IntakePipeline, PipelineLimits
from collectors.intake.prepare import IntakePolicy, Lane, Preparer, Receipt, Submission
from collectors.lake.loader import Lake
from collectors.model.event_types import event_type
from collectors.privacy.keystore import FileKeyStore
from collectors.privacy.policy import FieldPolicies, preset


class Intake:
    """Opens everything on construction except the pipeline's threads; ``start`` starts them."""

    def __init__(
        self,
        folder: Path,
        *,
        policies: FieldPolicies | None = None,
        dropped: frozenset[str] = frozenset(),
        limits: PipelineLimits | None = None,
    ) -> None:
        self.folder = folder
        self.keys = FileKeyStore(folder / "keys")
        for tenant in ("acme", "zeta"):
            self.keys.create(tenant)
        self.policies = policies or preset("standard")
        self.dropped = dropped
        self.window = DedupeWindow(memory_bytes=2**20, secret=b"test")
        self.log = LogWriter(folder / "log")
        self.ledger = LedgerStore(folder / "ledger.db", folder / "log")
        preparer = Preparer(self.policy, self.window, Limits())
        self.pipeline = IntakePipeline(preparer, self.log, SYSTEM_CLOCK, limits=limits)

    def policy(self, tenant: str) -> IntakePolicy:
        return IntakePolicy(self.keys.keyset(tenant), self.policies, self.dropped)

    def submit(
        self,
        events: list[dict[str, object]] | bytes,
        *,
        tenant: str = "acme",
        type_name: str = "playback",
        lane: Lane = Lane.NDJSON,
        key: bytes = b"",
    ) -> Future[Receipt]:
        body = events if isinstance(events, bytes) else b"\n".join(orjson.dumps(e) for e in events)
        waiter: Future[Receipt] = Future()
        self.pipeline.submit(Submission(tenant, event_type(type_name), lane, body, SYSTEM_CLOCK.now_us(), key), waiter)
        return waiter

    def send(self, events: list[dict[str, object]] | bytes, **options: object) -> Receipt:
        return self.submit(events, **options).result(30)  # type: ignore[arg-type]

    def load(self) -> Lake:
        lake = Lake(self.folder / "lake", self.ledger, lambda _: "UTC")
        reader = LogReader(self.folder / "log", after=lake.position)
        while records := reader.read():
            lake.load(records)
        reader.close()
        return lake
