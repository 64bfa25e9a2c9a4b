"""What the stores hold, as the API tells it."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pytest
from server_world import NOW_US, WORKER_FRAME, Gateway, status_frame

from collectors.drivers.event_log import LogWriter, Record
from collectors.drivers.ledger_store import DeadLetter, Fold
from collectors.drivers.sample_store import LabelledSample
from collectors.intake.prepare import DEAD_LETTER_FIELD
from collectors.model.alert import Alert, AlertState
from collectors.model.batch import LedgerCounts
from collectors.model.metric import Kind, MetricSpec, Sample, Severity, Unit
from collectors.privacy.aead import associated_data, seal

CPU = MetricSpec("system.cpu.utilization", Kind.GAUGE, Unit.RATIO, "Share of time.", ("cpu.mode",), nullable=True)


# Ledger and dead letters


def sealed(gateway: Gateway, tenant: str, type_: str, reasons: list[str]) -> bytes:
    table = pa.table({"reason": pa.array(reasons, pa.string()), "raw": pa.nulls(len(reasons), pa.binary())})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    place = associated_data(tenant, type_, DEAD_LETTER_FIELD)
    return seal(gateway.folder.keys.keyset(tenant), place, sink.getvalue().to_pybytes())


def fold(gateway: Gateway, letters: int = 0) -> None:
    """Put some history into the ledger, and some events into the log's tail."""
    writer = LogWriter(gateway.folder.log)
    gateway.folder.ledger.fold(
        Fold(
            counts={
                ("acorn", "playback"): LedgerCounts(10, 6, 1, 3, 0),
                ("birch", "auth"): LedgerCounts(1000, 1000, 0, 0, 0),
            },
            dead_letters=tuple(
                DeadLetter(n, "acorn", "playback", NOW_US, 3, sealed(gateway, "acorn", "playback", ["missing"] * 3))
                for n in range(1, letters + 1)
            ),
            replayed=(),
            position=letters,
            notes={},
        )
    )
    writer.append(
        [
            Record("acorn", "playback", NOW_US, 0, rows=4, offered=5, duplicate=0, rejected=0, dropped=1)
            for _ in range(letters + 1)
        ]
    )
    writer.close()


async def test_the_ledger_adds_history_and_what_is_in_flight(gateway: Gateway) -> None:
    fold(gateway, letters=1)
    async with gateway.client("acorn-read") as client:
        ledger = (await client.get("/v1/tenants/acorn/ledger")).json()
    expected = {
        "offered": 15,
        "stored": 6,
        "duplicate": 1,
        "rejected": 3,
        "dropped": 1,
        "in_flight": 4,
        "balance": 0,
    }
    assert ledger == {"total": expected, "types": {"playback": expected}}


async def test_dead_letters_are_listed_in_pages_with_their_reasons(gateway: Gateway) -> None:
    fold(gateway, letters=20)
    async with gateway.client("acorn-read") as client:
        seen: list[int] = []
        while page := (
            await client.get("/v1/tenants/acorn/dead-letters", params={"after": seen[-1] if seen else 0, "limit": 9})
        ).json():
            assert len(page) <= 9
            seen += [letter["position"] for letter in page]
            assert page[0] == {
                "position": seen[-len(page)],
                "type": "playback",
                "time": NOW_US,
                "rows": 3,
                "reasons": {"missing": 3},
            }
        assert seen == list(range(1, 21))
        gateway.folder.keys.shred("acorn")
        (letter,) = (await client.get("/v1/tenants/acorn/dead-letters?limit=1")).json()
    assert letter["reasons"] is None


