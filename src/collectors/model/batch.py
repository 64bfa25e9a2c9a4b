"""A batch of stored events and the counts that account for every offered one."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from collectors.model.event_type import EventType


@dataclass(frozen=True, slots=True)
class Batch:
    """Protected, deduplicated events of one type and tenant, as they stand in the log at ``position``.

    ``table`` has the type's ``stored_schema``. ``acked_us`` is when they became durable.
    """

    tenant: str
    type: EventType
    position: int
    acked_us: int
    table: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class LedgerCounts:
    """Integers that must balance: offered = stored + duplicate + rejected + dropped + in_flight."""

    offered: int = 0
    stored: int = 0
    duplicate: int = 0
    rejected: int = 0
    dropped: int = 0
    in_flight: int = 0

    @property
    def balance(self) -> int:
        """Zero, or the number of events that nobody can account for."""
        return self.offered - self.stored - self.duplicate - self.rejected - self.dropped - self.in_flight

    def __add__(self, other: LedgerCounts) -> LedgerCounts:
        return LedgerCounts(
            self.offered + other.offered,
            self.stored + other.stored,
            self.duplicate + other.duplicate,
            self.rejected + other.rejected,
            self.dropped + other.dropped,
            self.in_flight + other.in_flight,
        )
