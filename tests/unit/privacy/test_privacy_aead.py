from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.errors import BadInput, LifecycleError, UnknownName
from collectors.privacy.aead import (
    OVERHEAD,
    associated_data,
    decrypt_column,
    encrypt_column,
    open_sealed,
    seal,
)
from collectors.privacy.keys import Key, Keyset, KeyStatus, Purpose

AD = associated_data("acme", "auth", "ip")


def key(key_id: int, status: KeyStatus = KeyStatus.ENABLED) -> Key:
    return Key(key_id, Purpose.AEAD, status, 0, key_id.to_bytes(32, "big"))


OLD, NEW = key(7), key(0xFEDC_BA98)
ROTATED = Keyset("acme", (OLD, NEW))


def opened_by_oracle(sealed: bytes, secret: Key) -> bytes:
    assert sealed[:5] == b"\x01" + secret.id.to_bytes(4, "big")
    return AESGCM(secret.material).decrypt(sealed[5:17], sealed[17:], b"acme|auth|ip")


@settings(deadline=None, derandomize=True)
@given(values=st.lists(st.none() | st.binary(max_size=100), max_size=20), data=st.data())
def test_sealed_columns_are_in_the_wire_format_and_open_again(values: list[bytes | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(values)))
    sealed = encrypt_column(ROTATED, AD, pa.array(values, pa.binary()).slice(start))
    assert sealed.type == pa.binary()
    for value, box in zip(values[start:], sealed.to_pylist(), strict=True):
        if value is None:
            assert box is None
        else:
            assert len(box) == len(value) + OVERHEAD
            assert opened_by_oracle(box, NEW) == value
            assert open_sealed(ROTATED, AD, box) == value
    assert decrypt_column(ROTATED, AD, sealed).to_pylist() == values[start:]


@settings(deadline=None, derandomize=True, max_examples=20)
@given(texts=st.lists(st.none() | st.text(max_size=20), min_size=1, max_size=10))
def test_text_dictionary_and_chunked_columns_seal_alike(texts: list[str | None]) -> None:
    column = pa.array(texts, pa.string())
    want = [None if t is None else t.encode() for t in texts]
    for form in (column, column.dictionary_encode(), pa.chunked_array([column])):
        assert decrypt_column(ROTATED, AD, encrypt_column(ROTATED, AD, form)).to_pylist() == want


def test_equal_values_are_sealed_differently() -> None:
    boxes = encrypt_column(ROTATED, AD, pa.array(["same"] * 100).dictionary_encode()).to_pylist()
    assert len({box[5:17] for box in boxes}) == 100


def test_a_single_value_seals_and_opens() -> None:
    box = seal(ROTATED, AD, b"203.0.113.7")
    assert opened_by_oracle(box, NEW) == b"203.0.113.7"
    assert open_sealed(ROTATED, AD, box) == b"203.0.113.7"


def test_values_of_before_and_after_a_rotation_open_in_one_column() -> None:
    before = seal(Keyset("acme", (OLD,)), AD, b"before")
    after = seal(ROTATED, AD, b"after")
    assert decrypt_column(ROTATED, AD, pa.array([before, None, after])).to_pylist() == [b"before", None, b"after"]


@pytest.mark.parametrize("place", [("other", "auth", "ip"), ("acme", "audit", "ip"), ("acme", "auth", "user_agent")])
def test_value_moved_to_another_place_does_not_open(place: tuple[str, str, str]) -> None:
    with pytest.raises(BadInput, match="altered, or belongs to another"):
        open_sealed(ROTATED, associated_data(*place), seal(ROTATED, AD, b"x"))


def test_any_altered_byte_is_noticed() -> None:
    box = seal(ROTATED, AD, b"plaintext")
    for i in range(len(box)):
        altered = box[:i] + bytes([box[i] ^ 1]) + box[i + 1 :]
        with pytest.raises((BadInput, UnknownName)) as caught:
            open_sealed(ROTATED, AD, altered)
        assert "plaintext" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"203.0.113.0/24", b"\x01" * (OVERHEAD - 1), b"\x02" + bytes(OVERHEAD)])
def test_what_was_never_sealed_is_refused(text: bytes) -> None:
    with pytest.raises(BadInput, match="not a sealed value"):
        open_sealed(ROTATED, AD, text)


def test_value_of_another_keyset_is_told_from_one_of_a_destroyed_key() -> None:
    box = seal(Keyset("acme", (OLD,)), AD, b"x")
    with pytest.raises(UnknownName, match="has no key 7"):
        open_sealed(Keyset("acme", (NEW,)), AD, box)
    with pytest.raises(LifecycleError, match=r"key 7 .* was destroyed"):
        open_sealed(Keyset("acme", (key(7, KeyStatus.DESTROYED), NEW)), AD, box)


def test_pseudonym_key_never_opens_sealed_values() -> None:
    keys = Keyset("acme", (Key(7, Purpose.PSEUDONYM, KeyStatus.ENABLED, 0, OLD.material), NEW))
    with pytest.raises(UnknownName):
        open_sealed(keys, AD, seal(Keyset("acme", (OLD,)), AD, b"x"))


def test_threads_may_share_one_keyset() -> None:
    column = pa.array([bytes([i]) * 5000 for i in range(100)], pa.binary())
    with ThreadPoolExecutor(4) as pool:
        sealed = list(pool.map(lambda _: encrypt_column(ROTATED, AD, column), range(8)))
        assert all(opened == column for opened in pool.map(lambda s: decrypt_column(ROTATED, AD, s), sealed))


@pytest.mark.parametrize("rows", [0, 3])
def test_all_null_columns_need_no_key(rows: int) -> None:
    nobody = Keyset("acme", ())
    assert encrypt_column(nobody, AD, pa.nulls(rows, pa.string())).to_pylist() == [None] * rows
    assert decrypt_column(nobody, AD, pa.nulls(rows, pa.binary())).to_pylist() == [None] * rows
