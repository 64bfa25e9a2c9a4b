"""Simulated traffic: as much as was asked for, as fast, and with its truth beside it."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_runner import Run
from cli_server import Answer, Request, receipt, refusal, serving

from collectors.cli.sending import Media
from collectors.cli.simulate import parse_rate
from collectors.cli.traffic import Plan, Traffic, parcels, profiles, random_seed
from collectors.clock import SystemClock
from collectors.errors import ConfigError
from collectors.simulate.vocabulary import DEMO_TENANTS

SMALL = ("--users", 600, "--seed", 7)


class SteppedClock(SystemClock):
    """Stands still unless blocked on."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def now_us(self) -> int:
        return 1_790_000_000_000_000 + round(self.elapsed * 1e6)

    def monotonic(self) -> float:
        return self.elapsed

    def block(self, seconds: float) -> None:
        self.elapsed += max(0.0, seconds)


def _drive(plan: Plan, clock: SteppedClock) -> tuple[Traffic, list[tuple[float, str, str, int]]]:
    traffic = Traffic(plan, clock)
    seen = []
    for tenant, kind, batch in traffic.batches():
        clock.block(traffic.pace(batch.num_rows))
        seen.append((clock.elapsed, tenant, kind, batch.num_rows))
    return traffic, seen


def test_as_many_events_as_asked_for_come_at_the_rate_asked_for() -> None:
    clock = SteppedClock()
    traffic, seen = _drive(Plan(rate=1000.0, events=20_000, seed=1, users=600), clock)
    assert sum(rows for *_, rows in seen) == 20_000 == traffic.truth.total
    assert max(rows for *_, rows in seen) <= 200
    # Event number i is due i / rate seconds after the first.
    sent = 0
    for when, _, _, rows in seen:
        assert when == pytest.approx(sent / 1000.0)
        sent += rows


def test_it_ends_after_the_seconds_asked_for() -> None:
    clock = SteppedClock()
    _, seen = _drive(Plan(rate=1000.0, seconds=10.0, seed=1, users=600), clock)
    assert 10.0 <= clock.elapsed < 10.5
    assert sum(rows for *_, rows in seen) == pytest.approx(10_000, abs=400)


def test_rare_kinds_do_not_wait_for_their_batch() -> None:
    clock = SteppedClock()
    _, seen = _drive(Plan(rate=1000.0, seconds=20.0, seed=1, users=600), clock)
    last: dict[tuple[str, str], float] = {}
    for when, tenant, kind, _ in seen:
        last[tenant, kind] = when
    assert len(last) == 3 * 13
    # The smallest tenant's rarest kinds have one event in four seconds.
    assert min(last.values()) > 10.0


def test_a_past_comes_at_once_and_alone_unless_more_is_asked_for() -> None:
    clock = SteppedClock()
    traffic, seen = _drive(Plan(rate=10.0, history_days=2, seed=1, users=600), clock)
    assert clock.elapsed == 0.0
    assert sum(rows for *_, rows in seen) == traffic.truth.total > 1000
    clock = SteppedClock()
    _, more = _drive(Plan(rate=10.0, history_days=2, events=50, seed=1, users=600), clock)
    assert more[: len(seen) // 2] == seen[: len(seen) // 2]
    assert sum(rows for *_, rows in more) > 50
    assert clock.elapsed == pytest.approx(5.0, abs=0.5)


@pytest.mark.parametrize(
    ("plan", "rows"),
    [
        (Plan(), 10_000),
        (Plan(rate=500), 100),
        (Plan(rate=1e9), 10_000),
        (Plan(rate=1), 1),
        (Plan(rate=5, batch_rows=7), 7),
    ],
)
def test_batches_are_as_large_as_the_rate_allows(plan: Plan, rows: int) -> None:
    assert plan.rows == rows


def test_tenants_are_the_demo_s_or_take_after_them() -> None:
    assert profiles(()) == DEMO_TENANTS
    made = profiles(("acme", "tokyo", "other"))
    assert [p.id for p in made] == ["acme", "tokyo", "other"]
    assert made[1] == DEMO_TENANTS[2]
    assert (made[0].currency, made[2].currency) == ("SEK", "USD")


def test_seeds_that_nobody_chose_differ() -> None:
    # Events of the same seed have the same ids: a second run would be nothing but duplicates.
    assert len({random_seed() for _ in range(8)} | {Plan().seed for _ in range(8)}) > 8


@pytest.mark.parametrize("media", list(Media))
def test_requests_hold_their_events(media: Media) -> None:
    traffic = Traffic(Plan(events=2000, seed=3, users=600), SteppedClock())
    made = list(parcels(traffic.batches(), media))
    found: Counter[tuple[str, str]] = Counter()
    for parcel in made:
        if media is Media.ARROW:
            rows = pa.ipc.open_stream(parcel.body).read_all().num_rows
        else:
            rows = len([json.loads(line) for line in parcel.body.splitlines()])
        assert rows == parcel.rows
        found[parcel.tenant, parcel.type] += rows
    assert dict(found) == traffic.truth.events
    assert len({parcel.key for parcel in made}) == len(made)


@pytest.mark.parametrize(
    ("text", "rate"), [("500", 500.0), ("1e5", 1e5), ("1_000", 1000.0), ("2,500", 2500.0), ("flat-out", None)]
)
def test_rates_are_read(text: str, rate: float | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "0", "-5", "nan"])
def test_what_is_no_rate_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="flat-out"):
        parse_rate(text)


