"""The small host that a collector brings along when it stands alone: no folder, no server, no other tenant."""

from __future__ import annotations

from typing import Any

import structlog

from collectors.alerting.book import AlertBook
from collectors.alerting.rules import Rule, thresholds
from collectors.contract.collector import BaseCollector
from collectors.model.metric import Collection
from collectors.model.status import CollectorStatus
from collectors.runtime.runner import Runner
from collectors.runtime.scheduler import Scheduler

log = structlog.get_logger()


class LoneHost:
    """Runs one collector on its interval, keeps what it said last, and logs when a threshold is crossed."""

    def __init__(self, collector: BaseCollector[Any]) -> None:
        clock = collector.context.clock
        self._clock = clock
        self._collector = collector
        self._runner = Runner(collector, self._emit, clock, scheduler=Scheduler(clock))
        self._book = AlertBook()
        self._rules: dict[str, list[Rule]] = {}
        self.latest = Collection()
        """What the last run returned, stamped with its time."""
        for rule in thresholds(collector.config.alert_thresholds, collector.emits, where=collector.instance_name):
            self._rules.setdefault(rule.spec.name, []).append(rule)
            self._book.adopt(self._runner.tenant, rule, clock.now_us())

    async def start(self, collector: BaseCollector[Any]) -> None:
        """Run the collector until it is stopped; its first run comes within a second."""
        assert collector is self._collector, "a lone collector's host is its own"
        self._runner.start()

    async def stop(self, collector: BaseCollector[Any]) -> None:
        """Stop and close it; nothing happens if it does not run."""
        assert collector is self._collector, "a lone collector's host is its own"
        await self._runner.stop()

    def status(self, collector: BaseCollector[Any]) -> CollectorStatus:
        """Report how it is doing."""
        assert collector is self._collector, "a lone collector's host is its own"
        return self._runner.status()

    def _emit(self, _: Runner, collection: Collection) -> None:
        self.latest = collection
        keys = {spec.name: spec.labels for spec in self._collector.emits}
        now, tenant = self._clock.now_us(), self._runner.tenant
        for sample in collection.samples:
            for rule in self._rules.get(sample.metric, ()):
                labels = (*zip(keys[sample.metric], sample.labels, strict=True), *self._collector.config.tags.items())
                for alert in self._book.observe(tenant, rule, sample.value, labels, sample.time_us, now):
                    log.warning("alert", rule=alert.rule, state=alert.state, summary=alert.summary)
        for finding in collection.findings:
            for alert in self._book.raise_finding(tenant, finding, now):
                log.warning("alert", rule=alert.rule, state=alert.state, summary=alert.summary)


def lone_host(collector: BaseCollector[Any]) -> LoneHost:
    """Return a host of the collector's own; raises ConfigError if its ``alert_thresholds`` name no metric of it."""
    return LoneHost(collector)
