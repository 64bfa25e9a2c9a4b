"""Life and death of a client: waiting, closing, threads, forks, the exit of the interpreter."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from intake_double import ManualClock, QuickClock

from collectors.client import EventClient
from collectors.client import client as client_module
from collectors.client.client import _live
from collectors.client.delivery import Target
from collectors.client.loop_thread import LoopThread
from collectors.errors import ConfigError, LifecycleError, Overloaded, SourceUnavailable, StorageUnavailable, TooLarge


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def client_threads():
    return [t for t in threading.enumerate() if t.name.startswith("collectors-client")]


def test_events_linger_for_others_until_their_time_is_up(connect, intake, play):
    clock = ManualClock()
    client = connect(clock=clock, linger_seconds=5.0)
    client.send("playback", **play())
    clock.wait_for_sleeper()
    client.send("playback", **play())
    assert client.stats.buffered == 2
    assert intake.requests == []
    clock.advance(5.0)
    intake.wait_for(lambda: intake.requests)
    assert intake.requests[0].table.num_rows == 2


def test_a_full_batch_does_not_linger(connect, intake, play):
    client = connect(clock=ManualClock(), linger_seconds=5.0, batch_rows=2)
    client.send_many("playback", [play(), play()])
    intake.wait_for(lambda: len(intake.rows()) == 2)


def test_close_delivers_what_is_left(server, intake, play):
    with EventClient(server.url, "acme", "k", clock=ManualClock()) as client:
        client.send("playback", **play())
    assert client.stats.accepted == 1
    assert len(intake.rows()) == 1


def test_close_leaves_no_thread_and_may_be_repeated(connect, play):
    before = len(client_threads())
    client = connect()
    client.send("playback", **play())
    assert len(client_threads()) > before
    first = client.close()
    assert len(client_threads()) == before
    assert client.close() is first
    assert client.flush() is first
    assert client not in _live


def test_a_closed_client_takes_nothing(connect, play):
    client = connect()
    client.close()
    for send in (
        lambda: client.send("playback", **play()),
        lambda: client.send_many("playback", [play()]),
    ):
        with pytest.raises(LifecycleError, match="the client is closed"):
            send()


def test_without_a_spool_close_reports_what_it_could_not_deliver(connect, intake, play):
    intake.always = "error"
    failures = []
    client = connect(clock=ManualClock(), on_error=failures.append)
    client.send("playback", **play())
    client.flush(0.0)
    intake.wait_for(lambda: intake.requests)
    report = client.close(timeout=0.05)
    assert report.complete
    assert (report.stats.failed, report.stats.balance) == (1, 0)
    assert type(failures[0].error) in {SourceUnavailable, LifecycleError}
    assert failures[0].table().num_rows == 1


def test_close_abandons_a_request_that_hangs(connect, intake, play):
    intake.always = "hang_after"
    failures = []
    client = connect(on_error=failures.append, timeout=60.0)
    client.send("playback", **play())
    intake.wait_for(lambda: intake.requests)
    assert client.close(timeout=0.05).stats.failed == 1
    assert type(failures[0].error) is LifecycleError


def test_a_full_buffer_refuses_and_takes_nothing(connect, intake, play):
    intake.always = "hang_after"
    client = connect(max_buffer_bytes=5000, batch_rows=1, timeout=60.0)
    sent = []

    def send_without_end():
        while True:
            client.send("playback", **play())
            sent.append(1)

    with pytest.raises(Overloaded, match="nothing was taken"):
        send_without_end()
    assert client.stats.offered == client.stats.buffered == len(sent)


def test_a_full_buffer_can_make_senders_wait(connect, intake, play):
    clock = ManualClock()
    intake.always = "busy"
    client = connect(max_buffer_bytes=10_000, batch_rows=1, when_full="block", clock=clock)
    done = threading.Event()

    def send():
        for _ in range(30):
            client.send("playback", **play())
        client.send_many("playback", [play() for _ in range(5)])
        done.set()

    thread = threading.Thread(target=send)
    thread.start()
    intake.wait_for(lambda: intake.requests)
    while client._outbox.has_room(700):
        client.flush(0.01)
    assert not done.is_set()
    intake.always = None
    while not done.is_set():
        clock.advance(30)
        client.flush(0.02)
    thread.join()
    assert client.flush().complete
    assert len(intake.rows()) == 35


def test_senders_that_wait_are_told_of_the_close(connect, intake, play):
    intake.always = "hang_after"
    client = connect(max_buffer_bytes=2000, batch_rows=1, when_full="block", timeout=60.0)
    errors = []

    def send():
        try:
            while True:
                client.send("playback", **play())
        except LifecycleError as error:
            errors.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    intake.wait_for(lambda: intake.requests)
    while client._outbox.has_room(700):
        client.flush(0.01)
    client.close(timeout=0.05)
    thread.join(20)
    assert len(errors) == 1


def test_what_can_never_fit_is_refused_even_by_a_patient_client(connect, play):
    client = connect(max_buffer_bytes=2000, when_full="block")
    with pytest.raises(TooLarge, match="larger than max_buffer_bytes"):
        client.send("playback", **play(context="c" * 2000))


def test_waiting_calls_from_the_clients_own_thread_are_refused(connect, intake, play):
    intake.always = "400"
    said = []
    wakened = threading.Event()

    def on_error(failed):
        try:
            client.flush()
        except LifecycleError as error:
            said.append(str(error))
        wakened.set()

    client = connect(on_error=on_error)
    client.send("playback", **play())
    assert wakened.wait(20)
    assert said == ["this call waits for the client's own thread; do not make it from on_error"]


def test_many_threads_send_exactly_what_they_sent(connect, intake):
    client = connect(batch_rows=97)
    balances = []

    def work(number):
        for i in range(500):
            client.send("label", event_id=f"{number}-{i}", prediction_id="p", value=i)
            if i % 100 == 0:
                client.send_many(
                    "label", [{"event_id": f"{number}-{i}-{j}", "prediction_id": "p", "value": j} for j in range(9)]
                )
                balances.append(client.stats.balance)
                client.flush(0.0)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = client.flush()
    assert report.complete
    assert set(balances) == {0}
    assert (report.stats.offered, report.stats.accepted) == (8 * 545, 8 * 545)
    assert len(intake.stored) == 8 * 545


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "localhost:8080"}, "url of the event client: must be an http or https address"),
        ({"url": "http://"}, "url of the event client"),
        ({"url": "http://key@host"}, "without user name"),
        ({"url": "http://host:port"}, "url of the event client"),
        ({"tenant": ""}, "tenant of the event client: must be 1 to 128 letters"),
        ({"tenant": "../other"}, "tenant of the event client"),
        ({"key": ""}, "key of the event client"),
        ({"key": "s3cret\n"}, "key of the event client"),
        ({"batch_rows": 0}, "batch_rows of the event client: must be at least 1"),
        ({"linger_seconds": -1.0}, "linger_seconds"),
        ({"max_buffer_bytes": 0}, "max_buffer_bytes"),
        ({"spool_max_bytes": 0}, "spool_max_bytes"),
        ({"timeout": 0.0}, "timeout of the event client: must be more than 0"),
        ({"when_full": "drop"}, "when_full of the event client: must be 'raise' or 'block'"),
    ],
)
def test_wrong_settings_are_named(options, said):
    with pytest.raises(ConfigError) as caught:
        EventClient(**{"url": "http://127.0.0.1:1", "tenant": "acme", "key": "k", **options})
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_the_key_is_in_no_representation(connect):
    client = connect()
    assert "secret-key" not in repr(client) + repr(client._target) + repr(client._engine)


def test_a_forgotten_client_is_flushed_as_the_interpreter_exits(server, intake):
    run(
        """
