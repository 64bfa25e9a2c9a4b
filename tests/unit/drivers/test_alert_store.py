"""What alerting must not forget is there for every process, and a full disk is said to be one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from collectors.config.alerting import Silence
from collectors.drivers import alert_store
from collectors.drivers.alert_store import AlertStore
from collectors.errors import StorageUnavailable, UnknownName


@dataclass(frozen=True)
class New:
    id: str
    handler: str = "ops"
    group: str = "g"
    tenant: str = "acme"
    created_us: int = 100

    def dump(self) -> str:
        return f"content of {self.id}"


@pytest.fixture
def store(tmp_path: Path) -> AlertStore:
    return AlertStore(tmp_path / "new" / "alerts.db")


def test_states_and_notifications_are_committed_together_and_once(store: AlertStore, tmp_path: Path) -> None:
    store.commit({"book": b"1"}, [New("a"), New("b", group="h")])
    store.commit({"book": b"2"}, [New("a"), New("c")])
    assert store.states() == {"book": b"2"}
    other = AlertStore(tmp_path / "new" / "alerts.db")
    assert [(d.id, d.content, d.state) for d in reversed(other.deliveries())] == [
        (i, f"content of {i}", "waiting") for i in "abc"
    ]
    assert (tmp_path / "new" / "alerts.db").stat().st_mode & 0o077 == 0


def test_heads_are_the_oldest_of_each_group_those_due_first_before_others(store: AlertStore) -> None:
    store.commit({}, [New("a1"), New("a2"), New("b1", group="h", created_us=50), New("x", handler="other")])
    assert [d.id for d in store.heads("ops", 10)] == ["b1", "a1"]
    assert [d.id for d in store.heads("ops", 1)] == ["b1"]
    first = next(d for d in store.heads("ops", 10) if d.id == "a1")
    store.record(first.number, 110, "failed", "down", next_us=500)
    assert [(d.id, d.next_us, d.attempts) for d in store.heads("ops", 10)] == [("b1", 50, 0), ("a1", 500, 1)]
    store.record(first.number, 500, "delivered")
    assert [d.id for d in store.heads("ops", 10)] == ["b1", "a2"]
    assert [(a.number, a.at_us, a.outcome, a.error) for a in store.attempts(first.number)] == [
        (1, 110, "failed", "down"),
        (2, 500, "delivered", ""),
    ]
    assert [d.id for d in store.deliveries(tenant="acme", state="delivered")] == ["a1"]
    assert store.deliveries(tenant="other") == []


def test_what_is_old_is_deleted(store: AlertStore) -> None:
    store.commit({}, [New("old"), New("young", created_us=900)])
    number = store.deliveries()[-1].number
    store.record(number, 110, "given_up", "no")
    store.add_silence(Silence(match=("a=b",), starts_us=1, ends_us=10))
    store.acknowledge("x", 5)
    store.commit({}, [], ["x"])
    store.acknowledge("unseen", 5)
    store.expire(500)
    assert [d.id for d in store.deliveries()] == ["young"]
    assert store.attempts(number) == []
    assert store.silences(0) == []
    assert set(store.acknowledgements()) == {"unseen"}


def test_silences_are_kept_until_they_are_over_or_ended(store: AlertStore) -> None:
    mine = store.add_silence(Silence(match=("a=b",), tenant="acme", starts_us=10, ends_us=100, comment="why"))
    every = store.add_silence(Silence(match=("a=b",), starts_us=20, ends_us=100))
    theirs = store.add_silence(Silence(match=("a=b",), tenant="other", starts_us=30, ends_us=100))
    assert [s.id for s in store.silences(50)] == [mine, every, theirs]
    assert [s.id for s in store.silences(50, "acme")] == [mine, every]
    assert store.silences(100) == []
    with pytest.raises(UnknownName):
        store.end_silence(theirs, 50, "acme")
    with pytest.raises(UnknownName, match="no such silence"):
        store.end_silence(every, 50, "acme")
    store.end_silence(mine, 50, "acme")
    assert [(s.id, s.silence.ends_us) for s in store.silences(40, "acme")] == [(mine, 50), (every, 100)]
    store.end_silence(every, 15)
    assert every not in {s.id for s in store.silences(0)}
    with pytest.raises(UnknownName):
        store.end_silence(mine, 60)


def test_there_is_a_bound_to_silences(store: AlertStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_store, "MAX_SILENCES", 1)
    store.add_silence(Silence(match=("a=b",), starts_us=1, ends_us=2))
    with pytest.raises(StorageUnavailable, match="1 silences already"):
        store.add_silence(Silence(match=("a=b",), starts_us=1, ends_us=2))


def test_the_first_acknowledgement_counts(store: AlertStore) -> None:
    store.acknowledge("x", 5, "ada")
    store.acknowledge("x", 6, "bob")
    assert store.acknowledgements(unseen=True) == {"x": (5, "ada")}
    store.commit({}, [], ["x"])
    assert store.acknowledgements(unseen=True) == {}


def test_a_database_that_can_not_be_used_is_said_to_be_one(store: AlertStore, tmp_path: Path) -> None:
    store.close()
    path = tmp_path / "new" / "alerts.db"
    for file in path.parent.iterdir():
        file.unlink()
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StorageUnavailable, match="repair the disk"):
        store.states()
