"""Send dead letters through intake again, after a fix."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import pyarrow as pa

from collectors.app.folder import DataFolder
from collectors.clock import Clock
from collectors.drivers.event_log import pending_replays
from collectors.drivers.ledger_store import DeadLetter
from collectors.errors import UnknownName
from collectors.intake.decoded import Decoded
from collectors.intake.mixed import decode_mixed
from collectors.intake.ndjson import decode_ndjson
from collectors.intake.pipeline import IntakePipeline
from collectors.intake.prepare import DEAD_LETTER_FIELD, Lane, Receipt, Submission
from collectors.model.event_types import EVENT_TYPES, UNKNOWN
from collectors.privacy.aead import associated_data, open_sealed
from collectors.server.receipts import no_rows, parts, receipt_dict
from collectors.server.state import ReplayEdit


def read_dead_letter(folder: DataFolder, letter: DeadLetter) -> pa.Table:
    """Open a dead letter: columns reason, detail, raw (rows that could not be decoded) and the type's wire schema."""
    keyset = folder.keys.keyset(letter.tenant)
    plain = open_sealed(keyset, associated_data(letter.tenant, letter.type, DEAD_LETTER_FIELD), letter.body)
    return pa.ipc.open_stream(plain).read_all()


class Replayer:
    """Replays one dead letter at a time.

    First the mended rows go in as new events under a key of their own, then one record takes the old rejections back.
    After a crash in between the letter is still there, and replaying it again stores nothing twice.
    """

    def __init__(self, folder: DataFolder, pipeline: IntakePipeline, clock: Clock) -> None:
        self._folder = folder
        self._pipeline = pipeline
        self._clock = clock
        self._turn = asyncio.Lock()

    async def replay(self, tenant: str, position: int, edit: ReplayEdit) -> dict[str, object]:
        """Mend the rows of a dead letter by ``edit``, send them in again, and return the receipt."""
        async with self._turn:
            letter = await asyncio.to_thread(self._find, tenant, position)
            submissions = await asyncio.to_thread(self._mended, letter, edit)
            receipts = [await self._send(s) for s in submissions]
            event_type = EVENT_TYPES.get(letter.type, UNKNOWN)
            nothing = Decoded(no_rows(event_type), (), 0)
            await self._send(
                Submission(
                    tenant,
                    event_type,
                    Lane.DECODED,
                    nothing,
                    self._clock.now_us(),
                    replays=position,
                    credit=letter.rows,
                )
            )
            return receipt_dict(receipts)

    def _find(self, tenant: str, position: int) -> DeadLetter:
        letter = self._folder.ledger.dead_letter(tenant, position)
        if position in pending_replays(self._folder.log, after=self._folder.ledger.position()):
            raise UnknownName(f"the dead letter at position {position} has been replayed")
        return letter

    def _mended(self, letter: DeadLetter, edit: ReplayEdit) -> list[Submission]:
        rows = read_dead_letter(self._folder, letter).to_pylist()
        lines = b"\n".join(_mend(row, edit) for row in rows)
        received = self._clock.now_us()
        key = f"replay\0{letter.tenant}\0{letter.position}".encode()
        if letter.type in EVENT_TYPES:
            decoded = decode_ndjson(lines, EVENT_TYPES[letter.type])
            return [Submission(letter.tenant, EVENT_TYPES[letter.type], Lane.DECODED, decoded, received, key)]
        return parts(letter.tenant, decode_mixed(lines), received, key)

    async def _send(self, submission: Submission) -> Receipt:
        waiter: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._pipeline.submit(submission, waiter)
        return await waiter


def _mend(row: Mapping[str, Any], edit: ReplayEdit) -> bytes:
    """Return a rejected row as a JSON line with ``edit`` applied; what is no JSON object stays as it is."""
    raw = row["raw"]
    if raw is not None:
        try:
            event = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return bytes(raw).replace(b"\n", b" ")
        if not isinstance(event, dict):
            return bytes(raw).replace(b"\n", b" ")
    else:
        event = {k: v for k, v in row.items() if k not in ("reason", "detail", "raw") and v is not None}
        event["event_id"] = event["event_id"].hex()
        if "properties" in event:
            event["properties"] = orjson.loads(event["properties"])
        event = {k: dict(v) if k == "features" else v for k, v in event.items()}
    # A field that its type does not name was moved to the properties when the event first came in.
    kept = event.get("properties")
    places = [event, kept] if isinstance(kept, dict) else [event]
    for name in edit.remove:
        for place in places:
            place.pop(name, None)
    for old, new in edit.rename.items():
        for place in places:
            if old in place:
                event[new] = place.pop(old)
                break
    event |= edit.set
    return orjson.dumps(event)
