"""Where things stand in a data folder, and the stores that gateway, worker and command line open there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from collectors.clock import SYSTEM_CLOCK, Clock
from collectors.drivers.alert_store import AlertStore
from collectors.drivers.control_store import ControlStore
from collectors.drivers.ledger_store import LedgerStore
from collectors.drivers.sample_store import SampleStore
from collectors.privacy.keystore import FileKeyStore, parse_master_key

MASTER_KEY_VARIABLE = "COLLECTORS_MASTER_KEY"


@dataclass(frozen=True)
class DataFolder:
    """A server's data folder. Stores are opened when first asked for."""

    path: Path
    clock: Clock = SYSTEM_CLOCK

    @property
    def log(self) -> Path:
        """Folder of the event log's segments."""
        return self.path / "log"

    @property
    def lake(self) -> Path:
        """Folder of the Delta tables."""
        return self.path / "lake"

    @property
    def spill(self) -> Path:
        """Folder for what queries can't hold in memory; nothing in it outlives the worker."""
        return self.path / "spill"

    @property
    def bus(self) -> Path:
        """Socket on which the worker publishes."""
        return self.path / "worker.sock"

    @property
    def admin_key_file(self) -> Path:
        """File with the key that was made at the first start."""
        return self.path / "admin.key"

    @cached_property
    def control(self) -> ControlStore:
        """Tenants and API keys."""
        return ControlStore(self.path / "control.db", self.clock)

    @cached_property
    def ledger(self) -> LedgerStore:
        """Ledger and dead letters."""
        return LedgerStore(self.path / "ledger.db", self.log)

    @cached_property
    def samples(self) -> SampleStore:
        """Samples and alerts."""
        return SampleStore(self.path / "samples.db")

    @cached_property
    def alerting(self) -> AlertStore:
        """What alerting must not forget: silences, acknowledgements, deliveries."""
        return AlertStore(self.path / "alerts.db")

    @cached_property
    def keys(self) -> FileKeyStore:
        """The tenants' keysets, wrapped by a master key if the environment brings one."""
        text = os.environ.get(MASTER_KEY_VARIABLE)
        master = parse_master_key(text, where=MASTER_KEY_VARIABLE) if text else None
        return FileKeyStore(self.path / "keys", master_key=master, clock=self.clock)