async def test_a_dead_letter_is_replayed_with_an_edit(gateway: Gateway) -> None:
    edit = {"set": {"country": "SE", "n": [1, None, {"x": 2.5}]}, "rename": {"song": "track_id"}, "remove": ["debug"]}
    async with gateway.client("acorn-admin") as client:
        answer = await client.post("/v1/tenants/acorn/dead-letters/7/replay", json=edit)
        assert answer.json() == {
            "accepted": 1,
            "duplicate": 0,
            "rejected": 0,
            "dropped": 0,
            "position": 8,
            "dead_letter": None,
            "reasons": [],
        }
        assert (await client.post("/v1/tenants/acorn/dead-letters/8/replay", json={})).status_code == 404
        later = await client.post("/v1/tenants/acorn/dead-letters/9/replay", json={})
        assert (later.status_code, later.headers["retry-after"]) == (503, "3")
        for bad in ({"set": 1}, {"remove": [""]}, {"drop": []}):
            assert (await client.post("/v1/tenants/acorn/dead-letters/7/replay", json=bad)).status_code == 400
    async with gateway.client("acorn-write") as client:
        assert (await client.post("/v1/tenants/acorn/dead-letters/7/replay", json=edit)).status_code == 403
    ((tenant, position, asked),) = gateway.replays.asked
    assert (tenant, position, dict(asked.set), dict(asked.rename), asked.remove) == (
        "acorn",
        7,
        edit["set"],
        edit["rename"],
        ("debug",),
    )


# Samples, alerts, collectors


def store(gateway: Gateway, tenant: str, points: Iterable[tuple[int, float | None]], mode: str = "user") -> None:
    gateway.folder.samples.declare(tenant, "system_performance", [CPU])
    gateway.folder.samples.add(
        [
            LabelledSample(
                tenant,
                Sample(CPU.name, value, (mode,), time, "" if value is not None else "no reading"),
                (("cpu.mode", mode),),
            )
            for time, value in points
        ]
    )


async def test_metrics_samples_and_last_values_are_those_of_the_store(gateway: Gateway) -> None:
    store(gateway, "acorn", [(NOW_US - 2_000_000, 0.25), (NOW_US - 1_000_000, 0.75), (NOW_US - 500_000, None)])
    async with gateway.client("acorn-read") as client:
        (metric,) = (await client.get("/v1/tenants/acorn/metrics")).json()
        assert metric == {
            "name": CPU.name,
            "kind": "gauge",
            "unit": "1",
            "description": "Share of time.",
            "labels": ["cpu.mode"],
            "collector": "system_performance",
            "series": 1,
        }
        (latest,) = (await client.get("/v1/tenants/acorn/latest")).json()
        assert latest == {
            "metric": CPU.name,
            "labels": {"cpu.mode": "user"},
            "time": NOW_US - 500_000,
            "value": None,
            "reason": "no reading",
        }
        whole = (await client.get("/v1/tenants/acorn/samples", params={"metric": CPU.name, "points": 5000})).json()
        assert whole["unit"] == "1"
        assert whole["series"][0]["labels"] == {"cpu.mode": "user"}
        assert whole["series"][0]["points"][-1] == [NOW_US - 500_000, None]
        one = await client.get(
            "/v1/tenants/acorn/samples",
            params={"metric": CPU.name, "since": NOW_US - 3_000_000, "until": NOW_US - 600_000, "points": 1},
        )
        assert one.json()["series"][0]["points"] == [[NOW_US - 1_000_000, 0.5]]


async def test_many_series_share_the_points_of_an_answer(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        store(gateway, "acorn", [(NOW_US - n * 1000, 1.0) for n in range(1, 50)], mode=f"m{number}")
    monkeypatch.setattr("collectors.server.routes.samples._MAX_POINTS", 40)
    async with gateway.client("acorn-read") as client:
        params = {"metric": CPU.name, "since": NOW_US - 50_000, "points": 5000}
        answer = (await client.get("/v1/tenants/acorn/samples", params=params)).json()
    assert [len(s["points"]) for s in answer["series"]] == [10] * 4


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("metric=no.such", 404),
        ("metric=system.cpu.utilization&since=5&until=5", 200),
        ("metric=system.cpu.utilization&since=-1", 400),
        ("metric=system.cpu.utilization&until=99999999999999999999", 400),
        ("metric=system.cpu.utilization&points=0", 400),
        ("metric=system.cpu.utilization&points=5001", 400),
        ("metric=" + "x" * 201, 400),
        ("metric=%00%ed%a0%80", 404),
        ("", 400),
    ],
)
async def test_a_range_that_makes_no_sense_is_refused(gateway: Gateway, query: str, status: int) -> None:
    store(gateway, "acorn", [(NOW_US, 1.0)])
    async with gateway.client("acorn-read") as client:
        assert (await client.get(f"/v1/tenants/acorn/samples?{query}")).status_code == status


