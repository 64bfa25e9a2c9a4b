"""The small stores keep what they are given, over restarts, each tenant's apart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.clock import until

from collectors.clock import SYSTEM_CLOCK
from collectors.config.tenant import TenantConfig
from collectors.drivers.bus import BusPublisher, listen
from collectors.drivers.control_store import ControlStore, Scope
from collectors.drivers.ledger_store import DeadLetter, Fold, LedgerStore
from collectors.drivers.sample_store import LabelledSample, SampleStore
from collectors.drivers.streaming_store import StreamingStore
from collectors.errors import BadInput, StorageUnavailable, UnknownName
from collectors.model.alert import Alert, AlertState
from collectors.model.batch import LedgerCounts
from collectors.model.metric import Kind, MetricSpec, Sample, Severity, Unit

SPEC = MetricSpec("test.value", Kind.GAUGE, Unit.COUNT, "A value.", labels=("which",), nullable=True)


@pytest.fixture
def control(tmp_path: Path) -> ControlStore:
    return ControlStore(tmp_path / "control.db", SYSTEM_CLOCK)


def test_tenants_are_created_changed_and_listed(control: ControlStore, tmp_path: Path) -> None:
    version = control.version()
    control.put_tenant("acme", TenantConfig(time_zone="Europe/Stockholm"))
    control.put_tenant("acme", TenantConfig(time_zone="Asia/Tokyo"))
    control.put_tenant("zeta", TenantConfig())
    assert control.version() > version
    again = ControlStore(tmp_path / "control.db", SYSTEM_CLOCK)
    assert [(t.id, t.config.time_zone) for t in again.tenants()] == [("acme", "Asia/Tokyo"), ("zeta", "UTC")]
    with pytest.raises(UnknownName):
        control.tenant("none")


@pytest.mark.parametrize("name", ["", "A", "../x", "-a", "a b", "ü", "a" * 64, "a\n"])
def test_a_tenant_id_that_could_be_mistaken_is_refused(control: ControlStore, name: str) -> None:
    with pytest.raises(BadInput):
        control.put_tenant(name, TenantConfig())


def test_keys_are_good_for_what_they_say_until_they_are_revoked(control: ControlStore, tmp_path: Path) -> None:
    control.put_tenant("acme", TenantConfig())
    text = control.create_key("acme", [Scope.WRITE], label="app")
    key = control.authenticate(text)
    assert key is not None
    assert key.allows(Scope.WRITE, "acme")
    assert not key.allows(Scope.READ, "acme")
    assert not key.allows(Scope.WRITE, "zeta")
    assert not key.allows(Scope.WRITE, None)
    operator = control.authenticate(control.create_key(None, [Scope.ADMIN]))
    assert operator is not None
    assert operator.allows(Scope.READ, "anyone")
    assert operator.allows(Scope.WRITE, None)
    assert text.split("_", 2)[2].encode() not in (tmp_path / "control.db").read_bytes()
    for wrong in ("", "ck", "ck__", text[:-1], text + "x", text.replace("ck_", "xx_"), "ck_abc_def"):
        assert control.authenticate(wrong) is None
    assert [k.label for k in control.keys("acme")] == ["app"]
    assert len(control.keys()) == 2
    control.revoke_key(key.id)
    assert control.authenticate(text) is None
    with pytest.raises(UnknownName):
        control.revoke_key(key.id)
    with pytest.raises(UnknownName):
        control.create_key("none", [Scope.READ])


def labelled(tenant: str, value: float | None, time_us: int, which: str = "a", reason: str = "") -> LabelledSample:
    return LabelledSample(tenant, Sample("test.value", value, (which,), time_us, reason), (("which", which),))


def test_samples_are_kept_by_series_and_averaged_into_buckets(tmp_path: Path) -> None:
    store = SampleStore(tmp_path / "samples.db")
    store.declare("acme", "probe", [SPEC])
    store.add([labelled("acme", float(t), t) for t in range(100)])
    store.add([labelled("acme", None, 100, reason="no users"), labelled("zeta", 5.0, 7), labelled("acme", 1.0, 5, "b")])
    store = SampleStore(tmp_path / "samples.db")
    a, b = store.range("acme", "test.value", 0, 100, points=10)
    assert a.labels == {"which": "a"}
    assert a.points == tuple((10 * i + 9, 10 * i + 4.5) for i in range(10))
    assert b.points == ((5, 1.0),)
    assert store.range("acme", "test.value", 100, 101)[0].points == ((100, None),)
    latest = store.latest("acme")
    assert [(s.labels["which"], s.value, s.time_us, s.reason) for s in latest] == [
        ("a", None, 100, "no users"),
        ("b", 1.0, 5, ""),
    ]
    (metric,) = store.metrics("acme")
    assert (metric.spec.name, metric.spec.labels, metric.collector, metric.series) == (
        "test.value",
        ("which",),
        "probe",
        2,
    )
    assert store.metrics("zeta") == []
    store.add([labelled("acme", 3.0, 50)])
    assert store.latest("acme")[0].time_us == 100, "a late sample is not the last one"


def test_a_bucket_of_a_counter_is_its_last_value(tmp_path: Path) -> None:
    store = SampleStore(tmp_path / "samples.db")
    store.declare("acme", "probe", [MetricSpec("test.value", Kind.COUNTER, Unit.COUNT, "A count.", ("which",))])
    store.add([labelled("acme", float(t * t), t) for t in range(20)])
    (series,) = store.range("acme", "test.value", 0, 20, points=2)
    assert series.points == ((9, 81.0), (19, 361.0))


def test_old_samples_and_ended_alerts_go(tmp_path: Path) -> None:
    store = SampleStore(tmp_path / "samples.db")
    store.add([labelled("acme", 1.0, t) for t in (10, 20, 30)] + [labelled("acme", 1.0, 5, "idle")])
    firing = Alert("1", "acme", "r", "k", Severity.INFO, AlertState.FIRING, "s", (("a", "b"),), 5)
    ended = Alert("2", "acme", "r", "k", Severity.INFO, AlertState.RESOLVED, "s", (), 5, 10, 1.5)
    store.put_alerts([firing, ended])
    assert store.alerts("acme") == [firing, ended]
    assert store.alerts(state=AlertState.RESOLVED) == [ended]
    assert store.alerts("zeta") == []
    store.expire(20)
    assert [s.points for s in store.range("acme", "test.value", 0, 100)] == [((20, 1.0), (30, 1.0))]
    assert store.alerts("acme") == [firing]
    store.add([labelled("acme", 2.0, 40)])
    assert len(store.latest("acme")) == 1


def test_the_ledger_folds_a_position_once(tmp_path: Path) -> None:
    ledger = LedgerStore(tmp_path / "ledger.db", tmp_path / "log")
    key = ("acme", "playback")
    letter = DeadLetter(3, "acme", "playback", 1, 2, b"x")
    fold = Fold(
        {key: LedgerCounts(offered=5, stored=3, rejected=2)}, (letter,), (), 3, {"early_until": {"playback": 9}}
    )
    ledger.fold(fold)
    ledger.fold(fold)
    assert ledger.counts() == {key: LedgerCounts(offered=5, stored=3, rejected=2)}
    assert ledger.counts("zeta") == {}
    assert ledger.notes() == {"early_until": {"playback": 9}}
    assert ledger.dead_letter("acme", 3) == letter
    with pytest.raises(UnknownName):
        ledger.dead_letter("zeta", 3)
    ledger.fold(Fold({}, (), (3,), 4, {}))
    assert ledger.position() == 4
    with pytest.raises(UnknownName):
        ledger.dead_letter("acme", 3)


def test_a_broken_ledger_file_is_a_storage_problem(tmp_path: Path) -> None:
    ledger = LedgerStore(tmp_path / "ledger.db", tmp_path / "log")
    ledger._anchor.close()
    for path in tmp_path.glob("ledger.db*"):
        path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageUnavailable, match="repair the disk"):
        ledger.position()


def test_streaming_states_stand_beside_their_position(tmp_path: Path) -> None:
    store = StreamingStore(tmp_path / "streaming.db")
    assert store.load() == (None, {})
    store.save(7, {("acme", "security_events"): b"state"})
    store.save(9, {("zeta", "security_events"): b"other"})
    assert StreamingStore(tmp_path / "streaming.db").load() == (9, {("zeta", "security_events"): b"other"})


async def test_the_bus_reaches_every_listener_and_cuts_off_the_one_that_sleeps(tmp_path: Path) -> None:
    bus = BusPublisher(tmp_path / "bus")
    with pytest.raises(OSError, match="No such file"):
        await anext(aiter(listen(tmp_path / "bus")))
    await bus.open()
    bus.publish({"nobody": "listens"})
    first, second = aiter(listen(tmp_path / "bus")), aiter(listen(tmp_path / "bus"))
    readers = [asyncio.create_task(anext(first)), asyncio.create_task(anext(second))]
    await until(lambda: len(bus._listeners) == 2)
    bus.publish({"event": "hello", "n": 1})
    assert await asyncio.gather(*readers) == [{"event": "hello", "n": 1}] * 2
    sleeper = await asyncio.open_unix_connection(str(tmp_path / "bus"))
    await until(lambda: len(bus._listeners) == 3)
    awake = asyncio.create_task(_drain(first))
    also_awake = asyncio.create_task(_drain(second))

    def publish_until_cut_off() -> bool:
        bus.publish({"event": "big", "data": "x" * 200_000})
        return len(bus._listeners) == 2

    await until(publish_until_cut_off)
    await bus.close()
    assert await awake > 0
    assert await also_awake > 0
    sleeper[1].close()
    await bus.close()


async def _drain(frames: object) -> int:
    count = 0
    async for _ in frames:  # type: ignore[attr-defined]
        count += 1
    return count
