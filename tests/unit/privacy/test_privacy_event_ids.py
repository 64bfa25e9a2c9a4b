from __future__ import annotations

import uuid

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.model.event_type import EVENT_ID
from collectors.privacy.event_ids import TEXT_KEY, canonical_event_ids, event_uuid

SPELLINGS = {
    "dashed": str,
    "upper": lambda u: str(u).upper(),
    "hex": lambda u: u.hex,
    "hex upper": lambda u: u.hex.upper(),
    "mixed": lambda u: "".join(c.upper() if i % 3 else c for i, c in enumerate(str(u))),
}
# 36 or 32 characters, and yet no UUID in a canonical form.
NEAR_MISSES = [
    "00000000-0000-0000-0000-00000000000g",
    "00000000_0000-0000-0000-000000000000",
    "0000000000-00-0000-0000-000000000000",
    "0000000-00000-0000-0000-000000000000",
    "----00000000000000000000000000000000",
    "g0000000000000000000000000000000",
    "0000000000000000000000000000000 ",
    "00000000-0000-0000-0000000000000",
    "{00000000-0000-0000-0000-00000000}",
    "ééééééééééééééééé-",
    "\uff10" * 12,
]
any_id = st.one_of(
    st.uuids().flatmap(lambda u: st.sampled_from([spell(u) for spell in SPELLINGS.values()])),
    st.sampled_from(NEAR_MISSES),
    st.text(st.characters(codec="utf-8"), max_size=50),
)


def of(*texts: str | None) -> list[bytes | None]:
    return canonical_event_ids(pa.array(texts, pa.string())).to_pylist()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_uuid_in_any_canonical_spelling_is_itself(spelling: str) -> None:
    ids = [uuid.UUID(int=i * 0x0123_4567_89AB_CDEF_1357_9BDF % 2**128) for i in range(50)]
    texts = [SPELLINGS[spelling](u) for u in ids]
    assert of(*texts) == [u.bytes for u in ids]
    assert [event_uuid(t) for t in texts] == ids


@pytest.mark.parametrize("text", ["", "order 7/1", *NEAR_MISSES])
def test_other_text_becomes_a_version_8_uuid_from_its_cmac(text: str) -> None:
    made = event_uuid(text)
    assert (made.version, made.variant) == (8, uuid.RFC_4122)
    mac = CMAC(algorithms.AES256(TEXT_KEY))
    mac.update(text.encode())
    fixed_bits = 0xF << 76 | 0x3 << 62
    assert made.int | fixed_bits == int.from_bytes(mac.finalize(), "big") | fixed_bits
    assert of(text) == [made.bytes]


def test_mapping_never_changes() -> None:
    # openssl mac -cipher AES-256-CBC -macopt hexkey:... CMAC, then version 8 in digit 13 and variant in digit 17.
    assert event_uuid("order 7/1") == uuid.UUID("a461a1e8-8480-82a9-9926-1bf43c10508d")


@settings(deadline=None, derandomize=True, max_examples=200)
@given(texts=st.lists(st.none() | any_id, max_size=30), data=st.data())
def test_column_equals_the_scalar_in_any_mix_and_form(texts: list[str | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(texts)))
    column = pa.array(texts, pa.string())
    want = [None if t is None else event_uuid(t).bytes for t in texts[start:]]
    forms = (column, column.cast(pa.binary()), column.cast(pa.large_string()), column.dictionary_encode())
    for form in forms:
        ids = canonical_event_ids(form.slice(start))
        ids.validate(full=True)
        assert ids.type == EVENT_ID
        assert ids.to_pylist() == want


def test_the_identity_of_an_identity_is_the_same() -> None:
    once = event_uuid("order 7/1")
    assert event_uuid(str(once)) == once


def test_sixteen_bytes_pass_through_untouched() -> None:
    column = pa.array([bytes(range(16)), None], EVENT_ID)
    assert canonical_event_ids(column) is column
    assert canonical_event_ids(pa.chunked_array([column, column])).to_pylist() == column.to_pylist() * 2


@pytest.mark.parametrize("rows", [0, 4])
def test_missing_ids_stay_missing(rows: int) -> None:
    ids = canonical_event_ids(pa.nulls(rows, pa.string()))
    assert (ids.type, ids.null_count, len(ids)) == (EVENT_ID, rows, rows)