def alert(tenant: str, number: int, state: AlertState) -> Alert:
    ended = NOW_US if state is AlertState.RESOLVED else None
    return Alert(
        f"{tenant}-{number}",
        tenant,
        "cpu_usage",
        "host",
        Severity.WARNING,
        state,
        "It is hot.",
        (("host", "a"),),
        NOW_US + number,
        ended,
        0.9,
    )


async def test_alerts_are_listed_by_state_the_newest_first(gateway: Gateway) -> None:
    for number, state in enumerate([AlertState.FIRING, AlertState.RESOLVED, AlertState.FIRING]):
        gateway.folder.samples.put_alerts([alert("acorn", number, state)])
    async with gateway.client("acorn-read") as client:
        every = (await client.get("/v1/tenants/acorn/alerts")).json()
        firing = (await client.get("/v1/tenants/acorn/alerts?state=firing")).json()
        one = (await client.get("/v1/tenants/acorn/alerts?state=all&limit=1")).json()
        assert (await client.get("/v1/tenants/acorn/alerts?state=loud")).status_code == 400
    assert [a["id"] for a in every] == ["acorn-2", "acorn-0", "acorn-1"]
    assert (firing, one) == (every[:2], every[:1])
    assert every[0] == {
        "id": "acorn-2",
        "rule": "cpu_usage",
        "key": "host",
        "severity": "warning",
        "state": "firing",
        "summary": "It is hot.",
        "labels": {"host": "a"},
        "started": NOW_US + 2,
        "ended": None,
        "value": 0.9,
    }


async def test_collectors_are_as_the_worker_tells_and_stopped_without_one(gateway: Gateway) -> None:
    async with gateway.client("acorn-read") as client:
        assert (await client.get("/v1/tenants/acorn/collectors")).json() == []
        gateway.hub.take(status_frame("acorn"))
        (collector,) = (await client.get("/v1/tenants/acorn/collectors")).json()
        assert (collector["name"], collector["state"], collector["runs"]) == ("acorn_collector", "running", 3)
        gateway.clock.advance(10.0)
        (collector,) = (await client.get("/v1/tenants/acorn/collectors")).json()
        assert (collector["state"], collector["runs"]) == ("stopped", 3)


async def test_half_a_surrogate_in_a_label_does_not_break_the_answer(gateway: Gateway) -> None:
    store(gateway, "acorn", [(NOW_US, 1.0)], mode="caf\udce9")
    async with gateway.client("acorn-read") as client:
        answer = await client.get("/v1/tenants/acorn/latest")
    assert answer.status_code == 200
    assert answer.content.count(rb"caf\udce9") == 1


# Overview


async def test_the_overview_sums_up_what_each_part_tells(gateway: Gateway) -> None:
    fold(gateway, letters=1)
    gateway.folder.samples.put_alerts([alert("acorn", 1, AlertState.FIRING)])
    gateway.folder.samples.put_alerts([alert("birch", 1, AlertState.RESOLVED)])
    gateway.hub.take(WORKER_FRAME)
    gateway.hub.take(status_frame("acorn"))
    gateway.clock.advance(5.0)
    async with gateway.client("all-read") as client:
        seen = (await client.get("/v1/overview")).json()
        gateway.clock.advance(5.0)
        without_worker = (await client.get("/v1/overview")).json()
    acorn, birch = seen["tenants"]
    assert seen["time"] == NOW_US + 5_000_000
    assert seen["server"] == {
        "gateway": {"up": True, "uptime_seconds": 5.0},
        "worker": {"up": True, "behind_records": 4},
    }
    assert (acorn["id"], acorn["events_per_second"], acorn["freshness_seconds"]) == ("acorn", 120.0, 0.5)
    assert (acorn["collectors"], acorn["alerts"]) == ({"running": 1, "failing": 0}, {"firing": 1})
    assert (acorn["ledger"]["offered"], acorn["ledger"]["balance"]) == (15, 0)
    assert (birch["events_per_second"], birch["ledger"]["stored"], birch["alerts"]) == (None, 1000, {"firing": 0})
    assert without_worker["server"]["worker"] == {"up": False, "behind_records": None}
    acorn = without_worker["tenants"][0]
    assert (acorn["events_per_second"], acorn["freshness_seconds"]) == (None, None)
    assert (acorn["collectors"], acorn["ledger"]["offered"]) == ({"running": 0, "failing": 0}, 15)