import sys
from collectors.client import EventClient
def sender():
    client = EventClient(sys.argv[1], "acme", "k", linger_seconds=3600)
    client.send("label", event_id="1", prediction_id="p", value=1)
sender()
""",
        server.url.replace("127.0.0.1", "localhost"),  # a name, so that it has to be looked up at that late hour
    )
    assert set(intake.stored) == {"1"}


def test_the_exit_is_not_held_up_by_an_absent_server(server, intake, tmp_path):
    intake.always = "busy"
    run(
        """
import sys
from collectors.client import EventClient
client = EventClient(sys.argv[1], "acme", "k", spool=sys.argv[2], linger_seconds=3600)
client.send("label", event_id="1", prediction_id="p", value=1)
""",
        server.url,
        str(tmp_path),
    )
    assert len(list(tmp_path.rglob("*.arrow"))) == 1


def test_a_forked_child_begins_anew_and_nothing_is_sent_twice(server, intake, tmp_path):
    out = run(
        """
import json, os, sys
from collectors.client import EventClient
client = EventClient(sys.argv[1], "acme", "k", spool=sys.argv[2], linger_seconds=3600)
client.send("label", event_id="before", prediction_id="p", value=1)
client.flush()                      # there is a connection to inherit
client.send("label", event_id="parent", prediction_id="p", value=1)
child = os.fork()
if child == 0:
    print(json.dumps(["child", client.stats.offered]), flush=True)
    client.send("label", event_id="child", prediction_id="p", value=1)
    print(json.dumps(["child", client.flush().stats.accepted]), flush=True)
    sys.exit()                      # an ordinary exit, with all its hooks
