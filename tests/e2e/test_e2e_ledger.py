"""The ledger equals what was sent, whatever was sent."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from typing import Any

import pytest

from collectors.clock import SYSTEM_CLOCK
from tests.e2e.forms import FORMS, MANY, iso, playback
from tests.e2e.live_server import TenantHandle

_DAY_US = 86_400 * 10**6
KINDS = ("good", "good", "good", "repeat", "late", "too_late", "future", "negative", "missing")


def _event(kind: str, rng: random.Random, known: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Return an event of a kind and what must become of it."""
    now = SYSTEM_CLOCK.now_us()
    fresh = playback(event_id=str(uuid.UUID(int=rng.getrandbits(128))), ms_played=rng.randrange(10_000))
    if kind == "repeat" and known:
        return "duplicate", rng.choice(known)
    changes: dict[str, tuple[str, dict[str, Any]]] = {
        "late": ("stored", {"event_time": iso(now - 200 * _DAY_US)}),
        "too_late": ("rejected", {"event_time": iso(now - 401 * _DAY_US)}),
        "future": ("rejected", {"event_time": iso(now + 600 * 10**6)}),
        "negative": ("rejected", {"ms_played": -1}),
        "missing": ("rejected", {"track_id": None}),
    }
    outcome, change = changes.get(kind, ("stored", {}))
    return outcome, fresh | change


@pytest.mark.parametrize("seed", range(4))
def test_the_ledger_is_what_was_sent_after_any_sequence_in_any_form(tenant: TenantHandle, seed: int) -> None:
    rng = random.Random(seed)
    picky = tenant.server.tenant("picky", dropped_types=["app_event"])
    expected: Counter[str] = Counter()
    known: list[dict[str, Any]] = []
    for _ in range(40):
        name = rng.choice(sorted(FORMS))
        outcomes: Counter[str] = Counter()
        events = []
        for _ in range(rng.choice([1, 2, 9]) if name in MANY else 1):
            outcome, event = _event(rng.choice(KINDS), rng, known)
            if outcome == "stored":
                known.append(event)
            events.append(event)
            outcomes[outcome] += 1
        type_, media, body, headers = FORMS[name](events)
        receipt = picky.post(body, type_, media, **headers).json()
        assert receipt["accepted"] == outcomes["stored"], (name, events, receipt)
        assert receipt["duplicate"] == outcomes["duplicate"]
        assert receipt["rejected"] == outcomes["rejected"]
        expected += outcomes
    unwanted = [{"name": "n", "user_id": "u"}] * rng.randrange(1, 9)
    picky.send(*unwanted, type_="app_event")
    expected["dropped"] = len(unwanted)
    expected["offered"] = sum(expected.values())
    assert picky.settled() == dict(expected)
    stored = picky.lake()
    assert len(stored) == expected["stored"]
    assert {r["event_id"] for r in stored} == {uuid.UUID(e["event_id"]).bytes for e in known}


def test_the_counts_of_types_add_up_to_the_total_and_to_the_overview(tenant: TenantHandle) -> None:
    tenant.send(playback(), playback(ms_played=-1))
    tenant.send({"name": "n"}, {"name": None}, type_="app_event")
    total = tenant.settled()
    types = tenant.get("ledger")["types"]
    assert set(types) == {"playback", "app_event"}
    for name, count in total.items():
        assert sum(t[name] for t in types.values()) == count == 2 * (1 + (name == "offered"))
    headers = {"authorization": f"Bearer {tenant.read_key}"}
    (mine,) = tenant.server.client.get("/v1/overview", headers=headers).json()["tenants"]
    assert mine["id"] == tenant.id
    assert {k: v for k, v in mine["ledger"].items() if v} == total


def test_two_senders_of_the_same_events_store_them_once(tenant: TenantHandle) -> None:
    from concurrent.futures import ThreadPoolExecutor

    events = [playback(event_id=str(uuid.UUID(int=n + 1))) for n in range(100)]
    batches = [events[i : i + 20] for i in range(0, 100, 20)] * 6
    with ThreadPoolExecutor(4) as pool:
        receipts = list(pool.map(lambda batch: tenant.send(*batch), batches))
    assert sum(r["accepted"] for r in receipts) == 100
    assert sum(r["duplicate"] for r in receipts) == 500
    assert tenant.settled() == {"offered": 600, "stored": 100, "duplicate": 500}
    assert len(tenant.lake()) == 100
