"""What an event type is: an Arrow schema, rules, and which fields are personal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")
EVENT_ID = pa.binary(16)


class Mark(StrEnum):
    """Why a field needs care. A marked text field is stored as ``binary``, whatever its policy."""

    IDENTIFIER = "identifier"  # names a person: user, customer, principal, device
    IP = "ip"  # an IPv4 or IPv6 address
    LOCATION = "location"  # a coordinate
    FREE = "free"  # free text or JSON that may hold anything


class Policy(StrEnum):
    """What happens to a marked field before anything is written."""

    DROP = "drop"
    PSEUDONYMISE = "pseudonymise"
    ENCRYPT = "encrypt"
    TRUNCATE = "truncate"
    KEEP = "keep"


DEFAULT_POLICY: Mapping[Mark, Policy] = MappingProxyType(
    {
        Mark.IDENTIFIER: Policy.PSEUDONYMISE,
        Mark.IP: Policy.TRUNCATE,
        Mark.LOCATION: Policy.TRUNCATE,
        Mark.FREE: Policy.KEEP,
    }
)

ALLOWED_POLICIES: Mapping[Mark, frozenset[Policy]] = MappingProxyType(
    {
        Mark.IDENTIFIER: frozenset({Policy.DROP, Policy.PSEUDONYMISE, Policy.ENCRYPT, Policy.KEEP}),
        Mark.IP: frozenset(Policy),
        Mark.LOCATION: frozenset({Policy.DROP, Policy.TRUNCATE, Policy.KEEP}),
        Mark.FREE: frozenset({Policy.DROP, Policy.ENCRYPT, Policy.KEEP}),
    }
)


@dataclass(frozen=True, slots=True)
class Field:
    """One column of an event type, with the rules a value must meet to be stored."""

    name: str
    type: pa.DataType
    description: str
    required: bool = False
    mark: Mark | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    max_bytes: int = 1024
    """Longest text in UTF-8 bytes; for lists and maps, the most elements."""
    policy: Policy | None = None
    """What happens to a marked field unless its tenant says otherwise; that of its mark if None."""

    @property
    def default_policy(self) -> Policy | None:
        """What happens to the field unless its tenant says otherwise; None if it is not personal."""
        return self.policy or (DEFAULT_POLICY[self.mark] if self.mark else None)

    @property
    def stored_type(self) -> pa.DataType:
        """Arrow type in the log and the lake: ``binary`` for marked text, else the wire type."""
        if self.mark is not None and pa.types.is_string(self.type):
            return pa.binary()
        return self.type


@dataclass(frozen=True)
class EventType:
    """A kind of event.

    ``horizon`` is how old an event may be when it arrives; ``retention`` how long the lake keeps it.
    """

    name: str
    description: str
    fields: tuple[Field, ...]
    horizon: timedelta = timedelta(days=400)
    retention: timedelta = timedelta(days=400)
    example: Mapping[str, object] = field(default_factory=dict)

    @cached_property
    def columns(self) -> tuple[Field, ...]:
        """Envelope and own fields, in stored order."""
        return (*ENVELOPE, *self.fields)

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """Columns by name."""
        return MappingProxyType({f.name: f for f in self.columns})

    @cached_property
    def wire_schema(self) -> pa.Schema:
        """Arrow schema a producer sends; text fields as ``string``, ``event_id`` as 16 bytes."""
        return pa.schema([pa.field(f.name, f.type) for f in self.columns])

    @cached_property
    def stored_schema(self) -> pa.Schema:
        """Arrow schema in the log: the wire schema after protection, plus ``received_time``."""
        return pa.schema(
            [*(pa.field(f.name, f.stored_type) for f in self.columns), pa.field("received_time", TIMESTAMP)]
        )

    @cached_property
    def lake_schema(self) -> pa.Schema:
        """Arrow schema of the Delta table: the stored schema plus tenant, log position and partition day."""
        return pa.schema(
            [
                pa.field("tenant_id", pa.string()),
                *self.stored_schema,
                pa.field("log_position", pa.int64()),
                pa.field("day", pa.date32()),
            ]
        )


ENVELOPE: tuple[Field, ...] = (
    Field(
        "event_id",
        EVENT_ID,
        "Identity of the event, as a UUID; any other text is mapped to one. Sending it twice stores it once.",
    ),
    Field("event_time", TIMESTAMP, "When the event happened, UTC; the time of arrival if absent."),
    Field("source", pa.string(), "Application or service that sent the event.", max_bytes=256),
    Field("user_id", pa.string(), "The person the event is about.", mark=Mark.IDENTIFIER, max_bytes=256),
    Field("session_id", pa.string(), "The producer's own session identifier.", max_bytes=256),
    Field(
        "properties",
        pa.string(),
        "JSON object with everything the schema does not name.",
        mark=Mark.FREE,
        max_bytes=65536,
        policy=Policy.ENCRYPT,  # nobody knows what producers put there
    ),
)
