"""What a rule would have done on a history of samples; the same state machine as in the present, and no clock."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from collectors.alerting.book import FORGETTING_US, SWEEP_US, AlertBook
from collectors.alerting.rules import Labels, Rule
from collectors.model.alert import Alert, AlertState


@dataclass(frozen=True, slots=True)
class History:
    """The samples of one series, oldest first; each a time in microseconds and a value, None where undefined."""

    labels: Labels
    points: tuple[tuple[int, float | None], ...]


def backtest(rule: Rule, tenant: str, histories: Iterable[History], until_us: int) -> list[Alert]:
    """Return the alerts that would have been raised up to ``until_us``, by when they began; the last may still fire.

    Samples count by their own time. The state before the first sample is inactive: give a history that
    begins earlier by the rule's duration than what is asked about.
    """
    book = AlertBook()
    alerts: dict[str, Alert] = {}
    step = FORGETTING_US if rule.missing == "keep" else SWEEP_US
    swept: int | None = None
    for time_us, value, labels in chain(_merged(histories), [(until_us, None, None)]):
        if time_us > until_us:
            break
        if swept is None:
            swept = time_us
            book.adopt(tenant, rule, time_us)
        while swept + step <= time_us:  # between samples time passes, as it does in a running server
            swept += step
            _note(alerts, book.expire(swept))
        if labels is not None:
            _note(alerts, book.observe(tenant, rule, value, labels, time_us))
    return sorted(alerts.values(), key=lambda a: (a.started_us, a.key))


def firing_at(alerts: Iterable[Alert], time_us: int) -> list[Alert]:
    """Return those that fired at a time."""
    return [a for a in alerts if a.started_us <= time_us and (a.ended_us is None or a.ended_us > time_us)]


def _note(alerts: dict[str, Alert], changed: Iterable[Alert]) -> None:
    for alert in changed:
        if alert.state is AlertState.FIRING or alert.id in alerts:
            alerts[alert.id] = alert


def _merged(histories: Iterable[History]) -> Iterator[tuple[int, float | None, Labels | None]]:
    """Return all samples in the order of their times."""

    def samples(history: History) -> Iterator[tuple[int, float | None, Labels | None]]:
        return ((time, value, history.labels) for time, value in history.points)

    return heapq.merge(*map(samples, histories), key=lambda sample: sample[0])
