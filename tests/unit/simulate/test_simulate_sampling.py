from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.model.event_types import PLAYBACK
from collectors.simulate.local_time import LocalDays, add_months, day_name, month_name
from collectors.simulate.sampling import (
    SLOT_BITS,
    SlotTable,
    apportion,
    event_ids,
    generator,
    hex_text,
    mix64,
    record_batch,
    spread_times,
    unique_names,
    words,
    zipf_weights,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_a_purpose_has_its_own_draws_and_a_seed_repeats_them():
    assert words(generator(1, "a"), 3).tolist() == words(generator(1, "a"), 3).tolist()
    assert words(generator(1, "a"), 3).tolist() != words(generator(1, "b"), 3).tolist()
    assert words(generator(1, "a", 1), 3).tolist() != words(generator(1, "a", 2), 3).tolist()
    assert words(generator(2, "a"), 3).tolist() != words(generator(1, "a"), 3).tolist()


@given(
    st.lists(st.floats(0.001, 1000), min_size=1, max_size=30),
    st.integers(0, 10_000),
)
def test_apportioned_parts_add_up_and_are_off_by_less_than_one(shares, total):
    parts = apportion(shares, total)
    exact = np.array(shares) / sum(shares) * total
    assert parts.sum() == total
    assert (np.abs(parts - exact) < 1 + 1e-6).all()


def test_zipf_weights_fall_with_rank_by_the_given_power():
    weights = zipf_weights(100, 0.8, 5.0)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[9] / weights[89] == pytest.approx((95 / 15) ** 0.8)


def test_a_slot_table_draws_with_the_probabilities_it_states():
    table = SlotTable([0.5, 0.3, 0.2, 1e-9], bits=12)
    assert table.probability.sum() == 1.0
    assert table.probability[3] == 1 / 4096
    every = np.arange(4096, dtype=np.uint64) << np.uint64(7)
    assert (np.bincount(table.pick(every, 7)) / 4096 == table.probability).all()
    drawn = np.bincount(table.draw(generator(1), 100_000), minlength=4) / 100_000
    assert np.allclose(drawn, table.probability, atol=0.01)


def test_a_slot_table_can_draw_other_things_than_positions():
    table = SlotTable([1, 1], bits=2, items=[40, 700])
    assert set(table.draw(generator(1), 50).tolist()) == {40, 700}


def test_a_slot_table_has_a_largest_size():
    with pytest.raises(ValueError, match="at most"):
        SlotTable([1.0], bits=SLOT_BITS + 1)


@given(st.integers(0, 200), st.integers(0, 10**16), st.integers(0, 10**9))
def test_spread_times_ascend_one_in_each_equal_part(n, start, length):
    times = spread_times(generator(3), n, start, start + length)
    assert len(times) == n
    assert (np.diff(times) >= 0).all()
    if n:
        assert times[0] >= start
        assert times[-1] <= start + max(length - 1, 0) or length == 0
        part = length / n
        assert (np.abs(times - start - (np.arange(n) + 0.5) * part) <= part / 2 + 1).all()


def test_event_ids_are_random_uuids_of_version_4():
    ids = [uuid.UUID(bytes=raw) for raw in event_ids(generator(5), 500).to_pylist()]
    assert len(set(ids)) == 500
    assert {(i.version, i.variant) for i in ids} == {(4, uuid.RFC_4122)}


def test_names_are_unique_and_of_one_width():
    names = unique_names(generator(1), 900, "u-", 2).to_pylist()
    assert len(set(names)) == 900
    assert {len(name) for name in names} == {4}
    assert all(name.startswith("u-") for name in names)
    with pytest.raises(ValueError, match="there are not"):
        unique_names(generator(1), 33, "u-", 1)


def test_hex_text_writes_the_bytes_of_a_key():
    keys = np.array([0x0123456789ABCDEF, 2**64 - 1], dtype=np.uint64)
    expected = [int(k).to_bytes(8, "little").hex() for k in keys]
    assert hex_text(keys).to_pylist() == expected
    assert hex_text(keys, "in-").to_pylist() == [f"in-{e}" for e in expected]


def test_mix64_is_one_to_one_and_agrees_with_plain_integers():
    def plain(z: int) -> int:
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return z ^ z >> 31

    keys = np.concatenate([np.arange(1000, dtype=np.uint64), words(generator(1), 1000)])
    assert mix64(keys).tolist() == [plain(k) for k in keys.tolist()]
    assert len(set(mix64(keys).tolist())) == 2000


def test_columns_that_are_not_given_are_null():
    batch = record_batch(PLAYBACK, generator(1), np.array([5, 6]), {"user_id": pa.array(["a", "b"])})
    assert batch.schema.equals(PLAYBACK.wire_schema)
    assert batch.column("event_time").cast(pa.int64()).to_pylist() == [5, 6]
    assert batch.column("track_id").null_count == 2


ZONES = ("Europe/Stockholm", "America/New_York", "Asia/Tokyo", "America/Sao_Paulo", "Australia/Lord_Howe", "UTC")


@settings(max_examples=60)
@given(st.sampled_from(ZONES), st.lists(st.integers(0, 2**31), min_size=1, max_size=20))
def test_local_days_are_those_of_the_zone_database(zone, seconds):
    times = np.array(seconds, dtype=np.int64) * 1_000_000
    local = [datetime.fromtimestamp(s, ZoneInfo(zone)) for s in seconds]
    calendar = LocalDays(zone)
    assert [day_name(d) for d in calendar.days(times).tolist()] == [t.date().isoformat() for t in local]
    assert [month_name(m) for m in calendar.months(times).tolist()] == [f"{t:%Y-%m}" for t in local]
    assert calendar.day(int(times[0])) == (local[0].date() - EPOCH.date()).days


def test_days_looked_up_step_by_step_stay_right():
    calendar, fresh = LocalDays("Europe/Stockholm"), None
    for hours in (0, 24 * 90, 24 * 40, -24 * 400):
        times = np.array([1_767_225_600 + hours * 3600], dtype=np.int64) * 1_000_000
        fresh = LocalDays("Europe/Stockholm")
        assert calendar.days(times).tolist() == fresh.days(times).tolist()
    assert calendar.days(np.empty(0, dtype=np.int64)).tolist() == []


def test_a_month_begins_at_local_midnight():
    calendar = LocalDays("America/New_York")
    month = int(np.datetime64("2025-11", "M").astype(int))
    start = datetime.fromtimestamp(calendar.month_start_us(month) / 1e6, ZoneInfo("America/New_York"))
    assert start == datetime(2025, 11, 1, tzinfo=ZoneInfo("America/New_York"))


@given(st.integers(7_300, 43_800), st.integers(0, 86_399_999_999), st.integers(-30, 30))
def test_adding_months_keeps_day_and_time_of_day(day, micros, months):
    when = EPOCH + timedelta(days=day, microseconds=micros)
    when = when.replace(day=min(when.day, 28))
    number = when.year * 12 + when.month - 1 + months
    expected = when.replace(year=number // 12, month=number % 12 + 1)
    start = np.array([(when - EPOCH) // timedelta(microseconds=1)])
    assert add_months(start, months).tolist() == [(expected - EPOCH) // timedelta(microseconds=1)]
