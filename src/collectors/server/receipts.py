"""From a decoded body to submissions, and from receipts to the answer."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from collectors.intake.decoded import Decoded, DecodedMany
from collectors.intake.prepare import REASONS_IN_RECEIPT, Lane, Receipt, Submission
from collectors.model.event_type import EventType
from collectors.model.event_types import EVENT_TYPES, UNKNOWN


def no_rows(event_type: EventType) -> pa.RecordBatch:
    """Return an empty batch of the type's wire schema."""
    schema = event_type.wire_schema
    return pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)


def parts(tenant: str, many: DecodedMany, received: int, key: bytes) -> list[Submission]:
    """Return a submission for each type."""
    parts = [
        Submission(tenant, EVENT_TYPES[name], Lane.DECODED, decoded, received, key)
        for name, decoded in many.by_type.items()
    ]
    if many.bad:
        unread = Decoded(no_rows(UNKNOWN), many.bad, len(many.bad))
        parts.append(Submission(tenant, UNKNOWN, Lane.DECODED, unread, received, key))
    return parts


def receipt_dict(receipts: Sequence[Receipt]) -> dict[str, object]:
    """Return the answer to a request, summed over its parts."""
    reasons = [{"row": r.row, "reason": r.reason, "detail": r.detail} for x in receipts for r in x.reasons]
    return {
        "accepted": sum(r.accepted for r in receipts),
        "duplicate": sum(r.duplicate for r in receipts),
        "rejected": sum(r.rejected for r in receipts),
        "dropped": sum(r.dropped for r in receipts),
        "position": max((r.position for r in receipts), default=0),
        "dead_letter": next((r.dead_letter for r in receipts if r.dead_letter), None),
        "reasons": reasons[:REASONS_IN_RECEIPT],
    }
