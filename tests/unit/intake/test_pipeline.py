"""The pipeline answers only for what is durable, tells submissions apart, and survives what it is fed."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.disk import full_disk
from tests.support.intake import Intake

from collectors.clock import SYSTEM_CLOCK
from collectors.drivers.event_log import LogReader, Record
from collectors.errors import MalformedBody, Overloaded, StorageUnavailable
from collectors.intake.dedupe import DedupeWindow
from collectors.intake.pipeline import PipelineLimits
from collectors.intake.prepare import DEAD_LETTER_FIELD, Lane, Receipt
from collectors.intake.recover import recover_window
from collectors.model.event_types import PLAYBACK
from collectors.privacy.aead import associated_data, open_sealed
from collectors.privacy.policy import preset


def play(number: int, **fields: object) -> dict[str, object]:
    return {"event_id": str(uuid.UUID(int=number)), "track_id": "t", "ms_played": 1} | fields


def records(folder: Path) -> list[Record]:
    reader = LogReader(folder / "log")
    found = reader.read(max_records=10_000)
    reader.close()
    return found


def stored(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for r in records(folder):
        if r.body is not None:
            rows += pa.ipc.open_stream(r.body).read_all().to_pylist()
    return rows


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    opened = Intake(tmp_path)
    opened.pipeline.start()
    yield opened
    opened.pipeline.close()


def test_a_receipt_counts_accepted_duplicate_and_rejected_rows(intake: Intake) -> None:
    receipt = intake.send([play(1), play(2), play(1), {"track_id": "t"}, play(3, ms_played=-5)])
    assert (receipt.accepted, receipt.duplicate, receipt.rejected, receipt.dropped) == (2, 1, 2, 0)
    assert [(r.row, r.reason) for r in sorted(receipt.reasons, key=lambda r: r.row)] == [
        (3, "missing"),
        (4, "too_small"),
    ]
    assert receipt.dead_letter == receipt.position == 1
    (record,) = records(intake.folder)
    assert (record.offered, record.rows, record.duplicate, record.rejected) == (5, 2, 1, 2)


def test_nothing_personal_is_written_in_the_clear(intake: Intake) -> None:
    secret = "ada.lovelace@example.org"
    intake.send([play(1, user_id=secret)])
    intake.send([{"user_id": secret, "track_id": 5}, {"user_id": secret}])
    intake.send(b'{"user_id": "' + secret.encode() + b'"', lane=Lane.NDJSON)
    everything = b"".join(p.read_bytes() for p in (intake.folder / "log").iterdir())
    assert secret.encode() not in everything
    (row,) = stored(intake.folder)
    assert row["user_id"] == intake.keys.keyset("acme").pseudonym.cmac.digest(secret.encode())


def test_dead_letters_can_be_opened_with_the_tenants_key_only(intake: Intake) -> None:
    intake.send([play(1, user_id="u1", ms_played=None), play(2)])
    intake.send(b'not json\n{"event_id": "x"')
    first, second = records(intake.folder)
    assert first.dead is not None
    assert second.dead is not None
    ad = associated_data("acme", "playback", DEAD_LETTER_FIELD)
    rows = pa.ipc.open_stream(open_sealed(intake.keys.keyset("acme"), ad, first.dead)).read_all().to_pylist()
    assert [(r["reason"], r["user_id"], r["event_id"]) for r in rows] == [("missing", "u1", uuid.UUID(int=1).bytes)]
    rows = pa.ipc.open_stream(open_sealed(intake.keys.keyset("acme"), ad, second.dead)).read_all().to_pylist()
    assert [r["raw"] for r in rows] == [b"not json", b'{"event_id": "x"']


def test_rows_without_id_get_the_same_one_under_the_same_key(intake: Intake) -> None:
    rows = [{"track_id": "t", "ms_played": n} for n in range(5)]
    assert intake.send(rows, key=b"k1").accepted == 5
    assert intake.send(rows, key=b"k1").duplicate == 5
    assert intake.send(rows, key=b"k2").accepted == 5
    assert intake.send(rows).accepted == 5
    assert intake.send(rows).accepted == 5
    mixed = intake.send([play(99), *rows], key=b"k3")
    assert mixed.accepted == 6
    assert len({r["event_id"] for r in stored(intake.folder)}) == 26


def test_rows_without_time_get_that_of_their_arrival(intake: Intake) -> None:
    before = SYSTEM_CLOCK.now_us()
    intake.send([play(1), play(2, event_time=before - 5_000_000)])
    one, two = stored(intake.folder)
    assert one["event_time"] == one["received_time"]
    assert two["event_time"] < two["received_time"]


def test_types_a_tenant_does_not_want_are_counted_as_dropped(tmp_path: Path) -> None:
    intake = Intake(tmp_path, dropped=frozenset({"playback"}))
    intake.pipeline.start()
    receipt = intake.send([play(1), {"bad": 1}])
    assert (receipt.accepted, receipt.rejected, receipt.dropped) == (0, 0, 2)
    intake.pipeline.close()
    (record,) = records(tmp_path)
    assert (record.offered, record.dropped, record.body) == (2, 2, None)


def test_a_body_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    intake = Intake(tmp_path)
    good = intake.submit([play(1)])
    bad = intake.submit(b"garbage", lane=Lane.ARROW)
    also_good = intake.submit([play(2)])
    intake.pipeline.start()
    assert good.result(30).accepted == also_good.result(30).accepted == 1
    with pytest.raises(MalformedBody):
        bad.result(30)
    intake.pipeline.close()


SUBMISSIONS = st.lists(
    st.tuples(
        st.sampled_from(["acme", "zeta"]),
        st.lists(st.one_of(st.integers(0, 25), st.just("bad"), st.just("junk")), min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=15,
)


@given(submissions=SUBMISSIONS, group=st.sampled_from([1, 3, 512]))
def test_receipts_do_not_depend_on_how_submissions_are_grouped(
    tmp_path_factory: pytest.TempPathFactory, submissions: list[tuple[str, list[int | str]]], group: int
) -> None:
    folder = tmp_path_factory.mktemp("grouping")
    intake = Intake(folder, limits=PipelineLimits(group_submissions=group))
    waiters: list[tuple[str, list[int | str], Future[Receipt]]] = []
    for tenant, rows in submissions:
        lines = [b"{]" if row == "junk" else b'{"track_id": "t"}' if row == "bad" else _line(int(row)) for row in rows]
        waiters.append((tenant, rows, intake.submit(b"\n".join(lines), tenant=tenant)))
    intake.pipeline.start()
    intake.pipeline.close()

    seen: dict[str, set[int]] = {"acme": set(), "zeta": set()}
    offered = 0
    for tenant, rows, waiter in waiters:
        receipt = waiter.result(30)
        offered += len(rows)
        accepted = 0
        for row in rows:
            if isinstance(row, int) and row not in seen[tenant]:
                seen[tenant].add(row)
                accepted += 1
        rejected = [i for i, row in enumerate(rows) if isinstance(row, str)]
        assert receipt.accepted == accepted
        assert receipt.rejected == len(rejected)
        assert receipt.duplicate == len(rows) - accepted - len(rejected)
        assert sorted(r.row for r in receipt.reasons) == rejected[:10]
    assert sum(r.offered for r in records(folder)) == offered
    assert all(r.offered == r.rows + r.duplicate + r.rejected + r.dropped for r in records(folder))


def _line(number: int) -> bytes:
    return b'{"event_id": "%s", "track_id": "t", "ms_played": 1}' % str(uuid.UUID(int=number)).encode()


def test_a_failed_commit_is_not_acknowledged_and_its_ids_are_new_again(intake: Intake) -> None:
    intake.send([play(1)])
    with full_disk(1000), pytest.raises(StorageUnavailable):
        intake.send([play(n, session_id=secrets.token_hex(100)) for n in range(2, 3000)])
    again = intake.send([play(n) for n in range(1, 3000)])
    assert (again.accepted, again.duplicate) == (2998, 1)


def test_groups_prepared_behind_a_failed_commit_fail_too(tmp_path: Path) -> None:
    intake = Intake(tmp_path, limits=PipelineLimits(group_submissions=1))
    failures = iter([True])
    append = intake.log.append

    def refuse_once(batch: list[Record]) -> int:
        if next(failures, False):
            raise StorageUnavailable("no space")
        return append(batch)

    intake.log.append = refuse_once  # type: ignore[method-assign]
    waiters = [intake.submit([play(1)]) for _ in range(4)]
    intake.pipeline.start()
    outcomes = []
    for waiter in waiters:
        try:
            outcomes.append(waiter.result(30).accepted)
        except StorageUnavailable:
            outcomes.append(-1)
    intake.pipeline.close()
    assert outcomes[0] == -1
    # Whatever was told "duplicate" repeats something that is durable: exactly one was accepted, or all failed.
    answered = [o for o in outcomes if o >= 0]
    assert not answered or (answered[0] == 1 and sum(answered) == 1)
    assert len(stored(tmp_path)) == (1 if answered else 0)


def test_too_much_waiting_is_refused_at_once(tmp_path: Path) -> None:
    intake = Intake(tmp_path, limits=PipelineLimits(queue_bytes=3000, tenant_queue_bytes=1500))
    first = intake.submit(b" " * 1000)
    with pytest.raises(Overloaded):
        intake.submit(b" " * 1000)
    intake.submit(b" " * 1400, tenant="zeta")
    assert intake.pipeline.queued_bytes == 2400
    assert intake.pipeline.oldest_waiting_us > 0
    intake.pipeline.start()
    first.result(30)
    intake.pipeline.close()
    with pytest.raises(Overloaded):
        intake.submit(b"{}")


def test_an_unexpected_error_ends_no_thread(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("collectors.intake.prepare.validate", lambda *_: 1 / 0)
        with pytest.raises(Exception, match="the log says why"):
            intake.send([play(1)])
    assert intake.send([play(1)]).accepted == 1


def test_the_window_is_filled_again_from_the_log(intake: Intake) -> None:
    intake.send([play(n) for n in range(100)])
    intake.send([play(5)])
    window = DedupeWindow(memory_bytes=2**20, secret=b"other")
    recover_window(window, intake.folder / "log", now_us=1)
    assert window.size == 100
    assert window.covered_since_us == 0, "the log is complete, so the window is"
    late = DedupeWindow(memory_bytes=2**20, secret=b"other")
    recover_window(late, intake.folder / "log", now_us=1, max_bytes=1)
    assert late.covered_since_us == records(intake.folder)[0].acked_us or late.size <= 100


def test_a_window_over_an_empty_log_knows_what_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    fresh = DedupeWindow(memory_bytes=2**20)
    recover_window(fresh, tmp_path / "log", now_us=7)
    assert fresh.covered_since_us == 0
    Intake(tmp_path).log.append([])
    emptied = DedupeWindow(memory_bytes=2**20)
    recover_window(emptied, tmp_path / "log", now_us=7)
    assert emptied.covered_since_us == 7


def test_stored_columns_are_those_of_the_type(tmp_path: Path) -> None:
    intake = Intake(tmp_path, policies=preset("strict"))
    intake.pipeline.start()
    intake.send([play(1, unknown=5)])
    intake.pipeline.close()
    (record,) = records(tmp_path)
    assert record.body is not None
    assert pa.ipc.open_stream(record.body).schema == PLAYBACK.stored_schema
    lake = intake.load()
    assert lake.position == 1
