"""What the control API is built from: the stores it reads, and what only the gateway process itself can do or tell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, JsonValue

from collectors.clock import Clock
from collectors.config.collector import Model
from collectors.config.server import ServerConfig
from collectors.drivers.alert_store import AlertStore
from collectors.drivers.control_store import ControlStore
from collectors.drivers.ledger_store import LedgerStore
from collectors.drivers.sample_store import SampleStore
from collectors.privacy.keystore import FileKeyStore
from collectors.server.auth import Authenticator
from collectors.server.live import LiveHub

FieldName = Annotated[str, Field(min_length=1, max_length=256)]


class ReplayEdit(Model):
    """How rejected events are mended before they are sent in again.

    Fields are removed first, then renamed, then set; of an event without such a field nothing is removed or renamed.
    """

    set: Mapping[FieldName, JsonValue] = Field(default_factory=dict, max_length=256, examples=[{"country": "SE"}])
    """Field to its new value, in every event."""

    rename: Mapping[FieldName, FieldName] = Field(default_factory=dict, max_length=256, examples=[{"song": "track_id"}])
    """Old field name to new one."""

    remove: tuple[FieldName, ...] = Field(default=(), max_length=256, examples=[["debug"]])
    """Fields to take away."""


@dataclass(frozen=True, slots=True)
class GatewayProgress:
    """How the event path gets on. Times are UTC microseconds."""

    queued_bytes: int
    """Bytes of request bodies that wait."""

    last_commit_us: int
    """When the log last took events, 0 if it never did."""

    oldest_waiting_us: int
    """When the request that waits longest came in, 0 if none waits."""


@dataclass(frozen=True)
class GatewayState:
    """Everything the control API needs; made by the gateway process, or by a test.

    ``replay`` mends the dead letter of a tenant at a log position, sends it in again and returns the receipt.
    """

    control: ControlStore
    keys: FileKeyStore
    ledger: LedgerStore
    samples: SampleStore
    alerting: AlertStore
    hub: LiveHub
    clock: Clock
    config: ServerConfig
    authenticator: Authenticator
    replay: Callable[[str, int, ReplayEdit], Awaitable[dict[str, object]]]
    progress: Callable[[], GatewayProgress]
