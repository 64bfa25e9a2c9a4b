"""Delivery over real HTTP, with faults."""

from __future__ import annotations

import uuid
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intake_double import RETRYABLE, Intake, QuickClock

from collectors.client import EventClient
from collectors.errors import BadInput, Forbidden, SourceRefused, TooLarge, Unauthenticated, UnknownName

IMPATIENT = 0.3  # seconds after which a client gives up an attempt that the server left hanging


def tracks(intake):
    return sorted(row["track_id"] for row in intake.rows())


def test_an_event_arrives_with_identity_time_and_source(connect, intake, play):
    client = connect(source="player")
    client.send("playback", **play(country="SE"))
    report = client.flush()
    assert report.complete
    assert report.stats.accepted == 1
    [row] = intake.rows()
    assert (row["track_id"], row["source"], row["country"], row["artist_id"]) == ("t-0", "player", "SE", None)
    assert row["event_id"][6] >> 4 == 7
    assert row["event_time"] is not None


def test_a_request_follows_the_contract(connect, intake, play):
    client = connect()
    client.send("playback", **play())
    client.flush()
    [request] = intake.requests
    assert request.path == "/v1/tenants/acme/events/playback"
    assert request.authorization == "Bearer secret-key"
    assert request.content_type == "application/vnd.apache.arrow.stream"
    assert len(request.key) == 32


def test_each_type_goes_to_its_own_address(connect, intake, play):
    client = connect()
    client.send("playback", **play())
    client.send("label", prediction_id="p-1", value=1)
    assert client.flush().complete
    assert sorted(r.event_type for r in intake.requests) == ["label", "playback"]


def test_a_path_in_the_url_is_kept(server, intake, play):
    with EventClient(f"{server.url}/behind/a/proxy/", "acme", "k", clock=QuickClock()) as client:
        client.send("playback", **play())
    assert intake.requests[0].path == "/behind/a/proxy/v1/tenants/acme/events/playback"


def test_events_are_sent_in_batches_of_the_given_size(connect, intake, play):
    client = connect(batch_rows=4)
    client.send_many("playback", [play() for _ in range(10)])
    client.flush()
    assert [r.table.num_rows for r in intake.requests] == [4, 4, 2]
    assert [row["track_id"] for row in intake.rows()] == [f"t-{i}" for i in range(10)]


def test_a_table_arrives_whole(connect, intake):
    client = connect(batch_rows=300)
    ids = [uuid.UUID(int=i).bytes for i in range(1000)]
    columns = {"event_id": pa.array(ids, pa.binary(16)), "prediction_id": [str(i) for i in range(1000)]}
    client.send_table("label", pa.table({**columns, "value": [1.0] * 1000}))
    assert client.flush().stats.accepted == 1000
    assert set(intake.stored) == set(ids)


@pytest.mark.parametrize("fault", RETRYABLE)
def test_a_passing_fault_costs_nothing_but_a_retry_with_the_same_key_and_bytes(connect, intake, play, fault):
    intake.faults.extend([fault, fault])
    client = connect(timeout=IMPATIENT if fault == "hang_after" else 5.0)
    client.send_many("playback", [play() for _ in range(3)])
    report = client.flush()
    assert report.complete
    assert tracks(intake) == ["t-0", "t-1", "t-2"]
    assert len(intake.requests) == 3
    assert len({(r.key, r.body, r.path) for r in intake.requests}) == 1
    taken_before = fault.endswith("after")
    assert (report.stats.accepted, report.stats.duplicate) == ((0, 3) if taken_before else (3, 0))
    assert report.stats.balance == 0


def test_retry_after_is_honoured(connect, intake, play):
    clock = QuickClock()
    intake.retry_after = "40"
    intake.faults.append("busy")
    client = connect(clock=clock)
    client.send("playback", **play())
    client.flush()
    assert [s for s in clock.slept if s >= 40]


@pytest.mark.parametrize(
    ("status", "error"),
    [("400", BadInput), ("401", Unauthenticated), ("403", Forbidden), ("404", UnknownName), ("422", SourceRefused)],
)
def test_a_refusal_for_good_is_reported_and_does_not_hold_up_the_rest(connect, intake, play, status, error):
    intake.faults.append(status)
    failures = []
    client = connect(on_error=failures.append, batch_rows=2)
    client.send_many("playback", [play() for _ in range(4)])
    report = client.flush()
    assert report.complete
    assert tracks(intake) == ["t-2", "t-3"]
    [failed] = failures
    assert type(failed.error) is error
    assert (failed.event_type, failed.rows, failed.path) == ("playback", 2, None)
    assert failed.table()["track_id"].to_pylist() == ["t-0", "t-1"]
    assert (report.stats.failed, report.stats.accepted, report.stats.balance) == (2, 2, 0)


