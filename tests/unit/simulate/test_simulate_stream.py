from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate_support import Run, small_world, tables_of

from collectors.errors import ConfigError
from collectors.model.event_types import EVENT_TYPES
from collectors.simulate.encode import to_ipc
from collectors.simulate.stream import MIX, EventStream
from collectors.simulate.world import DEFAULT_START_US

STANDARD_MIX = {
    ("playback",): 0.70,
    ("app_event",): 0.10,
    ("recommendation", "feedback"): 0.05,
    ("prediction", "label"): 0.05,
    ("api_request",): 0.05,
    ("auth",): 0.02,
    ("subscription", "payment"): 0.01,
    ("exposure", "outcome"): 0.01,
    ("audit",): 0.01,
}


@pytest.fixture(scope="module")
def world():
    return small_world()


def us(column) -> np.ndarray:
    return pc.cast(column, pa.int64()).to_numpy()


def bytes_of(batches) -> bytes:
    return b"".join(f"{t} {k} ".encode() + to_ipc(b) for t, k, b in batches)


def test_the_mix_is_the_standard_one():
    shares = dict(MIX)
    assert sum(shares.values()) == pytest.approx(1.0)
    for kinds, share in STANDARD_MIX.items():
        assert sum(shares.pop(k) for k in kinds) == pytest.approx(share)
    assert not shares


def test_every_tenant_and_type_gets_its_share_to_within_one_event(live: Run):
    counts = {key: t.num_rows for key, t in live.tables.items()}
    assert sum(counts.values()) == 100_000
    for tenant in live.world.tenants.values():
        for kind, share in MIX:
            assert abs(counts[tenant.id, kind] - 100_000 * tenant.share * share) <= 1


@settings(max_examples=15, deadline=None)
@given(n=st.integers(0, 2_000), rows=st.integers(5, 700))
def test_shares_hold_for_any_number_of_events_and_batch_size(world, n, rows):
    counts = Counter()
    for tenant, kind, batch in EventStream(world).batches(n, rows):
        assert 0 < batch.num_rows <= rows
        counts[tenant, kind] += batch.num_rows
    assert counts.total() == n
    for tenant in world.tenants.values():
        for kind, share in MIX:
            assert abs(counts[tenant.id, kind] - n * tenant.share * share) <= 1.5


def test_shares_hold_at_any_time_as_far_as_full_batches_allow(world):
    counts, total = Counter(), 0
    for tenant, kind, batch in islice(EventStream(world).batches(None, 200), 300):
        counts[tenant, kind] += batch.num_rows
        total += batch.num_rows
        assert batch.num_rows == 200
    playback = sum(n for (_, kind), n in counts.items() if kind == "playback")
    assert playback / total == pytest.approx(0.7, abs=0.03)


def test_batches_have_the_wire_schema_and_are_valid(live: Run):
    seen = set()
    for tenant, kind, batch in live.batches:
        assert tenant in live.world.tenants
        assert batch.schema.equals(EVENT_TYPES[kind].wire_schema, check_metadata=True)
        if (tenant, kind) not in seen:
            batch.validate(full=True)
            seen.add((tenant, kind))
    assert {kind for _, kind in seen} == {kind for kind, _ in MIX}


@pytest.mark.parametrize("which", ["live", "past"])
def test_every_value_keeps_the_rules_of_its_type(which, request):
    run: Run = request.getfixturevalue(which)
    for (_, kind), table in run.tables.items():
        for f in EVENT_TYPES[kind].columns:
            column = table.column(f.name)
            if f.required:
                assert column.null_count == 0, (kind, f.name)
            if f.minimum is not None and column.null_count < len(column):
                assert pc.min(column).as_py() >= f.minimum
            if f.maximum is not None and column.null_count < len(column):
                assert pc.max(column).as_py() <= f.maximum
            if f.choices:
                assert set(pc.unique(column).to_pylist()) <= {*f.choices, None}
            if pa.types.is_string(f.type) and column.null_count < len(column):
                assert pc.max(pc.binary_length(column)).as_py() <= f.max_bytes


