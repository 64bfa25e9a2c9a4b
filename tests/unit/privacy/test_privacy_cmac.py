from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.privacy.cmac import LONG, Cmac, cmac, cmac_column

KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
MESSAGE = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
# The AES-256 examples that NIST published for SP 800-38B: message length in bytes and CMAC.
SP_800_38B = [
    (0, "028962f61b7bf89efc6b551f4667d983"),
    (16, "28a7023f452e8f82bd4bf28d8c37c35c"),
    (20, "156727dc0878944a023c1fe03bad6d93"),
    (40, "aaf3d8f1de5640c232f5b169b9c911e6"),
    (64, "e1992190549f6ed5696a2c056c315410"),
]


def oracle(key: bytes, data: bytes) -> bytes:
    mac = CMAC(algorithms.AES256(key))
    mac.update(data)
    return mac.finalize()


def expected(key: bytes, values: list[bytes | None]) -> list[bytes | None]:
    return [None if v is None else oracle(key, v) for v in values]


@pytest.mark.parametrize(("length", "mac"), SP_800_38B)
def test_published_vectors_hold_for_a_value_and_for_a_column(length: int, mac: str) -> None:
    assert cmac(KEY, MESSAGE[:length]).hex() == mac
    assert cmac_column(KEY, pa.array([MESSAGE[:length]])).to_pylist()[0].hex() == mac


def test_column_equals_the_oracle_at_every_length_in_one_mixed_column() -> None:
    rng = random.Random(1)
    values = [rng.randbytes(n) for n in range(101)] * 2
    rng.shuffle(values)
    assert cmac_column(KEY, pa.array(values, pa.binary())).to_pylist() == expected(KEY, values)


def test_long_values_equal_the_oracle_beside_short_ones_and_alone() -> None:
    rng = random.Random(2)
    long = [rng.randbytes(n) for n in (LONG - 1, LONG, LONG + 1, LONG + 17, 70_000)]
    for values in (long, long[-1:], [b"", *long, b"short", rng.randbytes(40)]):
        assert cmac_column(KEY, pa.array(values, pa.binary())).to_pylist() == expected(KEY, values)


@settings(deadline=None, derandomize=True)
@given(
    key=st.binary(min_size=32, max_size=32),
    values=st.lists(st.none() | st.binary(max_size=70), max_size=40),
    kind=st.sampled_from([pa.binary(), pa.large_binary()]),
    data=st.data(),
)
def test_any_slice_of_any_column_equals_the_oracle(
    key: bytes, values: list[bytes | None], kind: pa.DataType, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(values)))
    stop = data.draw(st.integers(start, len(values)))
    macs = cmac_column(key, pa.array(values, kind).slice(start, stop - start))
    macs.validate(full=True)
    assert macs.type == pa.binary()
    assert macs.to_pylist() == expected(key, values[start:stop])


@settings(deadline=None, derandomize=True, max_examples=50)
@given(values=st.lists(st.none() | st.text(max_size=40), min_size=1, max_size=30))
def test_text_plain_dictionary_and_chunked_columns_give_the_same(values: list[str | None]) -> None:
    column = pa.array(values, pa.string())
    want = expected(KEY, [None if v is None else v.encode() for v in values])
    half = len(values) // 2
    encoded = column.dictionary_encode()
    for form in (
        column,
        column.cast(pa.large_string()),
        encoded,
        encoded.slice(half),
        pa.chunked_array([column[:half], column[half:]]),
        pa.chunked_array([column[:half].dictionary_encode(), column[half:].dictionary_encode()]),
    ):
        assert cmac_column(KEY, form).to_pylist() == want[-len(form) :]


def test_null_inside_a_dictionary_stays_null() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["a", None]))
    assert cmac_column(KEY, column).to_pylist() == [oracle(KEY, b"a"), None, None]


@pytest.mark.parametrize("kind", [pa.string(), pa.null(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("rows", [0, 3])
def test_all_null_and_empty_columns_stay_so(kind: pa.DataType, rows: int) -> None:
    macs = cmac_column(KEY, pa.nulls(rows, kind))
    assert macs.type == pa.binary()
    assert macs.to_pylist() == [None] * rows


def test_column_of_only_empty_texts_is_accepted() -> None:
    assert cmac_column(KEY, pa.array(["", ""])).to_pylist() == [oracle(KEY, b"")] * 2


def test_nulls_take_no_bytes_whatever_lies_under_them() -> None:
    column = pa.array(["secret", "shown"])
    masked = pa.Array.from_buffers(pa.string(), 2, [pa.py_buffer(b"\x02"), *column.buffers()[1:]])
    macs = cmac_column(KEY, masked)
    assert macs.to_pylist() == [None, oracle(KEY, b"shown")]
    assert macs.buffers()[2].size == 16


def test_threads_may_share_one_key() -> None:
    shared = Cmac(KEY)
    rng = random.Random(3)
    columns = [pa.array([rng.randbytes(rng.randrange(60)) for _ in range(2000)], pa.binary()) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(shared.column, columns * 4))
    for column, macs in zip(columns * 4, results, strict=True):
        assert macs.to_pylist() == expected(KEY, column.to_pylist())


def test_another_key_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 16"):
        Cmac(bytes(16))


def test_column_that_is_not_text_is_refused() -> None:
    with pytest.raises(TypeError, match="not of int64"):
        cmac_column(KEY, pa.array([1]))
