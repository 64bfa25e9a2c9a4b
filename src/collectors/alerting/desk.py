"""Everything about alerts in one process: judges samples, decides who is told, and has it delivered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import httpx
import structlog

from collectors.alerting.book import AlertBook
from collectors.alerting.delivery import DeliveryStore, Dispatcher, Receiver
from collectors.alerting.handlers.build import receiver
from collectors.alerting.handlers.function import AlertFunction, FunctionHandler
from collectors.alerting.notification import Notification
from collectors.alerting.routing import Router
from collectors.alerting.rules import Labels, Rule, bind, names, thresholds
from collectors.clock import Clock
from collectors.config.alert_rule import AlertRule
from collectors.config.alerting import AlertingConfig, Silence
from collectors.errors import ConfigError
from collectors.model.alert import Alert
from collectors.model.metric import Finding, MetricSpec, Sample

log = structlog.get_logger()

SAVE_US = 5 * 10**6
"""How often the state is saved while no alert changes."""


class StoredSilence(Protocol):
    """A silence as the store keeps it."""

    @property
    def silence(self) -> Silence:
        """The silence."""


class Store(DeliveryStore, Protocol):
    """What the desk keeps on disk; the methods block and are called in threads."""

    def states(self) -> Mapping[str, bytes]:
        """Return the states last saved, by name."""

    def commit(self, states: Mapping[str, bytes], deliveries: Iterable[Notification], seen: Iterable[str] = ()) -> None:
        """Save states, new notifications and seen acknowledgements in one transaction."""

    def silences(self, now_us: int, tenant: str | None = None) -> Sequence[StoredSilence]:
        """Return the silences that are not over."""

    def acknowledgements(self, *, unseen: bool = False) -> Mapping[str, tuple[int, str]]:
        """Return which alerts were acknowledged."""


@dataclass(frozen=True, slots=True)
class _Declared:
    """What a collector of a tenant may emit, and the rules that were written for it."""

    specs: tuple[MetricSpec, ...]
    given: Mapping[str, float]
    own: tuple[AlertRule, ...]


class AlertDesk:
    """The alerts of all tenants, from sample to handler. Used on the event loop.

    Methods return the alerts that fired or were resolved by the call; the caller puts them on record, and then calls
    ``save``, so that nobody is told of an alert that is not on record. ``firing`` are those on record and not over.
    """

    def __init__(
        self,
        config: AlertingConfig,
        store: Store,
        clock: Clock,
        firing: Iterable[Alert] = (),
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        jitter: random.Random | None = None,
    ) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._transport = transport
        self._jitter = jitter or random.Random()  # noqa: S311 - spreads retries, keeps no secret
        self._functions: dict[str, Receiver] = {}
        self._declared: dict[tuple[str, str], _Declared] = {}
        self._rules: dict[str, dict[str, dict[str, tuple[Rule, ...]]]] = {}  # by tenant, collector, metric
        self._outbox: list[Notification] = []
        self._changed = False
        self._saved_us = 0
        now = clock.now_us()
        known = list(firing)
        states = store.states()
        self._receivers = self._built(config)
        self._book = AlertBook(known, states.get("book", b""), now)
        self._router = Router(config, self._receivers, states.get("router", b""), known, now)
        self._dispatcher = Dispatcher(store, self._receivers, clock, self._jitter)
        self._restart = asyncio.Event()

    def register(self, name: str, function: AlertFunction) -> None:
        """Have ``function``, any async callable that takes one alert as a dict, be told of every alert."""
        if name in self._receivers:
            raise ConfigError(f"there is an alert handler {name[:64]!r} already", fix="give it another name.")
        self._functions[name] = Receiver(FunctionHandler(function))
        self.configure(self._config)

    def configure(self, config: AlertingConfig) -> list[Alert]:
        """Follow a new configuration; what fires by rules that are gone is resolved."""
        receivers = self._built(config)
        self._config, self._receivers = config, receivers
        self._router.configure(config, receivers)
        changed = [a for key in list(self._declared) for a in self._bind(*key)]
        self._restart.set()
        return self._noted(changed)

    def declare(
        self,
        tenant: str,
        collector: str,
        specs: Iterable[MetricSpec],
        given: Mapping[str, float],
        own: Iterable[AlertRule] = (),
    ) -> list[Alert]:
        """Judge what a collector of ``tenant`` emits by its ``alert_thresholds`` and the tenant's own rules.

        Raises ConfigError if ``given`` names a metric the collector has not; then nothing is changed.
        """
        declared = _Declared(tuple(specs), dict(given), tuple(own))
        thresholds(declared.given, declared.specs, where=collector)
        self._declared[tenant, collector] = declared
        return self._noted(self._bind(tenant, collector))

    def withdraw(self, tenant: str, collector: str) -> list[Alert]:
        """Forget a collector that is no longer configured; what fires by its rules is resolved."""
        self._declared.pop((tenant, collector), None)
        return self._noted(self._bind(tenant, collector))

    @property
    def declared(self) -> set[tuple[str, str]]:
        """Tenant and name of the collectors that were declared and not withdrawn."""
        return set(self._declared)

    @property
    def unbound(self) -> list[str]:
        """Names of configured rules whose metric no collector declares, for whatever reason."""
        known = {name for declared in self._declared.values() for name in names(declared.specs)}
        return [rule.name for rule in self._config.rules if rule.metric not in known]

    def firing(self, tenant: str | None = None) -> list[Alert]:
        """Return what is firing, of one tenant or all."""
        return self._book.firing(tenant)

    def observe(self, tenant: str, collector: str, sample: Sample, labels: Labels) -> list[Alert]:
        """Judge a sample that has just arrived; ``labels`` are all it carries, by name."""
        rules = self._rules.get(tenant, {}).get(collector, {}).get(sample.metric)
        if rules is None:
            return []
        now = self._clock.now_us()
        changed: list[Alert] = []
        for rule in rules:
            changed += self._book.observe(tenant, rule, sample.value, labels, sample.time_us or now, now)
        return self._noted(changed)

    def raise_finding(self, tenant: str, finding: Finding) -> list[Alert]:
        """Fire for a finding, unless the same one is firing already."""
        return self._noted(self._book.raise_finding(tenant, finding, self._clock.now_us()))

    def expire(self) -> list[Alert]:
        """Resolve what was quiet for long enough, and judge what no longer reports; called about once a second."""
        return self._noted(self._book.expire(self._clock.now_us()))

    async def save(self) -> None:
        """Decide who is told of what is on record by now, and save it; called about once a second.

        Raises StorageUnavailable; what could not be saved is saved with the next call.
        """
        now = self._clock.now_us()
        silences, acknowledged = await asyncio.to_thread(self._heard, now)
        for alert_id in acknowledged:
            self._outbox += self._router.acknowledge(alert_id, now)
        in_force = [s for s in silences if s.starts_us <= now]
        self._outbox += self._router.due(now, in_force)
        if not (self._changed or self._outbox or acknowledged) and 0 <= now - self._saved_us < SAVE_US:
            return
        states = {"book": self._book.snapshot(now), "router": self._router.snapshot()}
        leaving = tuple(self._outbox)
        self._changed = False
        try:
            await asyncio.to_thread(self._store.commit, states, leaving, acknowledged)
        except BaseException:  # cancellation too: what was not stored must be stored the next time
            self._changed = True
            raise
        self._saved_us = now
        del self._outbox[: len(leaving)]
        if leaving:
            self._dispatcher.wake()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            self._restart.clear()
            self._dispatcher = Dispatcher(self._store, self._receivers, self._clock, self._jitter)
            delivering = asyncio.ensure_future(self._dispatcher.run())
            try:
                await self._restart.wait()
            finally:
                delivering.cancel()
                await asyncio.wait({delivering})

    def _heard(self, now: int) -> tuple[list[Silence], list[str]]:
        silences = [stored.silence for stored in self._store.silences(now)]
        return silences, list(self._store.acknowledgements(unseen=True))

    def _built(self, config: AlertingConfig) -> dict[str, Receiver]:
        twice = self._functions.keys() & config.handlers.keys()
        if twice:
            raise ConfigError(
                f"the name {min(twice)!r} is taken by a handler registered in code",
                where="alerting.handlers",
                fix="give one of them another name.",
            )
        written = {name: receiver(given, self._clock, self._transport) for name, given in config.handlers.items()}
        return {**written, **self._functions}

    def _bind(self, tenant: str, collector: str) -> list[Alert]:
        """Bind the rules that concern a collector, and resolve what fires by those that no longer do."""
        theirs = self._rules.setdefault(tenant, {})
        before = {rule.name for rules in theirs.pop(collector, {}).values() for rule in rules}
        declared = self._declared.get((tenant, collector))
        bound: list[Rule] = []
        if declared is not None:
            known = names(declared.specs)
            platform = (r for r in self._config.rules if not r.tenants or tenant in r.tenants)
            bound = [
                *thresholds(declared.given, declared.specs, where=collector),
                *(bind(r, declared.specs) for r in (*platform, *declared.own) if r.metric in known),
            ]
        by_metric: dict[str, tuple[Rule, ...]] = {}
        now = self._clock.now_us()
        for rule in bound:
            by_metric[rule.spec.name] = (*by_metric.get(rule.spec.name, ()), rule)
            self._book.adopt(tenant, rule, now)
        if by_metric:
            theirs[collector] = by_metric
        still = {rule.name for metrics in theirs.values() for rules in metrics.values() for rule in rules}
        return self._book.retire(tenant, before - still, now)

    def _noted(self, changed: list[Alert]) -> list[Alert]:
        now = self._clock.now_us()
        for alert in changed:
            self._router.accept(alert, now)
            self._changed = True
        return changed
