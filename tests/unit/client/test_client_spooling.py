"""A client with a spool: what the server did not take waits on disk, and is sent by this client or the next."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from intake_double import ManualClock

from collectors.errors import BadInput, ConfigError, Overloaded, StorageUnavailable


def files(root):
    return sorted(f for f in root.rglob("*.arrow") if f.parent.name != "rejected")


def wait_until_spooled(client, count):
    while client.stats.spooled < count:
        client.flush(0.02)


def label(identity):
    return {"event_id": identity, "prediction_id": "p", "value": 1.0}


def test_a_healthy_server_means_no_file(connect, intake, play, tmp_path):
    client = connect(spool=tmp_path)
    client.send_many("playback", [play() for _ in range(5)])
    assert client.close().stats.accepted == 5
    assert files(tmp_path) == []
    assert [f.name for f in (tmp_path / "acme").iterdir()] == ["rejected"]


def test_what_the_server_did_not_take_is_on_disk_and_replayed_in_order(connect, intake, play, tmp_path):
    intake.always = "busy"
    clock = ManualClock()
    client = connect(spool=tmp_path, batch_rows=2, clock=clock)
    client.send_many("playback", [play() for _ in range(10)])
    wait_until_spooled(client, 10)
    assert client.stats.buffered == 0
    assert len(files(tmp_path)) == 5
    intake.always = None
    while not client.flush(0.02).complete:
        clock.advance(30)
    assert [row["track_id"] for row in intake.rows()] == [f"t-{i}" for i in range(10)]
    assert files(tmp_path) == []
    assert len({(r.key, r.body) for r in intake.requests}) == len({r.key for r in intake.requests}) == 5
    assert (client.stats.accepted, client.stats.balance) == (10, 0)


def test_close_does_not_wait_for_an_absent_server_and_the_next_client_delivers(connect, intake, play, tmp_path):
    intake.always = "error"
    first = connect(spool=tmp_path, clock=ManualClock())
    first.send_many("playback", [play() for _ in range(3)])
    first.send("label", prediction_id="p", value=1)
    report = first.close(timeout=60)
    assert not report.complete
    assert (report.stats.spooled, report.stats.balance) == (4, 0)
    intake.always = None
    second = connect(spool=tmp_path)
    report = second.flush()
    assert report.complete
    assert (report.stats.recovered, report.stats.accepted, report.stats.offered) == (4, 4, 4)
    assert len(intake.rows()) == 4
    assert len({r.body for r in intake.requests}) == 2  # the very bytes of the first client


def test_a_server_that_hangs_fills_the_disk_rather_than_memory(connect, intake, tmp_path):
    intake.always = "hang_after"
    client = connect(spool=tmp_path, batch_rows=50, max_buffer_bytes=100_000, when_full="block")
    for _ in range(40):
        client.send_many("log", [{"message": "m"} for _ in range(50)])
    wait_until_spooled(client, 1000)
    assert client.stats.offered == 2000
    assert client._outbox.bytes <= 100_000


def test_a_full_spool_keeps_the_oldest_and_new_events_are_refused(connect, intake, play, tmp_path):
    intake.always = "busy"
    clock = ManualClock()
    client = connect(spool=tmp_path, spool_max_bytes=10_000, max_buffer_bytes=20_000, batch_rows=1, clock=clock)
    taken = []

    def send_without_end():
        while True:
            client.send("playback", **play())
            taken.append(1)
            client.flush(0.001)

    with pytest.raises(Overloaded, match="the buffer is full"):
        send_without_end()
    sent = len(taken)
    assert client.stats.offered == sent
    wait_until_spooled(client, 2)
    assert sum(f.stat().st_size for f in files(tmp_path)) <= 10_000
    intake.always = None
    while not client.flush(0.02).complete:
        clock.advance(30)
    assert [row["track_id"] for row in intake.rows()] == [f"t-{i}" for i in range(sent)]


def test_events_beyond_the_spool_fail_loudly_on_close(connect, intake, play, tmp_path):
    intake.always = "busy"
    failures = []
    client = connect(spool=tmp_path, spool_max_bytes=7_000, batch_rows=1, on_error=failures.append, clock=ManualClock())
    client.send_many("playback", [play() for _ in range(6)])
    report = client.close()
    assert report.stats.spooled + report.stats.failed == 6
    assert report.stats.spooled >= 1
    assert len(failures) == report.stats.failed >= 1
    assert all(type(f.error) is Overloaded and f.table().num_rows == 1 for f in failures)


def test_refused_batches_are_set_aside(connect, intake, play, tmp_path):
    intake.always = "400"
    failures = []
    client = connect(spool=tmp_path, on_error=failures.append)
    client.send("playback", **play())
    client.close()
    [failed] = failures
    assert type(failed.error) is BadInput
    assert failed.path.parent == tmp_path / "acme" / "rejected"
    assert failed.path.read_bytes() == failed.body == intake.requests[0].body


def test_a_refusal_after_a_wait_on_disk_is_set_aside_too(connect, intake, play, tmp_path):
    intake.faults.extend(["busy", "403"])
    client = connect(spool=tmp_path, on_error=lambda failed: None)
    client.send("playback", **play())
    assert client.flush().stats.failed == 1
    assert files(tmp_path) == []
    assert len(list((tmp_path / "acme" / "rejected").iterdir())) == 1


def test_a_spooled_batch_that_is_too_large_is_split(connect, intake, play, tmp_path):
    intake.faults.append("busy")
    intake.max_rows = 2
    client = connect(spool=tmp_path)
    client.send_many("playback", [play() for _ in range(7)])
    assert client.flush().stats.accepted == 7
    assert [row["track_id"] for row in intake.rows()] == [f"t-{i}" for i in range(7)]
    assert files(tmp_path) == []


def test_a_disk_that_refuses_leaves_events_in_memory(connect, intake, play, tmp_path, caplog):
    intake.always = "busy"
    clock = ManualClock()
    client = connect(spool=tmp_path, clock=clock)
    [lane] = [f for f in (tmp_path / "acme").iterdir() if f.name != "rejected"]
    lane.rmdir()
    client.send("playback", **play())
    client.flush(0.0)
    intake.wait_for(lambda: intake.requests)
    client.flush(0.05)
    assert client.stats.buffered == 1
    intake.always = None
    while not client.flush(0.02).complete:
        clock.advance(30)
    assert client.stats.accepted == 1
    assert "the spool cannot be written" in caplog.text


def test_a_batch_somebody_deleted_from_the_spool_counts_as_failed(connect, intake, play, tmp_path):
    intake.always = "busy"
    clock = ManualClock()
    failures = []
    client = connect(spool=tmp_path, batch_rows=1, on_error=failures.append, clock=clock)
    client.send_many("playback", [play(), play()])
    wait_until_spooled(client, 2)
    files(tmp_path)[0].unlink()
    intake.always = None
    while not client.flush(0.02).complete:
        clock.advance(30)
    [failed] = failures
    assert (type(failed.error), failed.body) == (StorageUnavailable, b"")
    assert (client.stats.accepted, client.stats.failed, client.stats.balance) == (1, 1, 0)


def test_an_unusable_spool_is_refused_at_once(connect, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="the spool cannot be used"):
        connect(spool=tmp_path / "file")


CRASHING = """
import sys
from pathlib import Path
from collectors.client import EventClient

