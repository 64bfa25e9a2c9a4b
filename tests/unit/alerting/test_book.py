"""Alerts fire once, say in whose unit, and are resolved when the matter is over."""

from __future__ import annotations

import pytest

from collectors.alerting.book import FINDING_QUIET_US, AlertBook, thresholds
from collectors.errors import ConfigError
from collectors.model.alert import AlertState
from collectors.model.metric import Finding, Kind, MetricSpec, Severity, Unit

CPU = MetricSpec("system.load", Kind.GAUGE, Unit.RATIO, "Busy share.", labels=(), aliases=("cpu_usage",), scale=100.0)


def test_an_alias_is_judged_in_its_own_unit_and_the_metric_in_its() -> None:
    by_alias, by_name = thresholds({"cpu_usage": 80.0, "system.load": 0.9}, [CPU], where="system")
    assert by_alias.is_crossed(0.81)
    assert not by_alias.is_crossed(0.80)
    assert by_name.is_crossed(0.91)
    assert not by_name.is_crossed(0.85)


def test_an_unknown_metric_is_a_configuration_error_that_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"system\.alert_thresholds.*cpu_usag.*cpu_usage, system\.load"):
        thresholds({"cpu_usag": 1.0}, [CPU], where="system")


def test_a_threshold_fires_once_and_resolves() -> None:
    book = AlertBook()
    (rule,) = thresholds({"cpu_usage": 80.0}, [CPU], where="system")
    labels = (("host", "a"),)
    assert book.observe("acme", rule, 0.5, labels, 1) == []
    (fired,) = book.observe("acme", rule, 0.95, labels, 2)
    assert (fired.state, fired.value, fired.started_us, fired.summary) == (
        AlertState.FIRING,
        0.95,
        2,
        "cpu_usage is 95, above 80",
    )
    assert book.observe("acme", rule, 0.97, labels, 3) == []
    assert book.observe("acme", rule, None, labels, 4) == [], "an undefined value changes nothing"
    (other,) = book.observe("acme", rule, 0.97, (("host", "b"),), 4)
    assert other.id != fired.id
    assert book.firing("other") == []
    assert len(book.firing("acme")) == len(book.firing()) == 2
    (over,) = book.observe("acme", rule, 0.2, labels, 5)
    assert (over.id, over.state, over.ended_us) == (fired.id, AlertState.RESOLVED, 5)
    assert book.observe("acme", rule, 0.2, labels, 6) == []


def test_a_finding_goes_on_until_it_was_quiet() -> None:
    book = AlertBook()
    finding = Finding("brute_force", "p1", Severity.WARNING, "Ten failures.")
    (fired,) = book.raise_finding("acme", finding, 1)
    assert book.raise_finding("acme", finding, FINDING_QUIET_US) == []
    assert book.expire(FINDING_QUIET_US + 2) == []
    (over,) = book.expire(2 * FINDING_QUIET_US + 1)
    assert (over.id, over.state) == (fired.id, AlertState.RESOLVED)
    (again,) = book.raise_finding("acme", finding, 2 * FINDING_QUIET_US + 2)
    assert again.id != fired.id


def test_what_fired_before_a_restart_is_not_fired_again() -> None:
    book = AlertBook()
    finding = Finding("brute_force", "p1", Severity.WARNING, "Ten failures.")
    fired = book.raise_finding("acme", finding, 1)
    restarted = AlertBook(fired)
    assert restarted.raise_finding("acme", finding, 2) == []
    restarted = AlertBook(fired)
    assert restarted.expire(10) == [], "its quiet time begins with the restart"
    assert [a.id for a in restarted.expire(11 + FINDING_QUIET_US)] == [fired[0].id]


def test_a_finding_has_its_quiet_time_also_after_a_restart_with_a_snapshot() -> None:
    book = AlertBook()
    finding = Finding("brute_force", "p1", Severity.WARNING, "Ten failures.")
    fired = book.raise_finding("acme", finding, 1)
    down = 3600 * 10**6
    restarted = AlertBook(fired, book.snapshot(1), 1 + down)
    assert restarted.expire(1 + down + FINDING_QUIET_US) == []
    assert [a.id for a in restarted.expire(2 + down + FINDING_QUIET_US)] == [fired[0].id]
    assert AlertBook([], book.snapshot(1), 1).firing() == [], "the record says that it is over"
