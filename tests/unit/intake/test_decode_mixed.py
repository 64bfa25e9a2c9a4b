"""NDJSON whose lines say what they are."""

from __future__ import annotations

import json
import random

import orjson
import pytest
from decode_oracle import rows_of
from hypothesis import given
from hypothesis import strategies as st

from collectors.errors import TooLarge
from collectors.intake.decoded import DecodedMany, Limits
from collectors.intake.mixed import decode_mixed
from collectors.model.event_types import EVENT_TYPES

NAMES = list(EVENT_TYPES)


def line(name: str, **members: object) -> bytes:
    return orjson.dumps({"type": name, **EVENT_TYPES[name].example, **members})


def split_by_hand(body: bytes) -> tuple[dict[str, dict[int, dict[str, object]]], set[int]]:
    """Return by type and line what each line holds, and the lines that belong nowhere."""
    by_type: dict[str, dict[int, dict[str, object]]] = {}
    homeless = set()
    for number, text in enumerate(body.split(b"\n")):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
            name = row.pop("type")
        except (ValueError, KeyError, AttributeError, TypeError):
            homeless.add(number)
            continue
        if isinstance(name, str) and name in EVENT_TYPES:
            by_type.setdefault(name, {})[number] = row
        else:
            homeless.add(number)
    return by_type, homeless


def assert_sorted_right(decoded: DecodedMany, body: bytes) -> None:
    by_type, homeless = split_by_hand(body)
    assert decoded.by_type.keys() == by_type.keys()
    assert {b.row for b in decoded.bad} == homeless
    for name, expected in by_type.items():
        mine = decoded.by_type[name]
        rows = rows_of(mine)
        assert mine.rows_offered == len(expected)
        assert rows.keys() | {b.row for b in mine.bad} == expected.keys()
        assert mine.table.schema.names == EVENT_TYPES[name].wire_schema.names
        fields = [f.name for f in EVENT_TYPES[name].fields if f.name in expected[min(expected)]]
        for number, row in rows.items():
            for field in fields:
                got = dict(row[field]) if field == "features" else row[field]
                assert got == expected[number].get(field)
    assert decoded.rows_offered == sum(len(rows) for rows in by_type.values()) + len(homeless)


def test_lines_are_sorted_by_type_and_keep_their_numbers() -> None:
    body = b"\n".join(
        [
            line("playback"),
            b"",
            line("label"),
            line("playback", unknown=1),
            b'{"track_id":"t"}',
            b'{"type":"nothing"}',
            b'{"type":7}',
            b"[]",
            b"{",
            line("label", value="x"),
            line("prediction"),
        ]
    )
    decoded = decode_mixed(body)
    assert_sorted_right(decoded, body)
    assert [(b.row, b.code) for b in decoded.bad] == [
        (4, "no_type"),
        (5, "unknown_type"),
        (6, "no_type"),
        (7, "not_object"),
        (8, "not_json"),
    ]
    assert [b.raw for b in decoded.bad[:2]] == [b'{"track_id":"t"}', b'{"type":"nothing"}']
    playback = decoded.by_type["playback"]
    assert playback.row_numbers is not None
    assert playback.row_numbers.tolist() == [0, 3]
    assert playback.table.column("properties").to_pylist() == [None, '{"unknown":1}']
    assert [(b.row, b.code) for b in decoded.by_type["label"].bad] == [(9, "wrong_type:value")]
    assert decoded.by_type["label"].bad[0].raw == line("label", value="x")


def test_an_empty_body_has_no_types() -> None:
    assert decode_mixed(b"") == DecodedMany({}, (), 0)


def test_more_lines_than_the_limit_are_refused() -> None:
    for count in (4, 2000):
        with pytest.raises(TooLarge):
            decode_mixed(b"\n".join([line("playback")] * count), Limits(max_rows=3))


def long_body(rng: random.Random, odd: float) -> bytes:
    """Return a body that is long enough for the strict lane, with some lines it has to decline."""
    lines = []
    for _ in range(600):
        name = rng.choice(NAMES[:6])
        text = line(name, source="é" if rng.random() < 0.3 else "app")
        if rng.random() < odd:
            text = rng.choice(
                [
                    line(name, properties={"type": "payment"}),
                    b'{"user_id":"\\"type\\":\\"payment\\"","type":"%s"}' % name.encode(),
                    b'{"properties":{"type":"auth"},"type":"%s"}' % name.encode(),
                    b'{"type" : "%s", "user_id":"u"}' % name.encode(),
                    b'{"type":"payment","type":"%s"}' % name.encode(),
                    b'{"typ\\u0065":"%s"}' % name.encode(),
                    b'{"user_id":"u"}',
                    b'{"type":null}',
                    b"",
                    b"{",
                ]
            )
        lines.append(text)
    return b"\n".join(lines) + rng.choice([b"", b"\n"])


@pytest.mark.parametrize("odd", [0.0, 0.002, 0.02, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_long_bodies_are_sorted_the_same_way(seed: int, odd: float) -> None:
    body = long_body(random.Random(seed), odd)
    assert len(body) > 40_000
    assert_sorted_right(decode_mixed(body), body)


def test_a_member_that_only_looks_like_the_type_does_not_decide() -> None:
    lines = [b'{"properties":{"type":"payment"},"type":"playback","track_id":"t%d"}' % i for i in range(1500)]
    decoded = decode_mixed(b"\n".join(lines))
    assert decoded.by_type.keys() == {"playback"}
    assert decoded.by_type["playback"].table.num_rows == 1500


def test_parts_that_went_different_ways_come_back_in_the_order_of_the_lines() -> None:
    lines = [line("playback", track_id=f"t-{i}", ms_played=i) for i in range(800)]
    for i in (5, 400, 799):
        lines[i] = b'{"user_id":"\\"type\\":\\"x\\"","type":"playback","ms_played":%d,"foo":1}' % i
    lines[6] = b'{"user_id":"\\"type\\":\\"x\\"","type":"playback","ms_played":"?"}'
    lines[7] = line("playback", event_time="never")
    decoded = decode_mixed(b"\n".join(lines)).by_type["playback"]
    assert decoded.table.column("ms_played").to_pylist() == [i for i in range(800) if i not in (6, 7)]
    assert decoded.row_numbers is not None
    assert decoded.row_numbers.tolist() == [i for i in range(800) if i not in (6, 7)]
    assert [b.row for b in decoded.bad] == [6, 7]
    assert decoded.rows_offered == 800


def test_a_body_beyond_what_arrow_can_count_is_sorted_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.intake.mixed.MAX_BYTES", 10)
    body = long_body(random.Random(9), 0.1)
    assert_sorted_right(decode_mixed(body), body)


@given(st.lists(st.sampled_from([*(line(n) for n in NAMES[:4]), b"", b"{}", b"[", b'{"type":"x"}', b'{"type":[]}'])))
def test_every_line_is_accounted_for_once(lines: list[bytes]) -> None:
    body = b"\n".join(lines)
    assert_sorted_right(decode_mixed(body), body)
