"""From sample to handler through everything, with the real store: told at least once, also over restarts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from alert_cases import LOAD, T0, S
from tests.support.clock import ManualClock, until
from tests.support.receivers import http_receiver

from collectors.alerting.desk import AlertDesk
from collectors.config.alert_rule import AlertRule
from collectors.config.alerting import AlertingConfig, Silence
from collectors.drivers.alert_store import AlertStore
from collectors.errors import ConfigError, StorageUnavailable
from collectors.model.alert import Alert, AlertState
from collectors.model.metric import Finding, Sample, Severity

HOST = (("host", "web1"),)
CPU = {"name": "cpu", "metric": "cpu_usage", "above": 80.0}


class Site:
    """A desk with its store and the record of alerts a worker keeps."""

    def __init__(self, path: Path, clock: ManualClock, **config: Any) -> None:
        self.clock = clock
        self.store = AlertStore(path / "alerts.db")
        self.config = AlertingConfig.model_validate(config)
        self.record: dict[str, Alert] = {}
        self.told: list[dict[str, Any]] = []
        self.samples = 0
        self.desk = self.start()

    def start(self) -> AlertDesk:
        firing = [a for a in self.record.values() if a.state is AlertState.FIRING]
        self.desk = AlertDesk(self.config, self.store, self.clock, firing, jitter=random.Random(1))
        self.desk.register("function", self.tell)
        return self.desk

    async def tell(self, alert: dict[str, Any]) -> None:
        self.told.append(alert)

    def keep(self, changed: Iterable[Alert]) -> list[Alert]:
        made = list(changed)
        self.record |= {a.id: a for a in made}
        return made

    def sample(self, percent: float, tenant: str = "acme") -> list[Alert]:
        self.samples += 1
        sample = Sample("system.load", percent / 100, ("web1",), self.clock.now_us() + self.samples)
        return self.keep(self.desk.observe(tenant, "system", sample, HOST))

    async def pass_time(self, done: Callable[[], bool]) -> None:
        while not done():
            await self.clock.advance(1)
            self.keep(self.desk.expire())
            await self.desk.save()

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.desk.run())
        yield
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path, ManualClock(T0))
    made.desk.declare("acme", "system", [LOAD], {"cpu_usage": 80.0})
    return made


async def test_a_threshold_of_a_collector_reaches_a_function_and_is_over_again(site: Site) -> None:
    async with site.delivering():
        (fired,) = site.sample(95)
        assert [a.id for a in site.desk.firing("acme")] == [fired.id]
        await site.pass_time(lambda: len(site.told) == 1)
        site.sample(10)
        await site.pass_time(lambda: len(site.told) == 2)
    assert [(t["id"], t["status"], t["rule"]) for t in site.told] == [
        (fired.id, "firing", "cpu_usage"),
        (fired.id, "resolved", "cpu_usage"),
    ]


async def test_a_restart_between_decision_and_delivery_loses_nothing_and_repeats_nothing(site: Site) -> None:
    site.sample(95)
    await site.pass_time(lambda: len(site.store.deliveries()) == 1)
    assert site.told == [], "nothing runs that delivers"
    site.start().declare("acme", "system", [LOAD], {"cpu_usage": 80.0})
    assert site.sample(95) == [], "it fires already"
    async with site.delivering():
        await until(lambda: len(site.told) == 1)
        end = site.clock.now_us() + 600 * S
        await site.pass_time(lambda: site.clock.now_us() > end)
    assert len(site.told) == 1


async def test_a_crash_before_the_state_was_saved_tells_all_the_same(site: Site) -> None:
    site.sample(95)
    site.start().declare("acme", "system", [LOAD], {"cpu_usage": 80.0})
    async with site.delivering():
        await site.pass_time(lambda: len(site.told) == 1)


async def test_a_full_disk_delays_what_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageUnavailable("full")

    site.sample(95)
    await site.clock.advance(10)
    with monkeypatch.context() as patch:
        patch.setattr(site.store, "commit", full)
        with pytest.raises(StorageUnavailable):
            await site.desk.save()
    assert site.store.deliveries() == []
    await site.desk.save()
    assert len(site.store.deliveries()) == 1


async def test_silences_and_acknowledgements_of_others_are_heard(site: Site) -> None:
    now = site.clock.now_us()
    id_ = site.store.add_silence(Silence(match=("host=web1",), starts_us=now, ends_us=now + 7200 * S))
    site.store.add_silence(Silence(match=("host=web1",), starts_us=now + 10**12, ends_us=now + 2 * 10**12))
    (fired,) = site.sample(95)
    async with site.delivering():
        end = site.clock.now_us() + 120 * S
        await site.pass_time(lambda: site.clock.now_us() > end)
        assert site.told == []
        assert site.record[fired.id].state is AlertState.FIRING, "it is on record all the same"
        site.store.end_silence(id_, site.clock.now_us())
        await site.pass_time(lambda: len(site.told) == 1)
        site.store.acknowledge(fired.id, site.clock.now_us(), "ada")
        await site.pass_time(lambda: len(site.told) == 2)
    assert site.told[1]["status"] == "acknowledged"
    assert site.store.acknowledgements(unseen=True) == {}
    assert site.store.acknowledgements()[fired.id][1] == "ada"


async def test_a_finding_is_told_too(site: Site) -> None:
    finding = Finding("brute_force", "p1", Severity.CRITICAL, "Ten failures.")
    site.keep(site.desk.raise_finding("acme", finding))
    async with site.delivering():
        await site.pass_time(lambda: len(site.told) == 1)
    assert (site.told[0]["rule"], site.told[0]["severity"]) == ("brute_force", "critical")


async def test_rules_of_the_server_and_of_the_tenant_hold_beside_the_short_form(tmp_path: Path) -> None:
    site = Site(
        tmp_path,
        ManualClock(T0),
        rules=[CPU, {**CPU, "name": "elsewhere", "tenants": ["other"]}, {**CPU, "name": "odd", "metric": "no.such"}],
    )
    own = AlertRule(name="mine", metric="system.load", above=0.5)
    site.desk.declare("acme", "system", [LOAD], {"cpu_usage": 90.0}, [own])
    assert site.desk.unbound == ["odd"]
    assert {a.rule for a in site.sample(95)} == {"threshold:cpu", "threshold:mine", "threshold:cpu_usage"}
    assert site.sample(95, "other") == []
    unknown = Sample("other.metric", 1.0, (), 0)
    assert site.desk.observe("acme", "system", unknown, ()) == []


async def test_reloading_resolves_by_rules_that_are_gone_and_keeps_the_rest(tmp_path: Path) -> None:
    site = Site(tmp_path, ManualClock(T0), rules=[CPU, {**CPU, "name": "gone"}])
    site.desk.declare("acme", "system", [LOAD], {})
    site.sample(95)
    over = site.desk.configure(AlertingConfig.model_validate({"rules": [{**CPU, "above": 90.0}]}))
    assert [(a.rule, a.state) for a in over] == [("threshold:gone", AlertState.RESOLVED)]
    assert [a.rule for a in site.desk.firing()] == ["threshold:cpu"]
    assert [a.state for a in site.sample(85)] == [AlertState.RESOLVED], "the new limit holds"
    site.sample(95)
    assert site.desk.declared == {("acme", "system")}
    assert [a.rule for a in site.desk.withdraw("acme", "system")] == ["threshold:cpu"]
    assert site.desk.declared == set()
    assert site.sample(95) == []


async def test_a_wrong_declaration_changes_nothing(site: Site) -> None:
    with pytest.raises(ConfigError, match="cpu_usag"):
        site.desk.declare("acme", "system", [LOAD], {"cpu_usag": 1.0})
    assert len(site.sample(95)) == 1


async def test_a_handler_that_comes_by_reloading_is_used_and_names_are_taken_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_KEY", "k")
    with http_receiver() as http:
        hook = {"type": "webhook", "url": http.url, "secret": "env:HOOK_KEY"}
        async with site.delivering():
            await site.clock.settle()
            site.desk.configure(AlertingConfig.model_validate({"handlers": {"hook": hook}}))
            site.sample(95)
            await site.pass_time(lambda: len(http.received) == 1 and len(site.told) == 1)
        with pytest.raises(ConfigError, match="already"):
            site.desk.register("hook", site.tell)
        with pytest.raises(ConfigError, match="taken"):
            site.desk.configure(AlertingConfig.model_validate({"handlers": {"function": hook}}))


async def test_a_missing_secret_is_on_record_and_mended_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK_KEY", raising=False)
    with http_receiver() as http:
        hook = {"type": "webhook", "url": http.url, "secret": "env:HOOK_KEY"}
        site = Site(tmp_path, ManualClock(T0), handlers={"hook": hook})
        site.desk.declare("acme", "system", [LOAD], {"cpu_usage": 80.0})
        site.sample(95)
        async with site.delivering():
            await site.pass_time(lambda: any(d.attempts for d in site.store.deliveries() if d.handler == "hook"))
            (delivery,) = [d for d in site.store.deliveries() if d.handler == "hook"]
            assert "there is no secret in env:HOOK_KEY" in site.store.attempts(delivery.number)[0].error
            monkeypatch.setenv("HOOK_KEY", "k")
            await site.pass_time(lambda: len(http.received) == 1)


async def test_nothing_is_written_while_nothing_happens(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[object] = []
    monkeypatch.setattr(site.store, "commit", lambda *given: commits.append(given))
    end = site.clock.now_us() + 60 * S
    await site.pass_time(lambda: site.clock.now_us() > end)
    assert len(commits) <= 14, "only the state, every five seconds"
