"""Rules, and chunks turned into events: judged by the decoder that the events are for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.cli.importing.convert import Reading
from collectors.cli.importing.files import Chunk
from collectors.cli.importing.mapping import Mapper, Rule, parse_rule
from collectors.errors import ConfigError
from collectors.intake.decode import decode_arrow
from collectors.intake.ndjson import decode_ndjson
from collectors.model.event_types import EVENT_TYPES
from collectors.simulate.encode import to_ipc

PAYMENT = EVENT_TYPES["payment"]
SALES = ("customer", "date", "cds", "amount")
SALE_RULES = (
    "customer=customer_id",
    "date=event_time",
    "amount=amount_minor*100",
    "currency:=USD",
    "kind:=charge",
    "payment_id:=sale-{customer}-{row}",
)


def _chunk(columns: Mapping[str, Sequence[Any]], unreadable: tuple[bytes, ...] = ()) -> Chunk:
    arrays = {name: pa.array(values) for name, values in columns.items()}
    return Chunk(arrays, len(next(iter(arrays.values()), ())), unreadable, 1.0)


def _mapper(rules: Sequence[str], names: Sequence[str], kind: str = "payment", **options: Any) -> Mapper:
    reading = options.pop("reading", Reading("%Y%m%d"))
    return Mapper(EVENT_TYPES[kind], [parse_rule(r) for r in rules], names, reading, identity="file", **options)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a=b", Rule("b", "a")),
        (" a = b ", Rule("b", " a ")),
        ("a=b*100", Rule("b", "a", Decimal(100))),
        ("a=b * 0.01", Rule("b", "a", Decimal("0.01"))),
        ("x=y=b", Rule("b", "x=y")),
        ("b:=", Rule("b", template=(("", None),))),
        ("b:=EUR", Rule("b", template=(("EUR", None),))),
        ("b:=a=c", Rule("b", template=(("a=c", None),))),
        ("b:=p-{row}-{x y}!", Rule("b", template=(("p-", "row"), ("-", "x y"), ("!", None)))),
        ("b:={{x}}", Rule("b", template=(("{", None), ("x}", None)))),
    ],
)
def test_rules_are_read(text: str, rule: Rule) -> None:
    assert parse_rule(text) == rule


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a", "maps nothing"),
        ("=b", "maps nothing"),
        ("a=", "maps nothing"),
        ("a=b*", "is no factor"),
        ("a=b*x", "is no factor"),
        ("a=b*0", "is no factor"),
        ("a=b*NaN", "is no factor"),
        ("a=b*1e11", "is no factor"),
        ("a=b*0.00000000001", "is no factor"),
        ("b:={x", "braces"),
    ],
)
def test_rules_that_say_nothing_are_told(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_rule(text)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (["customer=custmer_id"], "no field 'custmer_id'.*did you mean customer_id"),
        (["x=amount_minor"], "no column 'x'.*the columns are: customer, date"),
        (["custumer=customer_id"], "did you mean customer"),
        (["payment_id:={amout}"], "no column 'amout'.*did you mean amount"),
        (["cds=amount_minor", "amount=amount_minor"], "amount_minor is mapped twice"),
        (["customer=customer_id"], "payment_id, kind, amount_minor, currency, which payment needs"),
    ],
)
def test_mappings_that_cannot_work_are_told_before_anything_is_read(rules: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _mapper(rules, SALES)


def test_events_are_what_the_decoder_takes() -> None:
    mapper = _mapper(SALE_RULES, SALES)
    sales = {
        "customer": ["00004", "00004"],
        "date": ["19970101", "19970118"],
        "cds": ["2", "1"],
        "amount": ["29.33", "0.005"],
    }
    mapped = mapper.apply(_chunk(sales))
    assert (mapped.bad, list(mapped.numbers)) == ((), [1, 2])
    decoded = decode_arrow(to_ipc(mapped.events), PAYMENT)
    assert not decoded.bad
    rows = decoded.table.to_pylist()
    assert [row["amount_minor"] for row in rows] == [2933, 0]
    assert [row["payment_id"] for row in rows] == ["sale-00004-1", "sale-00004-2"]
    assert [row["event_time"].isoformat() for row in rows] == ["1997-01-01T00:00:00+00:00", "1997-01-18T00:00:00+00:00"]
    assert [json.loads(row["properties"]) for row in rows] == [{"cds": "2"}, {"cds": "1"}]
    assert [row["event_id"] for row in rows] == ["file/payment/1", "file/payment/2"]


def test_other_columns_can_be_left_out() -> None:
    mapped = _mapper(SALE_RULES, SALES, only_mapped=True).apply(
        _chunk({"customer": ["a"], "date": ["19970101"], "cds": ["2"], "amount": ["1"]})
    )
    assert "cds" not in mapped.events.schema.names


def test_columns_called_like_fields_need_no_rule() -> None:
    names = ("user_id", "track_id", "ms_played", "skipped", "event_id")
    mapper = _mapper([], names, "playback")
    mapped = mapper.apply(
        _chunk({"user_id": ["u"], "track_id": ["t"], "ms_played": [5], "skipped": [True], "event_id": ["mine"]})
    )
    (row,) = decode_arrow(to_ipc(mapped.events), EVENT_TYPES["playback"]).table.to_pylist()
    assert (row["user_id"], row["track_id"], row["ms_played"], row["skipped"]) == ("u", "t", 5, True)
    assert row["event_id"] == "mine"


def test_a_rule_goes_before_a_column_of_the_field_s_name() -> None:
    mapper = _mapper(["other=track_id"], ("track_id", "other", "ms_played"), "playback")
    mapped = mapper.apply(_chunk({"track_id": ["x"], "other": ["y"], "ms_played": [1]}))
    assert mapped.events.column("track_id").to_pylist() == ["y"]
    assert "x" not in str(mapped.events.to_pydict())


def test_bad_rows_are_told_and_keep_what_the_file_has() -> None:
    mapper = _mapper(SALE_RULES, SALES)
    sales = {
        "customer": ["a", "b", "c", "d"],
        "date": ["19970101", "soon", "19970103", "19970104"],
        "cds": ["1", "2", None, "4"],
        "amount": ["1", "2", "three", "4"],
    }
    mapped = mapper.apply(_chunk(sales, (b"a line that broke",)))
    assert list(mapped.numbers) == [1, 4]
    assert mapped.events.column("customer_id").to_pylist() == ["a", "d"]
    assert [(bad.row, bad.reason) for bad in mapped.bad] == [
        (0, "the line can't be read"),
        (2, "column date is no time for event_time"),
        (3, "column amount is no whole number for amount_minor"),
    ]
    assert mapped.bad[0].raw == b"a line that broke"
    third = json.loads(mapped.bad[2].raw)
    assert (third["amount_minor"], third["event_time"]) == ("three", "1997-01-03T00:00:00+00:00")
    assert third["event_id"] == "file/payment/3"
    # Intake refuses just these, so that they become dead letters and can be mended.
    decoded = decode_ndjson(b"\n".join(bad.raw for bad in mapped.bad), PAYMENT)
    assert [bad.code for bad in decoded.bad] == ["not_json", "wrong_type:event_time", "wrong_type:amount_minor"]


def test_bad_rows_with_bytes_in_them_can_be_written() -> None:
    mapper = _mapper(["ms=ms_played"], ("track_id", "ms", "blob"), "playback")
    mapped = mapper.apply(_chunk({"track_id": ["t"], "ms": ["x"], "blob": [b"\xff"]}))
    assert json.loads(mapped.bad[0].raw)["blob"] == "ff"


def test_bad_rows_keep_maps_as_objects() -> None:
    mapper = _mapper([], ("model", "prediction_id", "score", "features"), "prediction")
    columns = {"model": ["m"], "prediction_id": ["p"], "score": ["x"], "features": ['{"a": 1.5}']}
    assert json.loads(mapper.apply(_chunk(columns)).bad[0].raw)["features"] == {"a": 1.5}


def test_a_value_missing_in_a_template_leaves_the_field_missing() -> None:
    mapper = _mapper(["session_id:=s-{x}", "source:=fixed"], ("track_id", "ms_played", "x"), "playback")
    mapped = mapper.apply(_chunk({"track_id": ["t", "t"], "ms_played": [1, 2], "x": ["1", None]}))
    assert mapped.events.column("session_id").to_pylist() == ["s-1", None]
    assert mapped.events.column("source").to_pylist() == ["fixed", "fixed"]


def test_columns_that_later_chunks_lack_are_missing_there() -> None:
    mapper = _mapper(["s=session_id"], ("track_id", "ms_played", "s", "rest"), "playback")
    mapped = mapper.apply(_chunk({"track_id": ["t"], "ms_played": [1]}))
    assert mapped.events.column("session_id").to_pylist() == [None]
    bad = mapper.apply(_chunk({"track_id": ["t"], "ms_played": ["x"]})).bad
    assert json.loads(bad[0].raw) == {"track_id": "t", "ms_played": "x", "event_id": "file/playback/2"}


@given(st.lists(st.sampled_from(["1", "2.5", "x", ""]), min_size=1, max_size=30), st.integers(1, 30))
def test_rows_have_the_same_ids_whatever_the_chunks(amounts: list[str], size: int) -> None:
    def ids(size: int) -> dict[str, str]:
        mapper = _mapper(SALE_RULES, SALES)
        found = {}
        for start in range(0, len(amounts), size):
            part = amounts[start : start + size]
            n = len(part)
            mapped = mapper.apply(
                _chunk({"customer": ["c"] * n, "date": ["19970101"] * n, "cds": ["1"] * n, "amount": part})
            )
            names = mapped.events.column("event_id").to_pylist()
            found |= {name: str(number) for name, number in zip(names, mapped.numbers, strict=True)}
            found |= {json.loads(bad.raw)["event_id"]: str(bad.row) for bad in mapped.bad}
        return found

    assert ids(size) == ids(1000)
    assert ids(size) == {f"file/payment/{i}": str(i) for i in range(1, len(amounts) + 1)}
