"""Feed damaged bodies to the decoders; run as a process of its own, because what it looks for are crashes.

Usage: fuzz_decoders.py arrow|ndjson SEED COUNT. Prints how many bodies were decoded and refused.
"""

from __future__ import annotations

import random
import sys
from collections import Counter

import orjson
from arrow_bodies import seeds

from collectors.errors import MalformedBody, TooLarge
from collectors.intake.decode import decode_arrow
from collectors.intake.ndjson import decode_ndjson
from collectors.intake.strict import Lines, decode_strict
from collectors.model.event_types import EVENT_TYPES

WORDS = [0, 1, -1, 8, 64, 2**20, 2**31 - 1, -(2**31)]
LONG_WORDS = [0, 1, -1, 2**31, 2**40, 2**62, -(2**62)]
JSON_PIECES = [b"{", b"}", b"[", b"]", b'"', b",", b":", b"\n", b"}{", b"}\n{", b"null", b" null ", b"NaN", b"1e999"]
JSON_PIECES += [b"\\", b"\\u0000", b"\\ud800", b"\x00", b"\xff", b"\xc3", b"-", b"0", b"9" * 20, b'"event_time":']


def damaged(rng: random.Random, body: bytes) -> bytes:
    data = bytearray(body)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        if not data:
            break
        at = rng.randrange(len(data))
        kind = rng.random()
        if kind < 0.3:
            data[at] = rng.randrange(256)
        elif kind < 0.45:
            data[at] ^= 1 << rng.randrange(8)
        elif kind < 0.7:
            data[at & ~3 : (at & ~3) + 4] = rng.choice([*WORDS, rng.randrange(1000)]).to_bytes(4, "little", signed=True)
        elif kind < 0.85:
            data[at & ~7 : (at & ~7) + 8] = rng.choice(LONG_WORDS).to_bytes(8, "little", signed=True)
        elif kind < 0.9:
            del data[at:]
        else:
            other, length = rng.randrange(len(data)), rng.randrange(64)
            data[at : at + length] = data[other : other + length]
    return bytes(data)


def damaged_text(rng: random.Random, body: bytes) -> bytes:
    data = bytearray(body)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(data) + 1)
        data[at : at + rng.choice([0, 0, 1, 2, 9])] = rng.choice(JSON_PIECES)
    return bytes(data)


def fuzz_arrow(rng: random.Random, count: int) -> Counter[str]:
    bodies = list(seeds())
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        event_type, body = rng.choice(bodies)
        try:
            decoded = decode_arrow(damaged(rng, body), event_type)
        except (MalformedBody, TooLarge) as refusal:
            outcomes[type(refusal).__name__] += 1
        else:
            decoded.table.validate(full=True)
            assert decoded.table.num_rows + len(decoded.bad) == decoded.rows_offered
            outcomes["decoded"] += 1
    return outcomes


def fuzz_ndjson(rng: random.Random, count: int) -> Counter[str]:
    bodies = [(t, b"\n".join([orjson.dumps(t.example)] * n)) for t in EVENT_TYPES.values() for n in (1, 3)]
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        event_type, body = rng.choice(bodies)
        text = damaged_text(rng, body)
        strict = decode_strict(Lines.of(text), event_type)
        tolerant = decode_ndjson(text, event_type)
        if strict is not None:
            assert strict.table.equals(tolerant.table)
            assert strict.bad == tolerant.bad
        outcomes["declined" if strict is None else "decoded"] += 1
    return outcomes


if __name__ == "__main__":
    target, seed, rounds = sys.argv[1:]
    fuzz = {"arrow": fuzz_arrow, "ndjson": fuzz_ndjson}[target]
    print(dict(fuzz(random.Random(int(seed)), int(rounds))))