@pytest.mark.parametrize("which", ["live", "past"])
def test_event_ids_never_repeat(which, request):
    run: Run = request.getfixturevalue(which)
    ids = [raw for *_, batch in run.batches for raw in batch.column("event_id").to_pylist()]
    assert len(set(ids)) == len(ids) == run.truth.total


def test_times_ascend_within_a_type_and_follow_the_rate(live: Run):
    for (_, kind), table in live.tables.items():
        times = us(table.column("event_time"))
        assert times.min() >= DEFAULT_START_US
        assert times.max() <= DEFAULT_START_US + 20_000_000
        if kind not in {"label", "feedback", "outcome"}:
            assert (np.diff(times) >= 0).all()
        if kind == "playback":
            assert times.max() - times.min() > 19_000_000


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    first, again, other = (bytes_of(EventStream(small_world(seed)).batches(20_000, 500)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_past_is_repeatable_and_the_stream_that_follows_it_too():
    def run(seed: int) -> bytes:
        stream = EventStream(small_world(seed, users=500))
        return bytes_of(stream.history(5, months=3)) + bytes_of(stream.batches(2_000, 100))

    assert run(4) == run(4)
    assert run(4) != run(5)


def test_a_stream_goes_on_where_it_stopped(world):
    stream = EventStream(world)
    first, second = (tables_of(stream.batches(10_000, 100, rate=1_000.0)) for _ in range(2))
    for key, table in first.items():
        assert us(table.column("event_time")).max() <= us(second[key].column("event_time")).min() + 10_000_000
    assert us(second["nordic", "playback"].column("event_time")).min() >= DEFAULT_START_US + 10_000_000
    assert stream.truth.total == 20_000


def test_times_of_a_clock_are_up_to_now(world):
    ticks = iter(range(10**15, 10**16, 1_000_000))
    last = 10**15
    for *_, batch in EventStream(world).batches(5_000, 50, now_us=lambda: next(ticks)):
        times = us(batch.column("event_time"))
        assert times.min() >= 10**15
        last = max(last, int(times.max()))
    assert last < 10**15 + 101 * 1_000_000


def test_rare_types_wait_for_a_full_batch_unless_they_get_stale(world):
    patient = Counter(k for _, k, _ in islice(EventStream(world).batches(None, 500, rate=5_000), 40))
    assert patient["audit"] == 0
    hasty = EventStream(world).batches(50_000, 500, rate=5_000, flush_s=1.0)
    longest, rows = 0, []
    for _, kind, batch in hasty:
        times = us(batch.column("event_time"))
        if kind == "audit":
            rows.append(batch.num_rows)
        if kind not in {"label", "feedback", "outcome"}:
            longest = max(longest, int(times[-1] - times[0]))
    assert max(rows) < 500
    assert longest <= 1_200_000


def columns(table: pa.Table, *names: str):
    """Rows of some columns, then of the event time in microseconds."""
    return zip(*(table[n].to_pylist() for n in names), us(table["event_time"]).tolist(), strict=True)


def test_answers_come_after_what_they_answer(live: Run):
    metric_of = {e.name: e.metric for e in live.world.experiments}
    for tenant in live.world.tenants:
        tables = {kind: live.tables[tenant, kind] for kind, _ in MIX}
        predicted = dict(columns(tables["prediction"], "prediction_id"))
        for name, when in columns(tables["label"], "prediction_id"):
            assert predicted.pop(name) < when
        shown = {row["slate_id"]: row for row in tables["recommendation"].to_pylist()}
        for row in tables["feedback"].to_pylist():
            slate = shown[row["slate_id"]]
            assert slate["event_time"] < row["event_time"]
            assert slate["items"][row["position"]] == row["item"]
            assert slate["user_id"] == row["user_id"]
        exposed = {}
        for unit, name, when in columns(tables["exposure"], "unit_id", "experiment"):
            exposed.setdefault((unit, metric_of[name]), when)
        for unit, metric, when in columns(tables["outcome"], "unit_id", "metric"):
            assert exposed[unit, metric] < when


def test_what_is_answered_arrives_first(live: Run):
    for asked, answered, key in (
        ("prediction", "label", "prediction_id"),
        ("recommendation", "feedback", "slate_id"),
        ("exposure", "outcome", "unit_id"),
    ):
        known = set()
        for _, kind, batch in live.batches:
            if kind == asked:
                known.update(batch.column(key).to_pylist())
            elif kind == answered:
                assert known.issuperset(batch.column(key).to_pylist())


def test_plays_are_plausible(live: Run):
    plays = live.everyone("playback")
    played, length = plays["ms_played"].to_numpy(), plays["track_ms"].to_numpy()
    skipped = plays["skipped"].to_numpy()
    assert (played >= 200).all()
    assert (played <= np.maximum(length, 200)).all()
    assert (played == length).mean() == pytest.approx(0.58, abs=0.02)
    assert skipped.mean() == pytest.approx(0.33, abs=0.02)
    assert np.median(played[skipped]) < 60_000
    artists = plays.group_by("track_id").aggregate([("artist_id", "count_distinct")])
    assert pc.max(artists["artist_id_count_distinct"]).as_py() == 1


def test_users_keep_their_properties(live: Run):
    plays = live.everyone("playback").group_by("user_id")
    kept = plays.aggregate([(c, "count_distinct") for c in ("country", "device", "platform", "source")])
    for column in kept.schema.names[1:]:
        assert pc.max(kept[column]).as_py() == 1


def test_activity_of_users_is_heavy_tailed_in_the_events(live: Run):
    counts = np.sort(live.tables["nordic", "playback"]["user_id"].value_counts().field("counts").to_numpy())[::-1]
    assert counts[: len(counts) // 10].sum() > 0.25 * counts.sum()


def test_sessions_last_a_while_and_belong_to_one_user(live: Run):
    plays = live.everyone("playback")
    users = plays.group_by("session_id").aggregate([("user_id", "count_distinct")])
    assert pc.max(users["user_id_count_distinct"]).as_py() == 1
    per_user = plays.group_by("user_id").aggregate([("session_id", "count_distinct")])
    assert pc.max(per_user["session_id_count_distinct"]).as_py() <= 2


def test_properties_are_on_a_small_share_of_application_events(live: Run):
    events = live.everyone("app_event")
    assert 1 - events["properties"].null_count / len(events) == pytest.approx(1 / 16, abs=0.01)


def test_ids_compress_no_better_than_real_ones(live: Run):
    batch = next(b for _, k, b in live.batches if k == "playback")
    assert len(to_ipc(batch, "zstd")) / batch.num_rows > 60


def test_subscription_events_follow_each_other_sensibly(live: Run):
    active = {}
    for tenant in live.world.tenants:
        for row in live.tables[tenant, "subscription"].to_pylist():
            was = active.get(row["customer_id"], row["action"] != "reactivate")
            assert (row["action"] == "reactivate") == (not was)
            active[row["customer_id"]] = row["action"] != "cancel"


def test_refunds_and_disputes_name_an_invoice_not_a_new_one(live: Run):
    payments = live.tables["nordic", "payment"].to_pylist()
    charged = {}
    for row in payments:
        known = charged.get(row["customer_id"])
        if row["kind"] == "charge":
            charged[row["customer_id"]] = row["invoice_id"]
        elif known is not None:
            assert row["invoice_id"] == known
        else:
            charged[row["customer_id"]] = row["invoice_id"]


def test_a_past_cannot_be_of_nothing(world):
    with pytest.raises(ConfigError, match="a past needs"):
        next(EventStream(world).history(0))
    with pytest.raises(ConfigError, match="a past needs"):
        next(EventStream(world).history(3, users=2))
