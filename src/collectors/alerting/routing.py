"""Who is told of which alerts, and when: grouping, deduplication, repetition, silences, maintenance, inhibition.

The method is Alertmanager's. Nothing here changes an alert: what nobody is told of is on record all the same.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

from collectors.alerting.notification import (
    Kind,
    Notification,
    load_alert,
    notification_id,
    routing_labels,
)
from collectors.config.alerting import AlertingConfig, Inhibition, Route, Silence
from collectors.config.matchers import matches
from collectors.model.alert import Alert, AlertState

_RANK = {"critical": 0, "warning": 1, "info": 2}

MAX_ALERTS = 20
"""Most alerts of one notification."""


@dataclass(slots=True)
class Group:
    """Alerts that are told together. ``told`` are the ids that the handlers know to be firing."""

    route: Route
    tenant: str
    labels: tuple[tuple[str, str], ...]
    next_us: int
    sent_us: int = 0
    told: set[str] = field(default_factory=set)
    members: set[str] = field(default_factory=set)

    def is_due(self, now_us: int) -> bool:
        """Tell whether it is time to look at the group; also if the clock was set back since the last time."""
        longest = round(max(self.route.wait_seconds, self.route.interval_seconds) * 1e6)
        return not 0 < self.next_us - now_us <= longest


class Router:
    """Decides what is told; driven by ``accept`` for each change of an alert, and ``due`` about once a second."""

    def __init__(
        self,
        config: AlertingConfig,
        handlers: Collection[str],
        snapshot: bytes = b"",
        firing: Iterable[Alert] = (),
        now_us: int = 0,
    ) -> None:
        self._alerts: dict[str, Alert] = {}
        self._groups: dict[str, Group] = {}
        self._acknowledged: set[str] = set()
        # What groups were told that have no route just now: its handler may yet be registered.
        self._saved: dict[str, tuple[int, int, list[str]]] = {}
        self.configure(config, handlers)
        known = {a.id: a for a in firing}
        if snapshot:
            self._restore(snapshot, known, now_us)
        for alert in known.values():
            if alert.id not in self._alerts:
                self.accept(alert, alert.started_us)

    def configure(self, config: AlertingConfig, handlers: Collection[str]) -> None:
        """Follow a new configuration; what a group was told stays known where its route stayed the same."""
        named = {name for route in config.routes for name in route.handlers}
        # Who is told of everything comes first, and lets alerts proceed to the written routes.
        everything = (Route(handlers=(name,), proceed=True) for name in sorted(set(handlers) - named))
        self._routes = (*everything, *config.routes)
        self._inhibitions = config.inhibitions
        self._maintenance = config.maintenance
        self._saved |= {k: (g.next_us, g.sent_us, sorted(g.told)) for k, g in self._groups.items()}
        self._groups = {}
        for alert in self._alerts.values():
            self._join(alert, alert.started_us)

    def accept(self, alert: Alert, now_us: int) -> None:
        """Take note of an alert that fired or was resolved."""
        if alert.state is AlertState.RESOLVED and alert.id not in self._alerts:
            return
        self._alerts[alert.id] = alert
        self._join(alert, now_us)

    def acknowledge(self, alert_id: str, now_us: int) -> list[Notification]:
        """Stop repeating an alert, and tell those who know of it that somebody takes care."""
        alert = self._alerts.get(alert_id)
        if alert is None or alert_id in self._acknowledged:
            return []
        self._acknowledged.add(alert_id)
        return [
            notification
            for key, group in self._groups.items()
            if alert_id in group.told
            for notification in _notifications(key, group, [alert], {alert_id}, now_us, Kind.ACKNOWLEDGED)
        ]

    def due(self, now_us: int, silences: Iterable[Silence] = ()) -> list[Notification]:
        """Return what is to be told now."""
        waiting = [(k, g) for k, g in self._groups.items() if g.is_due(now_us)]
        if not waiting:
            return []
        quiet = [s.match if s.tenant is None else (*s.match, f"tenant={s.tenant}") for s in silences]
        moment = datetime.fromtimestamp(now_us / 1e6, UTC)
        quiet += [m.match for m in self._maintenance if m.is_open(moment)]
        mute = Mute(tuple(quiet), self._inhibiting())
        told: list[Notification] = []
        for key, group in waiting:
            told += self._flush(key, group, now_us, mute)
        kept = {member for group in self._groups.values() for member in group.members}
        for id_ in [i for i, a in self._alerts.items() if a.state is AlertState.RESOLVED and i not in kept]:
            del self._alerts[id_]
        self._acknowledged &= self._alerts.keys()
        self._saved = {k: saved for k, saved in self._saved.items() if self._alerts.keys() & saved[2]}
        return told

    def snapshot(self) -> bytes:
        """Return all that a restart must know."""
        groups = self._saved | {k: (g.next_us, g.sent_us, sorted(g.told)) for k, g in self._groups.items()}
        alerts = [asdict(a) for a in self._alerts.values()]
        return json.dumps({"groups": groups, "alerts": alerts, "acknowledged": sorted(self._acknowledged)}).encode()

    def _restore(self, snapshot: bytes, firing: Mapping[str, Alert], now_us: int) -> None:
        saved = json.loads(snapshot)
        self._saved = {k: (n, s, told) for k, (n, s, told) in saved["groups"].items()}
        self._acknowledged = set(saved["acknowledged"])
        for alert in map(load_alert, saved["alerts"]):
            # What is not on record as firing any more was resolved after the snapshot was saved.
            over = alert.state is AlertState.FIRING and alert.id not in firing
            ended = max(now_us, alert.started_us)
            known = replace(alert, state=AlertState.RESOLVED, ended_us=ended) if over else alert
            self._alerts[alert.id] = known
            self._join(known, known.started_us)

    def _join(self, alert: Alert, now_us: int) -> None:
        """Put an alert into its groups."""
        labels = routing_labels(alert)
        for route in self._routes:
            if not matches(route.match, labels):
                continue
            common = tuple((name, labels.get(name, "")) for name in route.group_by)
            key = json.dumps([route.match, route.handlers, alert.tenant, common])
            group = self._groups.get(key)
            if group is None:
                next_us, sent_us, told = self._saved.pop(key, (now_us + round(route.wait_seconds * 1e6), 0, []))
                group = self._groups[key] = Group(route, alert.tenant, common, next_us, sent_us, set(told))
            group.members.add(alert.id)
            if not route.proceed:
                break

    def _flush(self, key: str, group: Group, now_us: int, mute: Mute) -> list[Notification]:
        group.next_us = now_us + round(group.route.interval_seconds * 1e6)
        members = [self._alerts[i] for i in sorted(group.members)]
        over = [a for a in members if a.state is AlertState.RESOLVED]
        firing = [a for a in members if a.state is AlertState.FIRING and not mute.covers(a)]
        # Who was told that something fires is also told that it is over, silence or not.
        ended = [a for a in over if a.id in group.told]
        changed = {a.id for a in firing if a.id not in group.told} | {a.id for a in ended}
        again = now_us - group.sent_us >= round(group.route.repeat_seconds * 1e6) and any(
            a.id not in self._acknowledged for a in firing
        )
        group.members -= {a.id for a in over}
        group.told -= {a.id for a in over}
        if not group.members:
            del self._groups[key]
        if not changed and not again:
            return []
        group.told |= {a.id for a in firing}
        group.sent_us = now_us
        shown = sorted(firing, key=lambda a: (a.id not in changed, _RANK[a.severity], a.started_us)) + ended
        return _notifications(key, group, shown, changed, now_us)

    def _inhibiting(self) -> list[tuple[Inhibition, set[tuple[str, ...]]]]:
        """Return for each inhibition the tenant and equal labels of the alerts that cause it now."""
        firing = [(a, routing_labels(a)) for a in self._alerts.values() if a.state is AlertState.FIRING]
        return [
            (rule, {_common(rule, labels) for _, labels in firing if matches(rule.source, labels)})
            for rule in self._inhibitions
        ]


@dataclass(frozen=True, slots=True)
class Mute:
    """Of what nobody is to be told now: any of the ``quiet`` conditions holds, or another alert inhibits it."""

    quiet: tuple[tuple[str, ...], ...]
    inhibiting: list[tuple[Inhibition, set[tuple[str, ...]]]]

    def covers(self, alert: Alert) -> bool:
        """Tell whether nobody is to be told that ``alert`` fires."""
        labels = routing_labels(alert)
        # An alert that is itself a source is told: two that inhibit each other would both be lost.
        return any(matches(match, labels) for match in self.quiet) or any(
            _common(rule, labels) in sources and matches(rule.target, labels) and not matches(rule.source, labels)
            for rule, sources in self.inhibiting
        )


def _common(rule: Inhibition, labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in ("tenant", *rule.equal))


def _notifications(
    key: str, group: Group, alerts: list[Alert], changed: set[str], now_us: int, kind: Kind | None = None
) -> list[Notification]:
    """Return what each handler of a group is told, in pieces that one request can carry."""
    made = []
    for start in range(0, len(alerts), MAX_ALERTS):
        piece = tuple(alerts[start : start + MAX_ALERTS])
        fires = any(a.state is AlertState.FIRING for a in piece)
        what = kind or (Kind.FIRING if fires else Kind.RESOLVED)
        news = tuple(a.id for a in piece if a.id in changed)
        for handler in group.route.handlers:
            id_ = notification_id(handler, key, what, piece, now_us)
            made.append(Notification(id_, handler, key, what, group.tenant, group.labels, piece, news, now_us))
    return made
