from __future__ import annotations

import ipaddress
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.privacy.network import FEW, truncate_ips, truncate_location


def oracle(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((int(ip), 48), strict=False)).encode()
        ip = ip.ipv4_mapped
    return str(ipaddress.IPv4Network((int(ip), 24), strict=False)).encode()


def check(column: pa.Array, texts: list[str | None]) -> None:
    networks, invalid = truncate_ips(column)
    networks.validate(full=True)
    want = [oracle(t) for t in texts]
    assert networks.type == pa.binary()
    assert networks.to_pylist() == want
    assert invalid.to_pylist() == [t is not None and w is None for t, w in zip(texts, want, strict=True)]


NOT_ADDRESSES = [
    "",
    ".",
    "1",
    "1.2.3",
    "1.2.3.",
    "1.2.3.4.",
    ".1.2.3.4",
    "1..2.3",
    "1.2.3.4.5",
    "256.1.1.1",
    "1.1.1.256",
    "1.1.1.2555",
    "01.1.1.1",
    "1.1.1.00",
    "1.1.1.1 ",
    " 1.1.1.1",
    "1.1.1.1\x00",
    "1.1.1.1:80",
    "1.1.1.1/24",
    "1.1.1.1%eth0",
    "-1.1.1.1",
    "0x1.1.1.1",
    "255.255.255.2555",
    "255.255.255.255.255",
    "\uff11.1.1.1",
    "localhost",
    ":",
    ":::",
    "1::2::3",
    "12345::",
    "::1%",
    "::1%a%b",
    "::1/64",
    "[::1]",
    "::1\x00",
    "::ffff:1.2.3.256",
    "::ffff:01.2.3.4",
    "1:2:3:4:5:6:7:8:9",
]
ADDRESSES = [
    "0.0.0.0",
    "255.255.255.255",
    "9.10.99.100",
    "203.0.113.7",
    "::",
    "::1",
    "1::",
    "0:0:5::",
    "1:2:3:4:5:6:7::",
    "2001:db8:1:2:3:4:5:6",
    "2001:DB8:0001::AB",
    "0:1:0:2:3:4:5:6",
    "fe80::1%eth0",
    "::ffff:203.0.113.7",
    "::FFFF:cb00:7107",
    "::203.0.113.7",
    "64:ff9b::203.0.113.7",
]
octet = st.sampled_from(["0", "1", "9", "10", "99", "100", "199", "249", "250", "255", "256", "999", "00", "01", ""])
addresses = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.ip_addresses(v=6).map(lambda ip: ip.exploded.upper()),
    st.ip_addresses(v=4).map("::ffff:{}".format),
    st.lists(octet, min_size=3, max_size=5).map(".".join),
    st.text("0123456789.:af%", max_size=20),
    st.sampled_from(NOT_ADDRESSES + ADDRESSES),
)


@pytest.mark.parametrize("repeats", [1, FEW])
def test_each_known_case_is_truncated_or_refused_alone_and_in_a_crowd(repeats: int) -> None:
    for text in NOT_ADDRESSES:
        assert oracle(text) is None, text
    for text in ADDRESSES:
        assert oracle(text) is not None, text
    for text in NOT_ADDRESSES + ADDRESSES:
        check(pa.array([text] * repeats), [text] * repeats)
    everything = (NOT_ADDRESSES + ADDRESSES) * repeats
    check(pa.array(everything), everything)


def test_documented_examples() -> None:
    texts = ["203.0.113.7", "2001:db8:1:2::3", "::ffff:203.0.113.7"]
    networks, _ = truncate_ips(pa.array(texts))
    assert networks.to_pylist() == [b"203.0.113.0/24", b"2001:db8:1::/48", b"203.0.113.0/24"]


@settings(deadline=None, derandomize=True, max_examples=200)
@given(few=st.lists(st.none() | addresses, min_size=1, max_size=40), times=st.sampled_from([1, FEW]), data=st.data())
def test_any_column_equals_the_standard_library(few: list[str | None], times: int, data: st.DataObject) -> None:
    texts = few * times
    start = data.draw(st.integers(0, len(texts)))
    column = pa.array(texts, pa.string())
    for form in (column, column.cast(pa.large_string()), column.dictionary_encode()):
        check(form.slice(start), texts[start:])


def test_random_ipv4_addresses_equal_the_standard_library() -> None:
    rng = random.Random(4)
    texts: list[str | None] = [str(ipaddress.IPv4Address(rng.getrandbits(32))) for _ in range(5000)]
    check(pa.array(texts), texts)
    texts[::7] = [None] * len(texts[::7])
    check(pa.array(texts), texts)
    check(pa.chunked_array([texts[:100], texts[100:]]), texts)


def test_bytes_that_are_not_text_are_refused_not_raised() -> None:
    for repeats in (1, FEW):
        networks, invalid = truncate_ips(pa.array([b"\xff\xfe", b"1.2.3.4\xff", b"1.2.3.4"] * repeats, pa.binary()))
        assert networks.to_pylist() == [None, None, b"1.2.3.0/24"] * repeats
        assert invalid.to_pylist() == [True, True, False] * repeats


@pytest.mark.parametrize("rows", [0, 2, FEW])
def test_missing_addresses_are_not_invalid(rows: int) -> None:
    networks, invalid = truncate_ips(pa.nulls(rows, pa.string()))
    assert networks.to_pylist() == [None] * rows
    assert invalid.to_pylist() == [False] * rows


def test_coordinates_are_rounded_to_a_tenth_of_a_degree() -> None:
    column = pa.array([59.32932, 18.06858, -0.04, -33.86882, None, 180.0])
    rounded = truncate_location(column)
    assert rounded.to_pylist() == [59.3, 18.1, 0.0, -33.9, None, 180.0]
    assert not np.signbit(rounded[2].as_py())
