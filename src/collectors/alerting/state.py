"""The state machine of one rule on one series: inactive, pending, firing, and resolved again.

It knows no clock: every method is told the time, so that a replay of the same samples gives the same alerts.

Which time counts? A sample's own, as long as it is within ``SKEW_US`` of its arrival. Beyond that the source's clock
is wrong or the sample was held up, and its time of arrival counts. A sample that is not newer than the last one judged
is a repetition and ignored, but not for longer than ``REHEAR_US``: then the clock was set back, and is believed again.
So no clock can delay an alert by more than ``REHEAR_US + 2 * SKEW_US``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from collectors.alerting.rules import Labels, Rule
from collectors.model.alert import Alert, AlertState
from collectors.model.metric import Severity

SKEW_US = 60 * 10**6
REHEAR_US = 60 * 10**6

FORGET_US = 24 * 3600 * 10**6
"""A series that was silent for a day no longer exists: its alert ends, whatever the rule says about missing values."""


@dataclass(slots=True)
class SeriesState:
    """What is known of one rule on one series; ``key`` tells its series apart. Times are microseconds.

    ``stamp_us`` is the source's time of the last sample judged, ``time_us`` the time that counted for it,
    ``heard_us`` when anything last arrived, ``refused_us`` the arrival of the first of the repetitions in a row.
    """

    tenant: str
    key: str
    labels: Labels
    alert: Alert | None = None
    pending_us: int | None = None
    time_us: int | None = None
    stamp_us: int | None = None
    heard_us: int = 0
    refused_us: int | None = None
    crossed_us: int = 0
    fires: tuple[int, ...] = ()

    def observe(self, rule: Rule, value: float | None, stamp_us: int, arrived_us: int) -> Alert | None:
        """Judge a sample; return the alert if it fired or was resolved by it."""
        self.heard_us = arrived_us
        now = self._time_of(stamp_us, arrived_us)
        if now is None or (value is None and rule.missing == "keep"):
            return None
        if value is None:
            holds = rule.missing == "alert"
        elif self.alert is not None and self.alert.value is not None:
            holds = not rule.is_clear(value)
        else:
            holds = rule.is_crossed(value)
        return self._step(rule, now, value, holds=holds)

    def miss(self, rule: Rule, now_us: int) -> Alert | None:
        """Take note that no sample came until ``now_us``, by the clock that tells when samples arrive."""
        self.heard_us = min(self.heard_us, now_us)  # that clock was set back
        silent = now_us - self.heard_us
        if silent >= FORGET_US:
            return self._resolve(now_us) if self.alert is not None else None
        if silent < rule.missing_after_us or rule.missing == "keep":
            return None
        now = now_us if self.time_us is None else max(self.time_us, now_us)
        if rule.missing == "ok":
            return self._step(rule, now, None, holds=False)
        self.crossed_us = now
        return self._fire(rule, now, None) if self.alert is None else None

    @property
    def is_notable(self) -> bool:
        """Whether there is anything to remember beyond that all is well."""
        return self.alert is not None or self.pending_us is not None or bool(self.fires)

    def dump(self) -> list[Any]:
        """Return what a restart must know, except the alert, which is recorded by itself."""
        times = [self.pending_us, self.time_us, self.stamp_us, self.heard_us, self.refused_us, self.crossed_us]
        return [self.tenant, self.key, self.labels, *times, self.fires]

    @classmethod
    def load(cls, dumped: list[Any], alert: Alert | None) -> SeriesState:
        """Return the state that was dumped."""
        tenant, key, labels, pending, time, stamp, heard, refused, crossed, fires = dumped
        pairs = tuple((k, v) for k, v in labels)
        return cls(tenant, key, pairs, alert, pending, time, stamp, heard, refused, crossed, tuple(fires))

    def _time_of(self, stamp_us: int, arrived_us: int) -> int | None:
        """Return the time that counts for a sample, or None if it was judged before."""
        stamp = stamp_us if stamp_us <= arrived_us + SKEW_US else arrived_us
        now = stamp if stamp >= arrived_us - SKEW_US else arrived_us
        if self.stamp_us is not None and stamp <= self.stamp_us:
            first = arrived_us if self.refused_us is None else min(self.refused_us, arrived_us)
            self.refused_us = first
            if arrived_us - first < REHEAR_US:
                return None
            if self.time_us is not None and now < self.time_us:
                self._shift(now - self.time_us)
        self.refused_us = None
        self.stamp_us = stamp
        self.time_us = now if self.time_us is None else max(self.time_us, now)
        return self.time_us

    def _shift(self, by: int) -> None:
        """Follow a clock that was set back, so that what has lasted for a while still has."""
        if self.time_us is not None:
            self.time_us += by
        if self.pending_us is not None:
            self.pending_us += by
        self.crossed_us += by
        self.fires = tuple(t + by for t in self.fires)

    def _step(self, rule: Rule, now: int, value: float | None, *, holds: bool) -> Alert | None:
        if holds:
            self.crossed_us = now
        if self.alert is not None:
            held = len(self.fires) >= rule.flapping_fires and now - self.crossed_us < rule.flapping_us
            return None if holds or held else self._resolve(now)
        if not holds:
            self.pending_us = None
            return None
        if self.pending_us is None:
            self.pending_us = now
        return self._fire(rule, now, value) if now - self.pending_us >= rule.for_us else None

    def _fire(self, rule: Rule, now: int, value: float | None) -> Alert:
        self.pending_us = None
        self.fires = (*(t for t in self.fires if now - t < rule.flapping_us), now)
        summary = rule.summary(value)
        if len(self.fires) >= rule.flapping_fires and rule.flapping_us:
            summary += f", flapping: fired {len(self.fires)} times in {rule.flapping_us / 60e6:g} min"
        self.alert = new_alert(
            self.tenant, rule.name, self.key, rule.severity, summary, merged(self.labels, rule.labels), now, value
        )
        return self.alert

    def _resolve(self, now: int) -> Alert:
        assert self.alert is not None, "only what fires can be resolved"
        alert, self.alert = self.alert, None
        return replace(alert, state=AlertState.RESOLVED, ended_us=max(now, alert.started_us))


def new_alert(
    tenant: str,
    rule: str,
    key: str,
    severity: Severity,
    summary: str,
    labels: Labels,
    time_us: int,
    value: float | None = None,
) -> Alert:
    """Return an alert that fires; its id follows from what it is about and when it began."""
    identity = "\0".join((tenant, rule, key, str(time_us))).encode()
    id_ = hashlib.blake2b(identity, digest_size=12).hexdigest()
    return Alert(id_, tenant, rule, key, severity, AlertState.FIRING, summary, labels, time_us, None, value)


def series_key(labels: Labels) -> str:
    """Return what tells a series from the others of its rule."""
    return ",".join(f"{k}={v.translate(_ESCAPES)}" for k, v in labels)


_ESCAPES = str.maketrans({"\\": "\\\\", ",": "\\,", "=": "\\="})


def merged(labels: Labels, over: Labels) -> Labels:
    """Return ``labels`` with those of ``over`` put in."""
    if not over:
        return labels
    both: Mapping[str, str] = {**dict(labels), **dict(over)}
    return tuple(both.items())
