"""Addresses and coordinates made coarse, whole columns at a time."""

from __future__ import annotations

import ipaddress
import socket

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from collectors.privacy.columns import Bytes, Flags, Integers, Rows, binary_array, is_all_null, map_values

WIDTH = 16
"""Bytes looked at: a dotted quad has at most 15, and so has its network at most 16."""
FEW = 32
"""Below this many addresses, parsing each by itself is faster than setting up the automaton."""

_DOT, _OTHER, _END = 10, 11, 12
_CLASSES = 16


_MAPPED = bytes(10) + b"\xff\xff"
"""How an IPv4-mapped IPv6 address begins."""


def _character_classes() -> NDArray[np.uint8]:
    classes = np.full(256, _OTHER, np.uint8)
    classes[np.frombuffer(b"0123456789.", np.uint8)] = np.arange(11)
    return classes


def _state(octet: int, value: int | None) -> int:
    """Return the state of being in an ``octet`` (0 to 3) whose digits so far have ``value``, None before the first.

    States are multiples of the number of classes, so that state + class is an index into the table. 0 is failure.
    """
    return (1 + octet * 257 + (0 if value is None else 1 + value)) * _CLASSES


def _transitions() -> NDArray[np.intp]:
    """Build the automaton that accepts four numbers of 0 to 255, without leading zeros, with dots between them."""
    table = np.zeros(_state(3, 255) + _CLASSES, np.intp)
    for octet in range(4):
        for digit in range(10):
            table[_state(octet, None) + digit] = _state(octet, digit)
        for value in range(256):
            here = _state(octet, value)
            for digit in range(10):
                if value > 0 and 10 * value + digit <= 255:
                    table[here + digit] = _state(octet, 10 * value + digit)
            if octet < 3:
                table[here + _DOT] = _state(octet + 1, None)
            else:
                table[here + _END] = here
    return table


_CLASS = _character_classes()
_NEXT = _transitions()
_START = _state(0, None)
_ACCEPT = _state(3, 0)
_LAST_DIGITS = np.array([len(str(value)) for value in range(256)])

_WITHIN = np.tri(WIDTH + 1, WIDTH, -1, dtype=np.bool_)
"""Row n: whether each byte is among the first n."""
_KEEP = (_WITHIN * np.uint8(0xFF)).view(np.uint64)
_ENDS = (~_WITHIN * np.uint8(_END)).view(np.uint64)


def _suffixes() -> NDArray[np.uint64]:
    """Return rows with "0/24" from byte n on."""
    rows = np.zeros((WIDTH + 1, WIDTH + 4), np.uint8)
    for n in range(WIDTH + 1):
        rows[n, n : n + 4] = np.frombuffer(b"0/24", np.uint8)
    return np.ascontiguousarray(rows[:, :WIDTH]).view(np.uint64)


_SUFFIX = _suffixes()


def truncate_ips(column: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, pa.BooleanArray]:
    """Return ``truncated_ips`` and which rows are not null and not an address, so that they can be rejected."""
    networks = truncated_ips(column)
    return networks, pc.and_not(networks.is_null(), pc.is_null(column))


def truncated_ips(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return the network of each address as ``binary`` text; nulls and what is not an address become null.

    An IPv4 address becomes its /24, such as ``203.0.113.0/24``, an IPv6 address its /48, and an IPv4-mapped IPv6
    address the /24 of the former.
    """
    return map_values(column, _networks)


def truncate_location(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Round degrees to 0.1, about 11 km of latitude."""
    # Adding zero makes -0.0 into 0.0, so that equal places are equal bytes.
    return map_values(column, lambda values: pc.add(pc.round(values, ndigits=1), 0.0))


def _networks(column: pa.Array) -> pa.Array:
    if is_all_null(column):
        return pa.nulls(len(column), pa.binary())
    if len(column) < FEW:
        return pa.array([_network(address) for address in column.cast(pa.binary()).to_pylist()], pa.binary())
    rows = Rows.of(column)
    text = rows.windows(WIDTH, rows.starts)
    quad, last_digits = _dotted_quads(text, np.minimum(rows.lengths, WIDTH))
    valid = quad
    if rows.valid is not None:
        valid = rows.valid.copy()
        valid[rows.valid] = quad
    networks = _class_c(text[quad], rows.lengths[quad] - last_digits[quad], valid)
    if quad.all():
        return networks
    others = column.filter(pa.array(~valid)).dictionary_encode()
    parsed = [_network(address) for address in others.dictionary.cast(pa.binary()).to_pylist()]
    return pc.replace_with_mask(networks, pa.array(~valid), pa.array(parsed, pa.binary()).take(others.indices))


def _dotted_quads(text: Bytes, lengths: Integers) -> tuple[Flags, Integers]:
    """Tell which rows of 16 characters, of which ``lengths`` count, are IPv4, and how many digits end them."""
    classes = _CLASS[text].view(np.uint64)
    classes &= _KEEP[lengths]
    classes |= _ENDS[lengths]
    characters = np.ascontiguousarray(classes.view(np.uint8).T)
    state = np.full(len(text), _START)
    for character in characters:
        state += character
        state = _NEXT[state]
    last_octet = (state - _ACCEPT) // _CLASSES
    quad = last_octet >= 0
    return quad, _LAST_DIGITS[last_octet * quad]


def _class_c(text: Bytes, prefixes: Integers, valid: Flags) -> pa.Array:
    """Replace what follows the ``prefixes`` bytes up to the third dot by "0/24"."""
    words = text.view(np.uint64)
    words &= _KEEP[prefixes]
    words |= _SUFFIX[prefixes]
    lengths = prefixes + 4
    return binary_array(text[_WITHIN[lengths]], lengths, valid)


def _network(address: bytes | None) -> bytes | None:
    """Return the network of one address, or None."""
    try:
        text = (address or b"").decode()
        if ":" not in text:
            return _class_c_of(int(ipaddress.IPv4Address(text)))
        # The C library reads and writes IPv6 ten times faster than ipaddress; only zones are left to us.
        bare, percent, zone = text.partition("%")
        packed = socket.inet_pton(socket.AF_INET6, bare)
    except (ValueError, OSError):
        return None
    if percent and (not zone or "%" in zone):
        return None
    if packed.startswith(_MAPPED):
        return _class_c_of(int.from_bytes(packed[12:], "big"))
    return socket.inet_ntop(socket.AF_INET6, packed[:6] + bytes(10)).encode() + b"/48"


def _class_c_of(ipv4: int) -> bytes:
    return f"{ipaddress.IPv4Address(ipv4 & 0xFFFFFF00)}/24".encode()