def test_a_failure_nobody_listens_to_is_logged_without_the_events(connect, intake, play, caplog):
    intake.faults.append("401")
    client = connect()
    client.send("playback", **play(user_id="ada@example.org"))
    client.flush()
    [record] = [r for r in caplog.records if r.name == "collectors.client"]
    assert "1 events of type playback failed" in record.getMessage()
    assert "ada" not in caplog.text
    assert "secret-key" not in caplog.text


def test_an_error_handler_that_fails_does_not_stop_deliveries(connect, intake, play, caplog):
    intake.faults.append("400")

    def broken(failed):
        raise ValueError("broken handler")

    client = connect(on_error=broken, batch_rows=1)
    client.send_many("playback", [play(), play()])
    assert client.flush().stats.accepted == 1
    assert "on_error failed" in caplog.text


def test_a_batch_that_is_too_large_is_split_until_it_fits(connect, intake, play):
    intake.max_rows = 3
    client = connect()
    client.send_many("playback", [play() for _ in range(20)])
    report = client.flush()
    assert report.complete
    assert (report.stats.accepted, report.stats.failed) == (20, 0)
    assert [row["track_id"] for row in intake.rows()] == [f"t-{i}" for i in range(20)]
    assert len({r.key for r in intake.requests}) == len(intake.requests)


def test_a_single_event_that_is_too_large_fails(connect, intake, play):
    intake.max_rows = 0
    failures = []
    client = connect(on_error=failures.append)
    client.send_many("playback", [play(), play()])
    report = client.flush()
    assert [type(f.error) for f in failures] == [TooLarge, TooLarge]
    assert (report.stats.failed, report.stats.balance) == (2, 0)


def test_the_servers_rejections_are_counted_with_reasons(connect, intake, play):
    intake.rejects = lambda row: "country must be known" if row["country"] == "XX" else None
    client = connect()
    client.send_many("playback", [play(country="XX"), play(country="SE"), play(country="XX")])
    report = client.flush()
    assert (report.stats.accepted, report.stats.rejected) == (1, 2)
    assert report.reasons == ("playback: not_allowed: country must be known",)


def test_events_wait_out_a_restart_of_the_server(connect, server, intake, play):
    client = connect(batch_rows=2)
    client.send_many("playback", [play() for _ in range(4)])
    assert client.flush().complete
    server.stop()
    try:
        client.send_many("playback", [play() for _ in range(4)])
        assert not client.flush(0.05).complete
        assert client.stats.buffered == 4
    finally:
        server.start()
    report = client.flush()
    assert report.complete
    assert (report.stats.accepted, report.stats.balance) == (8, 0)
    assert len(tracks(intake)) == 8


def test_a_mistake_of_ours_in_one_step_does_not_end_deliveries(connect, intake, play, caplog, monkeypatch):
    client = connect()
    mistakes = iter([RuntimeError("a bug")])
    honest = client._engine._backoff.succeeded

    def buggy():
        for mistake in mistakes:
            raise mistake
        honest()

    monkeypatch.setattr(client._engine._backoff, "succeeded", buggy)
    client.send("playback", **play())
    client.flush()
    client.send("playback", **play())
    assert client.flush().stats.accepted == 2
    assert "an unexpected error" in caplog.text


@settings(max_examples=25)
@given(
    faults=st.lists(st.sampled_from([f for f in RETRYABLE if f != "hang_after"] + ["ok"]), max_size=12),
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    batch_rows=st.integers(1, 10),
    max_rows=st.none() | st.integers(1, 5),
    spooled=st.booleans(),
)
def test_any_sequence_of_faults_ends_with_exactly_what_was_sent(
    server, tmp_path_factory, faults, sizes, batch_rows, max_rows, spooled
):
    server.intake = intake = Intake()
    intake.faults.extend(faults)
    intake.max_rows = max_rows
    failures = []
    sent = []
    with EventClient(
        server.url,
        "acme",
        "k",
        clock=QuickClock(),
        batch_rows=batch_rows,
        spool=tmp_path_factory.mktemp("spool") if spooled else None,
        on_error=failures.append,
    ) as client:
        for number, size in enumerate(sizes):
            ids = [f"{number}-{i}" for i in range(size)]
            client.send_many("label", [{"event_id": i, "prediction_id": "p", "value": 1} for i in ids])
            assert client.stats.balance == 0
            sent += ids
        report = client.flush()
    stats = report.stats
    assert report.complete
    assert Counter(intake.stored.keys()) == Counter(sent)
    assert failures == []
    assert stats.accepted + stats.duplicate == stats.offered == len(sent)
    assert (stats.buffered, stats.spooled, stats.balance) == (0, 0, 0)
    for key in {r.key for r in intake.requests}:
        assert len({r.body for r in intake.requests if r.key == key}) == 1
