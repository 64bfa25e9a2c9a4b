from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate_support import small_world, tables_of

from collectors.errors import ConfigError
from collectors.model.batch import LedgerCounts
from collectors.model.event_type import EventType
from collectors.model.event_types import EVENT_TYPES, event_type
from collectors.simulate.faults import FUTURE_SKEW_US, FaultRates, Faults, breakers_of
from collectors.simulate.stream import EventStream
from collectors.simulate.world import DEFAULT_START_US

ALL = FaultRates(
    duplicate=0.02, duplicate_later=0.02, late=0.03, future=0.01, too_old=0.01, invalid=0.05, shuffle=True, delay_s=0.5
)


@pytest.fixture(scope="module")
def clean() -> list:
    return list(EventStream(small_world()).batches(40_000, 500, rate=10_000.0))


def rows_of(batches) -> list[tuple[str, str, dict]]:
    return [(t, k, row) for t, k, batch in batches for row in batch.to_pylist()]


def ids_of(batches) -> Counter:
    return Counter(row["event_id"] for _, _, row in rows_of(batches))


def broken_rules(kind: EventType, row: dict, now: datetime) -> list[str]:
    """Judge a row by the declaration of its type, one value at a time."""
    found = []
    for f in kind.columns:
        value = row[f.name]
        if value is None:
            found += ["missing"] if f.required else []
            continue
        if f.choices and value not in f.choices:
            found.append("not_allowed")
        elif pa.types.is_string(f.type) and len(value.encode()) > f.max_bytes:
            found.append("too_long")
        if f.minimum is not None and value < f.minimum:
            found.append("too_small")
        if f.maximum is not None and value > f.maximum:
            found.append("too_large")
    ahead = row["event_time"] - now
    if ahead.total_seconds() * 1e6 > FUTURE_SKEW_US:
        found.append("in_future")
    if -ahead > kind.horizon:
        found.append("too_old")
    return found


def test_no_faults_change_nothing(clean):
    faults = Faults(FaultRates())
    assert [b for *_, b in faults.apply(clean)] == [b for *_, b in clean]
    assert faults.total == LedgerCounts(offered=40_000, stored=40_000)


def test_an_intake_that_judges_row_by_row_finds_the_counts_told(clean):
    now = DEFAULT_START_US + 60_000_000
    faults = Faults(ALL, seed=3, now_us=lambda: now)
    seen, found = set(), Counter()
    for tenant, kind, row in rows_of(faults.apply(clean)):
        reasons = broken_rules(event_type(kind), row, datetime.fromtimestamp(now / 1e6, UTC))
        assert len(reasons) <= 1
        outcome = reasons[0] if reasons else "duplicate" if row["event_id"] in seen else "stored"
        found[tenant, kind, outcome] += 1
        if not reasons:
            seen.add(row["event_id"])
    told = Counter()
    for (tenant, kind), counts in faults.counts.items():
        told[tenant, kind, "stored"] = counts.clean
        told[tenant, kind, "duplicate"] = counts.duplicates
        told.update({(tenant, kind, reason): n for reason, n in counts.rejected.items()})
        assert counts.ledger.balance == 0
    assert +told == +found
    assert faults.total.offered == found.total()
    assert faults.total.balance == 0
    assert {outcome for *_, outcome in found} == {
        "stored", "duplicate", "missing", "not_allowed", "too_long", "too_small", "too_large", "in_future", "too_old"
    }  # fmt: skip


def test_rates_are_shares_of_the_clean_events(clean):
    faults = Faults(ALL, seed=4)
    for _ in faults.apply(clean):
        pass
    total = faults.total
    assert total.stored == 40_000
    assert total.duplicate == pytest.approx(1_600, abs=200)
    rejected = sum((c.rejected for c in faults.counts.values()), Counter())
    assert rejected["in_future"] == pytest.approx(400, abs=100)
    assert rejected["too_old"] == pytest.approx(400, abs=100)
    assert total.rejected == pytest.approx(2_800, abs=300)
    assert sum(c.late for c in faults.counts.values()) == pytest.approx(1_200, abs=200)


