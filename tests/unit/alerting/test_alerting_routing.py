"""People are told once, together, in time, and not when they asked for silence; nothing of it touches the record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from alert_cases import T0, S, alert
from hypothesis import given
from hypothesis import strategies as st

from collectors.alerting.book import AlertBook
from collectors.alerting.notification import Kind, Notification
from collectors.alerting.routing import MAX_ALERTS, Router
from collectors.config.alerting import AlertingConfig, Silence
from collectors.model.alert import Alert, AlertState
from collectors.model.metric import Finding, Severity

HOOK = {"type": "webhook", "url": "http://x", "secret": "env:S"}
HOUR = 3600


def router(*routes: dict[str, Any], handlers: tuple[str, ...] = ("ops",), **more: Any) -> Router:
    config = AlertingConfig.model_validate({"handlers": dict.fromkeys(handlers, HOOK), "routes": list(routes), **more})
    return Router(config, handlers)


def over(given: Alert, at: int) -> Alert:
    return replace(given, state=AlertState.RESOLVED, ended_us=at)


def told(notifications: list[Notification]) -> list[tuple[str, str, int]]:
    return [(n.handler, str(n.kind), len(n.alerts)) for n in notifications]


def test_alerts_of_a_group_wait_for_each_other_and_are_told_once_until_repeated() -> None:
    made = router()
    first, second = alert(host="a"), alert(host="b")
    made.accept(first, T0)
    made.accept(second, T0 + 2 * S)
    assert made.due(T0 + 4 * S) == []
    (both,) = made.due(T0 + 5 * S)
    assert told([both]) == [("ops", "firing", 2)]
    assert set(both.changed) == {first.id, second.id}
    assert made.due(T0 + 65 * S) == []
    (reminder,) = made.due(T0 + 5 * S + 4 * HOUR * S)
    assert (len(reminder.alerts), reminder.changed) == (2, ())
    made.accept(over(first, T0 + 5 * HOUR * S), T0 + 5 * HOUR * S)
    (partly,) = made.due(T0 + 5 * HOUR * S)
    assert (partly.kind, [a.state for a in partly.alerts]) == (Kind.FIRING, [AlertState.FIRING, AlertState.RESOLVED])
    assert partly.changed == (first.id,)
    made.accept(over(second, T0 + 6 * HOUR * S), T0 + 6 * HOUR * S)
    (ended,) = made.due(T0 + 6 * HOUR * S)
    assert (ended.kind, [a.id for a in ended.alerts]) == (Kind.RESOLVED, [second.id])
    assert made.due(T0 + 20 * HOUR * S) == []


def test_one_notification_never_mixes_tenants() -> None:
    made = router({"handlers": ["ops"], "group_by": []})
    made.accept(alert(tenant="acme"), T0)
    made.accept(alert(tenant="other"), T0)
    assert [{a.tenant for a in n.alerts} for n in made.due(T0 + 5 * S)] == [{"acme"}, {"other"}]


def test_the_first_route_that_matches_counts_unless_it_lets_proceed() -> None:
    made = router(
        {"match": ["severity=critical"], "handlers": ["pager"], "proceed": True},
        {"match": ["rule=~cpu.*"], "handlers": ["ops"]},
        {"handlers": ["rest"]},
        handlers=("pager", "ops", "rest", "unnamed"),
    )
    made.accept(alert("cpu", severity=Severity.CRITICAL), T0)
    made.accept(alert("disk"), T0)
    assert sorted((n.handler, n.alerts[0].rule) for n in made.due(T0 + 5 * S)) == [
        ("ops", "threshold:cpu"),
        ("pager", "threshold:cpu"),
        ("rest", "threshold:disk"),
        ("unnamed", "threshold:cpu"),
        ("unnamed", "threshold:disk"),
    ]


def test_what_is_over_before_anybody_was_told_is_not_told() -> None:
    made = router()
    short = alert()
    made.accept(short, T0)
    made.accept(over(short, T0 + S), T0 + S)
    assert made.due(T0 + 5 * S) == []
    assert made.due(T0 + HOUR * S) == []
    made.accept(over(alert("never"), T0), T0)
    assert made.due(T0 + 2 * HOUR * S) == []


def test_a_silence_mutes_and_when_it_ends_what_still_fires_is_told() -> None:
    made = router()
    made.accept(alert(host="a"), T0)
    silence = Silence(match=("host=~a|b",), tenant="acme", starts_us=T0, ends_us=T0 + HOUR * S)
    assert made.due(T0 + 5 * S, [silence]) == []
    assert told(made.due(T0 + 65 * S)) == [("ops", "firing", 1)]
    elsewhere = router()
    elsewhere.accept(alert(host="a", tenant="other"), T0)
    assert len(elsewhere.due(T0 + 5 * S, [silence])) == 1, "it is one tenant's"


def test_who_was_told_that_it_fires_is_told_that_it_is_over_silence_or_not() -> None:
    made = router()
    fired = alert(host="a")
    made.accept(fired, T0)
    assert len(made.due(T0 + 5 * S)) == 1
    made.accept(over(fired, T0 + 60 * S), T0 + 60 * S)
    silence = Silence(match=("host=a",), starts_us=T0, ends_us=T0 + HOUR * S)
    assert told(made.due(T0 + 65 * S, [silence])) == [("ops", "resolved", 1)]


def test_maintenance_mutes_by_the_tenants_clock() -> None:
    # T0 is 2026-09-21 14:13:20 UTC, a Monday, 16:13 in Stockholm.
    window = {
        "name": "disks",
        "match": ["host=a"],
        "days": ["mon"],
        "begins_at": "16:00",
        "ends_at": "16:15",
        "time_zone": "Europe/Stockholm",
    }
    made = router(maintenance=[window])
    made.accept(alert(host="a"), T0)
    assert made.due(T0 + 5 * S) == []
    assert len(made.due(T0 + 101 * S)) == 1


def test_an_alert_is_inhibited_while_its_cause_fires_and_only_then() -> None:
    inhibition = {"source": ["rule=down"], "target": ["rule=slow"], "equal": ["host"]}
    made = router({"handlers": ["ops"], "group_by": ["rule", "host"]}, inhibitions=[inhibition])
    down = alert("down", host="a")
    made.accept(down, T0)
    for name, tenant, host in (("slow", "acme", "a"), ("slow", "acme", "b"), ("slow", "other", "a")):
        made.accept(alert(name, tenant, host=host), T0)
    told_now = {(n.alerts[0].rule, n.tenant, dict(n.labels)["host"]) for n in made.due(T0 + 5 * S)}
    assert told_now == {
        ("threshold:down", "acme", "a"),
        ("threshold:slow", "acme", "b"),
        ("threshold:slow", "other", "a"),
    }
    made.accept(over(down, T0 + 30 * S), T0 + 30 * S)
    later = made.due(T0 + 65 * S)
    assert sorted((n.alerts[0].rule, str(n.kind)) for n in later) == [
        ("threshold:down", "resolved"),
        ("threshold:slow", "firing"),
    ]


def test_two_alerts_that_would_inhibit_each_other_are_both_told() -> None:
    both = {"source": ["severity=~.+"], "target": ["severity=~.+"]}
    made = router(inhibitions=[both])
    made.accept(alert("a"), T0)
    made.accept(alert("b"), T0)
    assert len(made.due(T0 + 5 * S)) == 2


def test_what_is_acknowledged_is_not_repeated_and_those_who_know_of_it_are_told() -> None:
    made = router()
    fired = alert()
    made.accept(fired, T0)
    assert made.acknowledge("nothing", T0) == []
    (first,) = made.due(T0 + 5 * S)
    (told_of,) = made.acknowledge(fired.id, T0 + 10 * S)
    assert (told_of.kind, told_of.group, told_of.handler) == (Kind.ACKNOWLEDGED, first.group, "ops")
    assert told_of.title() == "[ACKNOWLEDGED] acme: cpu_usage is 95, above 80"
    assert made.acknowledge(fired.id, T0 + 11 * S) == []
    assert made.due(T0 + 10 * HOUR * S) == []
    made.accept(over(fired, T0 + 11 * HOUR * S), T0 + 11 * HOUR * S)
    assert told(made.due(T0 + 11 * HOUR * S)) == [("ops", "resolved", 1)]


def test_many_alerts_come_in_pieces_the_new_and_grave_first() -> None:
    made = router()
    for number in range(MAX_ALERTS + 5):
        made.accept(alert(host=str(number), severity=Severity.INFO), T0)
    grave = alert(host="grave", severity=Severity.CRITICAL, at=T0 + S)
    made.accept(grave, T0)
    first, second = made.due(T0 + 5 * S)
    assert (len(first.alerts), len(second.alerts)) == (MAX_ALERTS, 6)
    assert first.alerts[0] == grave
    assert first.id != second.id


def test_a_restart_neither_forgets_nor_repeats() -> None:
    made = router()
    fired, silent = alert(host="a"), alert("disk")
    made.accept(fired, T0)
    made.due(T0 + 5 * S)
    made.acknowledge(fired.id, T0 + 6 * S)
    made.accept(silent, T0 + 7 * S)
    config = AlertingConfig.model_validate({"handlers": {"ops": HOOK}})
    again = Router(config, ["ops"], made.snapshot(), [fired, silent], T0 + 8 * S)
    assert [n.alerts[0].id for n in again.due(T0 + 12 * S)] == [silent.id]
    assert again.acknowledge(fired.id, T0 + 13 * S) == []
    lost = Router(config, ["ops"], again.snapshot(), [], T0 + 100 * S)
    ended = lost.due(T0 + 100 * S)
    assert {(n.alerts[0].id, n.alerts[0].ended_us) for n in ended} == {
        (fired.id, T0 + 100 * S),
        (silent.id, T0 + 100 * S),
    }
    fresh = Router(config, ["ops"], b"", [fired], T0 + 100 * S)
    assert len(fresh.due(T0 + 100 * S)) == 1, "what is on record and was never told is told"


def test_a_new_configuration_keeps_what_was_told_where_the_route_stayed() -> None:
    cpu = {"match": ["rule=cpu"], "handlers": ["ops"]}
    made = router(cpu, handlers=("ops",))
    made.accept(alert(), T0)
    made.accept(alert("disk"), T0)
    assert len(made.due(T0 + 5 * S)) == 1
    config = AlertingConfig.model_validate(
        {"handlers": {"ops": HOOK, "new": HOOK}, "routes": [cpu, {"handlers": ["new"]}]}
    )
    made.configure(config, ["ops", "new"])
    assert [(n.handler, n.alerts[0].rule) for n in made.due(T0 + 70 * S)] == [("new", "threshold:disk")]


def test_a_clock_set_back_does_not_hold_a_group() -> None:
    made = router()
    made.accept(alert(host="a"), T0)
    made.due(T0 + 5 * S)
    made.accept(alert(host="b"), T0 - HOUR * S)
    assert len(made.due(T0 - HOUR * S + S)) == 1


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("raise"), st.integers(0, 3)),
            st.tuples(st.just("wait"), st.integers(1, 900)),
            st.tuples(st.just("silence"), st.integers(0, 3)),
        ),
        max_size=30,
    )
)
def test_silence_and_inhibition_never_lose_the_record(steps: list[tuple[str, int]]) -> None:
    """A book beside a router that mutes everything has the same alerts as one alone."""
    alone, book = AlertBook(), AlertBook()
    muting = router(inhibitions=[{"source": ["rule=r0"], "target": ["rule!=r0"]}])
    silences: list[Silence] = []
    now = T0
    records: list[list[Alert]] = [[], []]
    for what, number in steps:
        if what == "wait":
            now += number * S
        elif what == "silence":
            silences.append(Silence(match=(f"rule=r{number}",), starts_us=0, ends_us=now + HOUR * S))
        for each, record in zip((alone, book), records, strict=True):
            finding = Finding(f"r{number}", "k", Severity.INFO, "Something.")
            record.extend(each.expire(now))
            record.extend(each.raise_finding("acme", finding, now) if what == "raise" else [])
        for change in records[1][-2:]:
            muting.accept(change, now)
        for notification in muting.due(now, silences):
            for shown in notification.alerts:
                assert any(shown.id == kept.id for kept in records[1])
    assert records[0] == records[1]
