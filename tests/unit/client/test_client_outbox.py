"""The state machine that holds the events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from intake_double import QuickClock

from collectors.client.answers import Receipt
from collectors.client.outbox import Outbox
from collectors.client.packing import Parcel
from collectors.client.report import Stats
from collectors.errors import BadInput, TooLarge, UnknownName


class Box(Outbox):
    def __init__(self, **options) -> None:
        self.clock = QuickClock()
        self.woken = 0
        defaults = {"batch_rows": 3, "linger_seconds": 2.0, "max_bytes": 100_000, "clock": self.clock}
        super().__init__(**{**defaults, **options}, wake=self.wake_up)

    def wake_up(self) -> None:
        self.woken += 1

    def send(self, name="label", **fields) -> bool:
        stream = self.stream(name)
        row = {"prediction_id": "p", "value": 1, **fields}
        return self.add(stream, row, stream.schema.check(row))

    def send_rows(self, count) -> bool:
        return self.add_all(self.check_rows("label", [{"prediction_id": "p", "value": 1}] * count))

    def pack(self) -> None:
        self.packed(self.next_chunk().pack(None))

    def chunk_rows(self):
        return [chunk.rows for chunk in self._chunks]


def on_disk(parcel: Parcel) -> Parcel:
    return replace(parcel, body=None, path=Path("file"))


def test_rows_are_sealed_when_there_are_enough():
    box = Box()
    for _ in range(7):
        box.send()
    assert box.chunk_rows() == [3, 3]
    assert box.stats() == Stats(offered=7, buffered=7)


def test_rows_are_sealed_when_they_are_large_enough():
    box = Box(max_bytes=10**9, batch_rows=10**6)
    for _ in range(5):
        box.send("log", message="m" * 3 * 2**20)
    assert box.chunk_rows() == [3]


def test_rows_are_sealed_when_they_lingered():
    box = Box()
    box.send()
    assert box.seal_due() == 2.0
    box.clock.elapsed = 1.5
    box.send()
    assert box.seal_due() == 0.5
    box.clock.elapsed = 2.0
    assert box.seal_due() is None
    assert box.chunk_rows() == [2]


def test_the_engine_is_woken_for_the_first_row_and_for_each_chunk():
    box = Box()
    woken = []
    for _ in range(6):
        box.send()
        woken.append(box.woken)
    assert woken == [1, 1, 2, 3, 3, 4]


def test_types_are_collected_apart():
    box = Box()
    for _ in range(2):
        box.send()
        box.add(box.stream("log"), {"message": "m", "event_time": 1}, 600)
    box.seal_all()
    assert [c.schema.event_type.name for c in box._chunks] == ["label", "log"]


def test_an_unknown_type_is_refused():
    with pytest.raises(UnknownName, match="there is no event type 'playbck'"):
        Box().stream("playbck")


def test_what_finds_no_room_is_not_taken():
    box = Box(max_bytes=2000)
    assert [box.send() for _ in range(5)] == [True, True, True, False, False]
    assert not box.has_room(600)
    assert not box.send_rows(1)
    assert box.stats() == Stats(offered=3, buffered=3)
    box.pack()
    box.settle(Receipt(3, 0, 0, 0))
    assert box.send()


def test_many_rows_are_taken_together_or_not_at_all():
    box = Box(max_bytes=3000)
    assert box.send_rows(4)
    assert box.chunk_rows() == [3, 1]
    assert not box.send_rows(2)
    assert box.stats().offered == 4
    with pytest.raises(TooLarge, match="send fewer at once"):
        box.send_rows(10)


def test_a_bad_row_among_many_is_named_and_none_is_taken():
    box = Box()
    rows = [{"prediction_id": "p", "value": 1}, {"prediction_id": "p", "value": "x"}]
    with pytest.raises(BadInput, match=r"row 1: label.value must be a number .*; none of the rows was taken"):
        box.check_rows("label", rows)
    assert box.stats() == Stats()
    assert rows[0] == {"prediction_id": "p", "value": 1}


def test_nothing_is_no_batch():
    box = Box()
    assert box.send_rows(0)
    assert box.add_all(
        box.check_table(
            "label", pa.table({"prediction_id": pa.array([], pa.string()), "value": pa.array([], pa.float64())})
        )
    )
    assert box.chunk_rows() == []


def table(rows):
    return pa.table({"prediction_id": ["p"] * rows, "value": [1.0] * rows})


def test_a_table_is_cut_into_batches_without_copying():
    box = Box(max_bytes=10**9, batch_rows=100)
    whole = table(250)
    box.add_all(box.check_table("label", whole))
    assert box.chunk_rows() == [100, 100, 50]
    first = box.next_chunk().content["prediction_id"]
    assert first.buffers()[2].address == whole["prediction_id"].chunk(0).buffers()[2].address


def test_a_table_of_large_rows_is_cut_by_size():
    box = Box(max_bytes=10**9, batch_rows=1000)
    box.add_all(box.check_table("log", pa.table({"message": ["m" * 2**20] * 20})))
    assert len(box.chunk_rows()) >= 3
    assert sum(box.chunk_rows()) == 20


def test_a_table_of_many_small_chunks_does_not_become_many_small_requests():
    box = Box(max_bytes=10**9, batch_rows=100)
    box.add_all(box.check_table("label", pa.concat_tables([table(2)] * 100)))
    assert box.chunk_rows() == [100, 100]


def test_a_table_beyond_the_buffer_is_refused():
    with pytest.raises(TooLarge):
        Box(max_bytes=500).check_table("label", table(1000))


def test_a_closed_outbox_takes_nothing():
    box = Box()
    box.close()
    assert box.closed
    assert not box.send()
    assert not box.send_rows(1)


def test_a_ticket_is_settled_once_all_before_it_is():
    box = Box()
    first = box.seal_all()
    assert box.is_settled(first)
    box.send_rows(3)
    second = box.seal_all()
    box.send_rows(3)
    assert (box.is_settled(first), box.is_settled(second)) == (True, False)
    box.pack()
    assert not box.is_settled(second)
    box.settle(Receipt(3, 0, 0, 0))
    assert box.is_settled(second)
    assert not box.is_settled(box.seal_all())


def test_what_was_recovered_comes_first_and_counts_as_offered():
    box = Box()
    box.recover([Parcel(t, "a", "label", 5, "k", 9, path=Path("f")) for t in (40, 3)])
    box.send_rows(3)
    box.pack()
    assert [p.ticket for p in box.parcels()] == [40, 3, 41]
    assert not box.is_settled(box.seal_all())
    assert box.stats() == Stats(offered=13, spooled=10, buffered=3, recovered=10)


STEPS = ("send", "send_rows", "seal", "pack", "pack_to_disk", "settle", "fail", "split", "to_disk", "recover", "close")


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), max_size=60))
def test_every_event_is_accounted_for_after_every_step(steps):
    box = Box(max_bytes=8000)
    offered = settled = recovered = 0
    for step, number in steps:
        head = box.head()
        chunk = box.next_chunk()
        if step == "send":
            offered += box.send()
        elif step == "send_rows":
            offered += number * box.send_rows(number)
        elif step == "seal":
            box.seal_all()
        elif step == "recover":
            box.recover([Parcel(1, "a", "label", number, "k", 9, path=Path("f"))])
            recovered += number
        elif step == "close":
            box.close()
        elif step == "pack" and chunk:
            box.pack()
        elif step == "pack_to_disk" and chunk:
            box.packed([on_disk(p) for p in chunk.pack(None)])
        elif step == "settle" and head:
            parts = [head.rows // 4] * 3
            box.settle(Receipt(*parts, head.rows - sum(parts)))
            settled += head.rows
        elif step == "fail" and head:
            place = number % len(box.parcels())
            settled += box.parcels()[place].rows
            box.fail(place)
        elif step == "split" and head and head.body and head.rows > 1:
            box.replace(0, head.halves(head.body))
        elif step == "to_disk" and head:
            place = number % len(box.parcels())
            box.replace(place, [on_disk(box.parcels()[place])])
        stats = box.stats()
        waiting = box.parcels()
        building = sum(len(s.rows) for s in box.streams.values())
        in_memory = [p for p in waiting if p.body is not None]
        assert stats.balance == 0
        assert (stats.offered, stats.recovered) == (offered + recovered, recovered)
        assert stats.spooled == sum(p.rows for p in waiting if p.path is not None)
        assert stats.buffered == building + sum(box.chunk_rows()) + sum(p.rows for p in in_memory)
        assert stats.offered - stats.spooled - stats.buffered == settled
        raw = sum(s.size for s in box.streams.values()) + sum(c.size for c in box._chunks)
        assert box.bytes == raw + sum(p.size for p in in_memory)