@settings(max_examples=15, deadline=None)
@given(
    st.builds(
        FaultRates,
        *[st.sampled_from([0.0, 0.1, 1.0])] * 6,
        shuffle=st.booleans(),
        delay_s=st.sampled_from([0.0, 0.2, 1e6]),
    )
)
def test_every_clean_event_comes_exactly_as_often_as_told(clean, rates):
    part = clean[:8]
    faults = Faults(rates)
    impure = list(faults.apply(part))
    original, sent = ids_of(part), ids_of(impure)
    assert set(original) <= set(sent)
    assert sum(sent[i] for i in original) == original.total() + faults.total.duplicate
    assert sent.total() == faults.total.offered == sum(b.num_rows for *_, b in impure)
    for _, kind, batch in impure:
        assert batch.schema.equals(EVENT_TYPES[kind].wire_schema)


def test_late_events_are_the_clean_ones_after_their_time(clean):
    faults = Faults(FaultRates(late=0.2, delay_s=0.5))
    impure = tables_of(faults.apply(clean))
    for key, table in tables_of(clean).items():
        assert sorted(impure[key]["event_id"].to_pylist()) == sorted(table["event_id"].to_pylist())
    times = impure["nordic", "playback"]["event_time"].cast(pa.int64()).to_numpy()
    behind = np.maximum.accumulate(times) - times
    late = behind > 0
    assert late.sum() == pytest.approx(faults.counts["nordic", "playback"].late, rel=0.1)
    assert np.median(behind[late]) >= 500_000


def test_what_is_still_held_at_the_end_comes_last(clean):
    held = list(Faults(FaultRates(late=1.0, delay_s=1e6)).apply(clean[:30]))
    assert sorted(ids_of(held)) == sorted(ids_of(clean[:30]))
    assert [k for _, k, _ in held] != [k for _, k, _ in clean[:30]]


def test_later_duplicates_come_after_their_originals_and_are_equal_to_them(clean):
    faults = Faults(FaultRates(duplicate_later=0.1, delay_s=0.3))
    first, again = {}, 0
    for number, (tenant, kind, batch) in enumerate(faults.apply(clean)):
        for row in batch.to_pylist():
            if row["event_id"] in first:
                when, original = first[row["event_id"]]
                assert when < number
                assert original == (tenant, kind, row)
                again += 1
            else:
                first[row["event_id"]] = number, (tenant, kind, row)
    assert again == faults.total.duplicate > 0


def test_immediate_duplicates_are_in_the_same_batch(clean):
    for *_, batch in Faults(FaultRates(duplicate=0.5)).apply(clean[:10]):
        ids = Counter(batch.column("event_id").to_pylist())
        assert set(ids.values()) == {1, 2}


def test_shuffling_only_reorders_rows(clean):
    pairs = list(zip(clean, Faults(FaultRates(shuffle=True)).apply(clean), strict=True))
    assert any(a[2] != b[2] for a, b in pairs)
    for (_, _, before), (_, _, after) in pairs[:40]:
        order = pa.compute.sort_indices(after.column("event_id"))
        assert after.take(order) == before.take(pa.compute.sort_indices(before.column("event_id")))


def test_faults_are_repeatable(clean):
    def run(seed: int) -> list[pa.RecordBatch]:
        return [b for *_, b in Faults(ALL, seed).apply(clean[:30])]

    assert run(1) == run(1)
    assert run(1) != run(2)


@pytest.mark.parametrize("kind", list(EVENT_TYPES))
def test_every_type_has_a_rule_to_break(kind):
    assert {reason for reason, _ in breakers_of(kind)} & {"missing", "too_long"}


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_a_rate_is_a_share(rate):
    with pytest.raises(ConfigError, match="fault rate late"):
        FaultRates(late=rate)