def test_in_memory_it_tells_the_truth_and_the_rate(run: Run) -> None:
    found = run("simulate", "--to", "memory", "--rate", "flat-out", "--events", 5000, *SMALL)
    assert found.code == 0
    assert "5,000 events in" in found.out
    assert "seed 7" in found.out
    assert found.out.count("playback") == 1


def test_json_has_all_of_the_truth(run: Run) -> None:
    found = run("simulate", "--to", "memory", "--rate", "flat-out", "--events", 5000, *SMALL, "--json").json
    assert (found["events"], found["seed"], found["receipts"]) == (5000, 7, None)
    assert found["truth"]["total"] == 5000
    assert found["events_per_second"] == pytest.approx(5000 / found["seconds"])


def test_the_same_seed_has_the_same_choices(run: Run) -> None:
    arguments = ("simulate", "--to", "memory", "--rate", "flat-out", "--events", 3000, *SMALL, "--json")
    one, other = (run(*arguments).json["truth"]["tenants"]["nordic"] for _ in range(2))
    for part in ("events", "api_statuses"):
        assert one[part] == other[part]


def _rows(path: Path) -> int:
    if path.suffix == ".parquet":
        return int(pq.read_metadata(path).num_rows)
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return sum(1 for _ in csv.reader(file)) - 1
    return len(path.read_bytes().splitlines())


@pytest.mark.parametrize("ending", ["parquet", "ndjson", "csv"])
def test_files_hold_what_the_truth_counts(run: Run, tmp_path: Path, ending: str) -> None:
    found = run(
        "simulate", "--to", tmp_path / f"out.{ending}", "--tenant", "acme", "--history", 1, *SMALL, "--json"
    ).json
    events = found["truth"]["tenants"]["acme"]["events"]
    assert sorted(found["files"]) == sorted(str(tmp_path / "out" / "acme" / f"{kind}.{ending}") for kind in events)
    assert {Path(f).stem: _rows(Path(f)) for f in found["files"]} == events


def test_the_first_files_are_named(run: Run) -> None:
    found = run("simulate", "--to", "out.ndjson", "--events", 400, "--rate", "flat-out", *SMALL)
    assert found.out.count("wrote out/") == 5
    assert "more files" in found.out


def test_an_unknown_ending_is_told(run: Run) -> None:
    found = run("simulate", "--to", "out.xlsx", "--events", 1, *SMALL)
    assert found.code == 2
    assert ".parquet, .ndjson, .csv" in found.err


def _rows_of(request: Request) -> int:
    if request.headers["content-type"] == Media.ARROW:
        return int(pa.ipc.open_stream(request.body).read_all().num_rows)
    return len(request.body.splitlines())


@pytest.mark.parametrize("form", ["arrow", "ndjson"])
def test_a_server_gets_every_event_and_the_receipts_agree(run: Run, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda r: receipt(_rows_of(r), duplicate=1)) as server:
        monkeypatch.setenv("COLLECTORS_KEY", "k")
        found = run(
            "simulate", "--to", server.url, "--rate", "flat-out", "--events", 3000, "--format", form, *SMALL, "--json"
        )
    assert found.code == 0
    assert sum(map(_rows_of, server.requests)) == 3000
    receipts: dict[str, Any] = found.json["receipts"]
    assert receipts["offered"] == 3000
    assert receipts["accepted"] + receipts["duplicate"] == 3000
    assert receipts["duplicate"] == len(server.requests)


def test_receipts_are_shown_beside_the_truth(run: Run) -> None:
    def respond(request: Request) -> Answer:
        answer = receipt(_rows_of(request), rejected=1)
        answer.body |= {"reasons": [{"row": 0, "reason": "missing", "detail": "x is required"}]}  # type: ignore[operator]
        return answer

    answers = iter([refusal(429, **{"retry-after": "0"})])
    with serving(lambda r: next(answers, None) or respond(r)) as server:
        found = run("simulate", "--url", server.url, "--key", "k", "--rate", "flat-out", "--events", 2000, *SMALL)
    assert found.code == 0
    assert "every event is accounted for" in found.out
    assert "1 requests were sent again" in found.out
    assert "rejected, missing: x is required" in found.out


def test_events_that_are_unaccounted_for_fail_it(run: Run) -> None:
    with serving(lambda r: receipt(_rows_of(r) - 1)) as server:
        found = run("simulate", "--url", server.url, "--key", "k", "--rate", "flat-out", "--events", 2000, *SMALL)
    assert found.code == 1
    assert f"{len(server.requests)} events are unaccounted for" in found.out


@pytest.mark.parametrize("target", ["memory", "server"])
def test_ctrl_c_still_tells_what_was_sent(run: Run, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    calls = 0

    def interrupt() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            os.kill(os.getpid(), signal.SIGINT)

    def respond(request: Request) -> Answer:
        interrupt()
        return receipt(_rows_of(request))

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        with serving(respond) as server:
            if target == "memory":
                monkeypatch.setattr(SystemClock, "block", lambda *_: interrupt())
                found = run("simulate", "--to", "memory", "--rate", 2000, *SMALL, "--json")
            else:
                found = run("simulate", "--to", server.url, "--key", "k", "--rate", 20_000, *SMALL, "--json")
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
    assert found.code == 130
    if target == "server":
        assert found.json["receipts"]["offered"] == found.json["truth"]["total"] == sum(map(_rows_of, server.requests))
    assert found.json["events"] > 0
