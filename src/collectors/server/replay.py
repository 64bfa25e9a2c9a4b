"""Send dead letters through intake again, after a fix."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from collectors.app.folder import DataFolder
from collectors.clock import Clock
from collectors.drivers.ledger_store import DeadLetter
from collectors.errors import BadInput, CollectorsError
from collectors.intake.decoded import Decoded
from collectors.intake.ndjson import decode_mixed, decode_ndjson
from collectors.intake.pipeline import IntakePipeline
from collectors.intake.prepare import DEAD_LETTER_FIELD, Lane, Receipt, Submission
from collectors.model.event_types import EVENT_TYPES, UNKNOWN
from collectors.privacy.aead import associated_data, open_sealed
from collectors.server.state import ReplayEdit


def read_dead_letter(folder: DataFolder, letter: DeadLetter) -> pa.Table:
    """Open a dead letter: columns reason, detail, raw (rows that could not be decoded) and the type's wire schema."""
    keyset = folder.keys.keyset(letter.tenant)
    plain = open_sealed(keyset, associated_data(letter.tenant, letter.type, DEAD_LETTER_FIELD), letter.body)
    return pa.ipc.open_stream(plain).read_all()