client = EventClient(sys.argv[1], "acme", "k", spool=Path(sys.argv[2]), batch_rows=7, linger_seconds=0.001)
sent = 0
while True:
    for _ in range(10):
        client.send("label", event_id=f"{sent}", prediction_id="p", value=1.0)
        sent += 1
    while client.stats.buffered:
        client.flush(0.001)
    print(sent, flush=True)
"""


@pytest.mark.crash
@pytest.mark.parametrize("fault", ["busy", "drop_after"])
def test_kill_9_loses_nothing_that_was_spooled(connect, server, intake, tmp_path, fault):
    intake.always = fault
    script = [sys.executable, "-c", CRASHING, server.url, str(tmp_path)]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as child:
        safe = 0
        for line in child.stdout:
            safe = int(line)
            if safe >= 200:
                break
        child.send_signal(signal.SIGKILL)
        safe = max([safe, *(int(line) for line in child.stdout if line.endswith("\n"))])
    intake.always = None
    client = connect(spool=tmp_path)
    report = client.flush(60)
    assert report.complete
    assert report.stats.balance == 0
    assert {str(i) for i in range(safe)} <= set(intake.stored)
    assert report.stats.accepted + report.stats.duplicate == report.stats.recovered
    by_key: dict[str, set[bytes]] = {}
    for request in intake.requests:
        by_key.setdefault(request.key, set()).add(request.body)
    assert all(len(bodies) == 1 for bodies in by_key.values())
    assert files(tmp_path) == []


def test_two_clients_share_a_folder_and_each_event_is_stored_once(connect, intake, tmp_path):
    intake.always = "busy"
    clocks = [ManualClock(), ManualClock()]
    clients = [connect(spool=tmp_path, batch_rows=3, clock=clock) for clock in clocks]
    for number, client in enumerate(clients):
        client.send_many("label", [label(f"{number}-{i}") for i in range(9)])
        wait_until_spooled(client, 9)
    intake.always = None
    for clock, client in zip(clocks, clients, strict=True):
        while not client.flush(0.02).complete:
            clock.advance(30)
        assert (client.stats.accepted, client.stats.duplicate, client.stats.recovered) == (9, 0, 0)
    assert set(intake.stored) == {f"{n}-{i}" for n in range(2) for i in range(9)}
