"""The demo: three tenants of the simulator, fed over HTTP by a process of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from collectors.cli.connect import Target
from collectors.cli.orphans import end_with_parent

if TYPE_CHECKING:
    from collectors.app.folder import DataFolder

LABEL = "demo"
_STOP_SECONDS = 10.0
_USERS = 5_000
_PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Feed:
    """What the feeding process is told: by its standard input, because others may read command lines."""

    url: str
    keys: dict[str, str]
    rate: float


def create_tenants(folder: DataFolder) -> dict[str, str]:
    """Create the demo tenants that are not there yet, and return a new write key for each; older ones are revoked."""
    from collectors.config.tenant import TenantConfig
    from collectors.drivers.control_store import Scope
    from collectors.simulate.vocabulary import DEMO_TENANTS

    there = {t.id for t in folder.control.tenants()}
    keys = {}
    for profile in DEMO_TENANTS:
        if profile.id not in there:
            config = TenantConfig(profile="enterprise", time_zone=profile.time_zone, currency=profile.currency)
            folder.control.put_tenant(profile.id, config)
        folder.keys.create(profile.id)
        # Only hashes of keys are kept, so the last run's can't be used again.
        for old in folder.control.keys(profile.id):
            if old.label == LABEL and old.revoked_us is None:
                folder.control.revoke_key(old.id)
        keys[profile.id] = folder.control.create_key(profile.id, [Scope.WRITE], label=LABEL)
    return keys


class Feeder:
    """The process that feeds the demo tenants; it ends with this one, however this one ends."""

    def __init__(self, feed: Feed) -> None:
        # The kernel watches the thread that starts it: to be called from one that lives as long as the server.
        self._process = subprocess.Popen([sys.executable, "-m", "collectors.cli.demo"], stdin=subprocess.PIPE)
        assert self._process.stdin is not None
        with self._process.stdin as pipe:
            pipe.write(json.dumps({"url": feed.url, "keys": feed.keys, "rate": feed.rate}).encode())

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ask_to_stop(self) -> None:
        """Ask the process to end, without waiting for it."""
        self._process.terminate()

    def stop(self) -> None:
        """End the process."""
        self.ask_to_stop()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Feed a server until told to stop; the process that ``Feeder`` starts."""
    end_with_parent()
    from collectors.cli.sending import Media, Sender, send_all
    from collectors.cli.traffic import Plan, Traffic, parcels
    from collectors.errors import CollectorsError

    os.nice(5)  # whoever watches the demo comes first
    feed = Feed(**json.loads(sys.stdin.buffer.read()))
    traffic = Traffic(Plan(rate=feed.rate, users=_USERS))
    try:
        send_all(
            lambda: Sender(Target(feed.url, ""), keys=feed.keys.__getitem__, patience_seconds=_PATIENCE_SECONDS),
            parcels(traffic.batches(), Media.ARROW),
            pace=traffic.pace,
        )
    except CollectorsError as error:
        sys.exit(f"collectors: the demo's events end: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