status = os.waitpid(child, 0)[1]
assert status == 0, status
client.send("label", event_id="after", prediction_id="p", value=1)
report = client.close()
print(json.dumps(["parent", report.stats.offered, report.stats.accepted, report.stats.duplicate]), flush=True)
""",
        server.url,
        str(tmp_path),
    )
    assert [json.loads(line) for line in out.splitlines()] == [["child", 0], ["child", 1], ["parent", 3, 3, 0]]
    assert set(intake.stored) == {"before", "parent", "child", "after"}


def test_a_forked_child_that_sends_nothing_starts_nothing(server, intake):
    out = run(
        """
import os, sys, threading
from collectors.client import EventClient
client = EventClient(sys.argv[1], "acme", "k")
child = os.fork()
if child == 0:
    print(threading.active_count(), client.close().complete, flush=True)
    os._exit(0)
os.waitpid(child, 0)
client.close()
""",
        server.url,
    )
    assert out == "1 True\n"


def test_flushing_with_nothing_to_send_is_complete_at_once(connect, intake):
    assert connect().flush(0.0).complete
    assert intake.requests == []


def test_quick_clocks_do_not_make_the_client_spin(connect, intake, play):
    clock = QuickClock()
    client = connect(clock=clock)
    client.send("playback", **play())
    client.flush()
    assert len(clock.slept) <= 2


def test_a_disk_that_hangs_does_not_hold_up_close_for_ever(connect, intake, play, tmp_path, monkeypatch):
    monkeypatch.setattr(client_module, "_PUT_AWAY_SECONDS", 0.1)
    intake.always = "busy"
    client = connect(spool=tmp_path)
    hangs, entered = threading.Event(), threading.Event()
    honest = client._engine._spool.put

    def put(parcel):
        entered.set()
        hangs.wait(20)
        return honest(parcel)

    monkeypatch.setattr(client._engine._spool, "put", put)
    client.send("playback", **play())
    assert entered.wait(20)
    with pytest.raises(StorageUnavailable, match="the disk did not take what is left in time"):
        client.close(timeout=0.0)
    hangs.set()
    assert client.close().stats.spooled == 1


def test_a_transport_that_cannot_be_made_leaves_no_thread(server):
    before = len(client_threads())

    def transport():
        raise ValueError("no certificate")

    with pytest.raises(ValueError, match="no certificate"):
        EventClient(server.url, "acme", "k", transport=transport)
    assert len(client_threads()) == before


def test_a_transport_of_ones_own_is_used(play):
    seen = []

    def answer(request):
        seen.append(request)
        return httpx.Response(202, json={"accepted": 1, "duplicate": 0, "rejected": 0, "dropped": 0})

    client = EventClient("https://collectors.example", "acme", "k", transport=lambda: httpx.MockTransport(answer))
    client.send("playback", **play())
    assert client.close().stats.accepted == 1
    assert str(seen[0].url) == "https://collectors.example/v1/tenants/acme/events/playback"


@pytest.mark.parametrize("url", ["https://127.0.0.1", "HTTPS://127.0.0.1"])
def test_certificates_are_verified_however_the_url_is_written(url):
    target = Target(url, "acme", "k", None, 1.0, None)
    context = target.connect()._transport._pool._ssl_context
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_work_is_done_in_place_once_no_thread_may_be_started():
    thread = LoopThread("collectors-client-test")
    thread._executor.shutdown()

    async def work():
        return await asyncio.to_thread(threading.current_thread), await asyncio.gather(
            asyncio.to_thread(int, "x"), return_exceptions=True
        )

    worker, [error] = thread.run(work())
    assert worker is thread._thread
    assert type(error) is ValueError
    thread.stop()


def test_a_stopped_loop_finishes_what_it_began_and_takes_no_more():
    thread = LoopThread("collectors-client-test")
    begun, finish = threading.Event(), threading.Event()

    async def work():
        begun.set()
        await asyncio.to_thread(finish.wait, 20)
        return "done"

    async def more():
        raise AssertionError("taken after the stop")

    results = []
    waiter = threading.Thread(target=lambda: results.append(thread.run(work())))
    waiter.start()
    assert begun.wait(20)
    stopper = threading.Thread(target=thread.stop)
    stopper.start()
    finish.set()
    for each in (waiter, stopper):
        each.join(20)
    assert results == ["done"]
    with pytest.raises(LifecycleError, match="the client is closed"):
        thread.run(more())


def test_the_example_runs_as_it_says(server, intake):
    example = Path(__file__).parents[3] / "examples" / "send_events.py"
    done = subprocess.run(
        [sys.executable, str(example), server.url, "acme", "k"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("complete=True") == 1
    assert len(intake.rows()) == 1 + 1000 + 2 + 1
