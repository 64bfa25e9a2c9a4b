"""Commands that talk to a server: what they ask of it, and what they make of its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cli_runner import Run
from cli_server import Answer, Request, Server, receipt, refusal, serving

from collectors.cli.top import frame
from collectors.clock import SystemClock


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setenv("COLLECTORS_KEY", "k")


def _sse(*frames: tuple[str, Any]) -> bytes:
    return b"".join(f"event: {event}\ndata: {json.dumps(data)}\n\n".encode() for event, data in frames)


SAMPLES = {
    "time": 1_500_000,
    "samples": [
        {"metric": "system.cpu.time", "labels": {"cpu.mode": "user"}, "time": 1_500_000, "value": 2.5},
        {"metric": "system.cpu.time", "labels": {"cpu.mode": "idle"}, "time": 1_500_000, "value": 7.0},
        {"metric": "other", "labels": {}, "time": 1_500_000, "value": None, "reason": "no events yet"},
    ],
}
ALERT = {
    "id": "1",
    "rule": "brute_force",
    "key": "x",
    "severity": "critical",
    "state": "firing",
    "summary": "Many failures",
    "labels": {"ip": "198.18.0.0/24"},
    "started": 1_500_000,
    "ended": None,
    "value": None,
}


def _stream(request: Request) -> Answer:
    if request.path == "/v1/tenants":
        return Answer(body=[{"id": "a"}])
    return Answer(
        body=_sse(("samples", SAMPLES), ("ledger", {}), ("alert", ALERT), ("alert", {**ALERT, "state": "resolved"}))
    )


def test_samples_go_by_one_a_line(run: Run) -> None:
    with serving(_stream) as server:
        found = run("tap", "--samples", "*", "--limit", 3, "--url", server.url)
    assert found.code == 0
    assert found.out.splitlines() == [
        "1970-01-01 00:00:01.500Z a system.cpu.time{cpu.mode=user} 2.5",
        "1970-01-01 00:00:01.500Z a system.cpu.time{cpu.mode=idle} 7",
        "1970-01-01 00:00:01.500Z a other{} undefined: no events yet",
    ]


def test_samples_are_chosen_by_pattern_and_label(run: Run) -> None:
    with serving(_stream) as server:
        found = run(
            "tap", "--samples", "system.*", "--where", "cpu.mode=idle", "--json", "--limit", 1, "--url", server.url
        )
    assert found.json == {"tenant": "a", **SAMPLES["samples"][1]}  # type: ignore[dict-item]


def test_alerts_go_by_one_a_line(run: Run) -> None:
    with serving(_stream) as server:
        found = run("tap", "--alerts", "--tenant", "b", "--limit", 2, "--url", server.url)
    assert found.out.splitlines() == [
        "1970-01-01 00:00:01.500Z b firing critical brute_force{ip=198.18.0.0/24} Many failures",
        "1970-01-01 00:00:01.500Z b resolved critical brute_force{ip=198.18.0.0/24} Many failures",
    ]


@pytest.mark.parametrize("arguments", [[], ["--alerts", "--samples", "*"], ["--events", "all", "--alerts"]])
def test_it_must_be_said_what_to_watch(run: Run, arguments: list[str]) -> None:
    found = run("tap", *arguments)
    assert found.code == 2
    assert "--samples PATTERN, --alerts, --events TYPE" in found.err


def _counts(**given: int) -> dict[str, int]:
    names = ("offered", "stored", "duplicate", "rejected", "dropped", "in_flight", "balance")
    return {name: given.get(name, 0) for name in names}


def _tenant(name: str, **given: Any) -> dict[str, Any]:
    usual = {
        "events_per_second": 0.0,
        "ledger": _counts(),
        "freshness_seconds": None,
        "collectors": {"running": 3, "failing": 0},
        "alerts": {"firing": 0},
    }
    return {"id": name, **usual, **given}


def _overview(*tenants: dict[str, Any], worker_up: bool = True) -> dict[str, Any]:
    server = {"gateway": {"up": True, "uptime_seconds": 100_000.0}, "worker": {"up": worker_up, "behind_records": 5}}
    return {"time": 1_500_000, "tenants": list(tenants), "server": server}


def _top(request: Request) -> Answer:
    if request.path.endswith("/alerts"):
        assert request.query == {"state": "firing", "limit": "10"}
        return Answer(body=[{**ALERT, "started": i} for i in range(10)])
    if request.path.endswith("/latest"):
        return Answer(
            body=[
                {"metric": "collectors.system.cpu.utilization", "labels": {}, "time": 1, "value": 0.756, "reason": ""},
                {
                    "metric": "collectors.system.memory.utilization",
                    "labels": {},
                    "time": 1,
                    "value": None,
                    "reason": "x",
                },
                {"metric": "other", "labels": {}, "time": 1, "value": 1.0, "reason": ""},
            ]
        )
    return Answer(
        body=_overview(
            _tenant("slow", freshness_seconds=0.25),
            _tenant(
                "fast",
                events_per_second=12_345.0,
                ledger=_counts(offered=1_000_000, stored=999_990, balance=10),
                collectors={"running": 2, "failing": 1},
                alerts={"firing": 12},
            ),
            _tenant("b", alerts={"firing": 12}, events_per_second=None),
            _tenant("platform"),
        )
    )


def test_one_frame_shows_tenants_alerts_and_the_machine(run: Run) -> None:
    with serving(_top) as server:
        found = run("top", "--once", "--url", server.url)
    assert found.code == 0
    lines = found.out.splitlines()
    assert lines[0] == "1970-01-01 00:00:01.500Z   gateway up 1 d 3 h   worker up, 5 records behind   CPU 76%"
    rows = {line.split()[0]: line for line in lines if line.strip()}
    assert list(rows)[3:5] == ["fast", "slow"]  # the busiest first
    assert rows["fast"].split()[1:4] == ["12.3k", "1,000,000", "999,990"]
    assert rows["b"].split()[1] == "-"
    assert "10 missing" in rows["fast"]
    assert "2, 1 failing" in rows["fast"]
    assert "0.2 s" in rows["slow"]
    assert found.out.count("Many failures") == 10
    assert "and 10 more alerts" in found.out


def test_a_key_that_may_not_see_the_machine_is_not_shown_it(run: Run) -> None:
    with serving(lambda _: Answer(body=_overview(_tenant("a"), worker_up=False))) as server:
        found = run("top", "--once", "--url", server.url)
    assert "CPU" not in found.out
    assert "worker down" in found.out
    assert [r.path for r in server.requests] == ["/v1/overview"]


def test_a_frame_as_json(run: Run) -> None:
    with serving(_top) as server:
        found = run("top", "--json", "--url", server.url).json
    assert found["machine"]["collectors.system.cpu.utilization"] == 0.756
    assert len(found["alerts"]) == 20


def test_frames_follow_each_other_also_through_a_restart(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(
        [Answer(body=_overview(_tenant("a"))), refusal(503, "back soon"), Answer(body=_overview(_tenant("b")))]
    )
    waits: list[float] = []

    def block(_: SystemClock, seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(SystemClock, "block", block)
    with serving(lambda _: next(answers)) as server:
        found = run("top", "--refresh", 2, "--url", server.url)
    assert found.code == 130
    assert waits == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("seconds", "text"), [(5.2, "5 s"), (65, "1 min 5 s"), (3_700, "1 h 1 min"), (200_000, "2 d 7 h")]
)
def test_up_times_are_told_in_two_units(seconds: float, text: str) -> None:
    from collectors.cli.show import console

    seen = {**_overview(), "alerts": [], "machine": {}}
    seen["server"]["gateway"]["uptime_seconds"] = seconds
    out = console()
    with out.capture() as captured:
        out.print(frame(seen))
    assert f"gateway up {text} " in captured.get()


def _letters(request: Request) -> Answer:
    if request.path == "/v1/tenants":
        return Answer(body=[{"id": "a"}, {"id": "b"}])
    if request.method == "POST":
        position = int(request.path.split("/")[5])
        answer = receipt(3, rejected=int(position == 30))
        if position == 30:
            answer.body |= {"reasons": [{"row": 0, "reason": "missing", "detail": "x is required"}]}  # type: ignore[operator]
        return answer
    if "/b/" in request.path:
        return Answer(body=[])
    # A page may be shorter than asked for; only an empty one ends the list.
    after = int(request.query["after"])
    page = [p for p in (10, 20, 30) if p > after][:2]
    letter = {"type": "playback", "time": 1_500_000, "rows": 3, "reasons": {"missing": 1, "too_small": 2}}
    return Answer(body=[{"position": p, **letter, **({"reasons": None} if p == 20 else {})} for p in page])


def _posts(server: Server) -> dict[str, Any]:
    return {r.path: json.loads(r.body) for r in server.requests if r.method == "POST"}


def test_dead_letters_are_listed_page_by_page(run: Run) -> None:
    with serving(_letters) as server:
        table = run("replay", "--list", "--url", server.url)
        found = run("replay", "--list", "--tenant", "a", "--json", "--url", server.url).json
    assert "too_small 2, missing 1" in table.out
    assert "unreadable" in table.out
    assert [letter["position"] for letter in found["a"]] == [10, 20, 30]
    assert list(found) == ["a"]


def test_no_dead_letters_are_told(run: Run) -> None:
    with serving(_letters) as server:
        assert run("replay", "--list", "-t", "b", "--url", server.url).out == "No dead letters.\n"


def test_one_dead_letter_is_replayed_with_its_edits(run: Run) -> None:
    arguments = ("--set", "n=5", "--set", "s=text", "--set", 'o={"a": [1]}', "--rename", "uid=user_id", "--remove", "x")
    with serving(_letters) as server:
        found = run("replay", "-t", "a", "--position", 10, *arguments, "--url", server.url)
    assert found.code == 0
    assert "1 dead letters replayed: 3 accepted, 0 duplicate, 0 rejected, 0 dropped" in found.out
    assert _posts(server) == {
        "/v1/tenants/a/dead-letters/10/replay": {
            "set": {"n": 5, "s": "text", "o": {"a": [1]}},
            "rename": {"uid": "user_id"},
            "remove": ["x"],
        }
    }


def test_all_dead_letters_are_replayed_and_new_rejections_fail_it(run: Run) -> None:
    with serving(_letters) as server:
        found = run("replay", "-t", "a", "--all", "--url", server.url)
        told = run("replay", "-t", "a", "--all", "--json", "--url", server.url)
    assert found.code == told.code == 1
    assert "again rejected, missing: x is required" in found.out
    assert [path.split("/")[5] for path in _posts(server)] == ["10", "20", "30"]
    assert told.json["total"] == {"accepted": 8, "duplicate": 0, "rejected": 1, "dropped": 0}


@pytest.mark.parametrize("arguments", [[], ["-t", "a"], ["-t", "a", "--all", "--position", "1"], ["--all"]])
def test_it_must_be_said_what_to_replay(run: Run, arguments: list[str]) -> None:
    found = run("replay", *arguments, "--url", "http://127.0.0.1:9")
    assert found.code == 2
    assert "--list shows what there is" in found.err
