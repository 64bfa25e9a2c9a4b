"""The ledger: what became of every event, and the rejected ones that wait for a fix."""

from __future__ import annotations

from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import Path, Query

from collectors.drivers.ledger_store import DeadLetter
from collectors.errors import CollectorsError
from collectors.intake.prepare import DEAD_LETTER_FIELD
from collectors.monitoring.frames import ledger_dict
from collectors.privacy.aead import associated_data, open_sealed
from collectors.privacy.keystore import FileKeyStore
from collectors.server.answers import Answer
from collectors.server.routes.context import ADMINS, READERS, TENANT, Given, TenantId, errors, resource
from collectors.server.routes.samples import Limit
from collectors.server.schemas import DeadLetterAnswer, Ledger, ReceiptAnswer
from collectors.server.state import ReplayEdit

router = resource("ledger", READERS, prefix=TENANT)

_LAST_POSITION = 2**63 - 1
_PAGE_LETTERS = 8
_PAGE_BYTES = 32 * 2**20

After = Annotated[int, Query(ge=0, le=_LAST_POSITION, description="Return what stands after this position.")]
Position = Annotated[int, Path(ge=1, le=_LAST_POSITION, description="Position of the dead letter.", examples=[123])]


@router.get("/ledger", response_model=Ledger, responses=errors(404))
def get_ledger(context: Given, tenant: TenantId) -> Answer:
    """Return exact counts of the tenant's events by type, and their sum."""
    counts = context.gateway.ledger.counts(tenant)
    return Answer(ledger_dict({type_: c for (_, type_), c in counts.items()}))


@router.get("/dead-letters", response_model=list[DeadLetterAnswer], responses=errors(404))
def list_dead_letters(context: Given, tenant: TenantId, after: After = 0, limit: Limit = 50) -> Answer:
    """List rejected events by position. A page may be shorter than ``limit``; the list ends with an empty one."""
    gateway = context.gateway
    found: list[dict[str, Any]] = []
    size = 0
    while len(found) < limit and size < _PAGE_BYTES:
        # Each holds whole events: few at a time, so that a long page does not fill the memory.
        letters = gateway.ledger.dead_letters(tenant, after=after, limit=min(_PAGE_LETTERS, limit - len(found)))
        if not letters:
            break
        after = letters[-1].position
        size += sum(len(letter.body) for letter in letters)
        found += [_shown(letter, gateway.keys) for letter in letters]
    return Answer(found)


@router.post(
    "/dead-letters/{position}/replay",
    response_model=ReceiptAnswer,
    responses=errors(404, 409),
    dependencies=[ADMINS],
)
async def replay_dead_letter(context: Given, tenant: TenantId, position: Position, edit: ReplayEdit) -> Answer:
    """Mend the rejected events at a position and take them in again; the answer is that of an intake."""
    return Answer(await context.gateway.replay(tenant, position, edit))


def _shown(letter: DeadLetter, keys: FileKeyStore) -> dict[str, Any]:
    return {
        "position": letter.position,
        "type": letter.type,
        "time": letter.time_us,
        "rows": letter.rows,
        "reasons": _reasons(letter, keys),
    }


def _reasons(letter: DeadLetter, keys: FileKeyStore) -> dict[str, int] | None:
    """Count the rows of a dead letter by reason; None if it can't be opened, because its key was destroyed."""
    place = associated_data(letter.tenant, letter.type, DEAD_LETTER_FIELD)
    try:
        plain = open_sealed(keys.keyset(letter.tenant), place, letter.body)
    except CollectorsError:
        return None
    reasons = pa.ipc.open_stream(plain).read_all().column("reason")
    return {item["values"]: item["counts"] for item in pc.value_counts(reasons).to_pylist()}
