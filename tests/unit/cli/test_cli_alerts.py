"""``collectors alerts``: what fires, silences, acknowledgements, deliveries, and rules tried on the past."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cli_runner import Run

from collectors.alerting.notification import Kind, Notification
from collectors.alerting.state import new_alert
from collectors.app.folder import DataFolder
from collectors.catalog.performance.system_performance import SystemPerformanceCollector
from collectors.cli.alerts import parse_duration, parse_time
from collectors.config.tenant import PLATFORM_TENANT
from collectors.drivers.alert_store import AlertStore
from collectors.drivers.sample_store import LabelledSample
from collectors.errors import ConfigError
from collectors.model.alert import Alert, AlertState
from collectors.model.metric import Sample, Severity

S = 10**6
BEGIN = 1_763_600_000 * S  # 2025-11-20T00:53:20Z
CPU = next(s for s in SystemPerformanceCollector.emits if "cpu_usage" in s.aliases)


def alert(folder: DataFolder, rule: str = "threshold:cpu") -> Alert:
    made = new_alert(PLATFORM_TENANT, rule, "k", Severity.WARNING, "It is hot.", (("host", "a"),), BEGIN, 0.9)
    folder.samples.put_alerts([made])
    return made


@pytest.fixture
def past(folder: DataFolder) -> DataFolder:
    """A data folder in which the CPU was busy from the 10th to the 20th of 30 minutes."""
    folder.samples.declare(PLATFORM_TENANT, "system_performance", SystemPerformanceCollector.emits)
    values = ("x",) * len(CPU.labels)
    labels = tuple(zip(CPU.labels, values, strict=True))
    folder.samples.add(
        [
            LabelledSample(
                PLATFORM_TENANT,
                Sample(CPU.name, (95 if 10 <= minute < 20 else 5) / CPU.scale, values, BEGIN + minute * 60 * S),
                labels,
            )
            for minute in range(30)
        ]
    )
    return folder


def test_alerts_are_listed_with_who_cares_and_who_wants_silence(run: Run, folder: DataFolder) -> None:
    fired, over = alert(folder), alert(folder, "threshold:disk")
    folder.samples.put_alerts([replace(over, state=AlertState.RESOLVED, ended_us=BEGIN + S)])
    assert run("alerts", "ack", fired.id).code == 0
    id_ = run("alerts", "silence", "rule=cpu", "host=~a|b", "--tenant", PLATFORM_TENANT, "--comment", "why").out.strip()
    (shown,) = run("alerts", "list", "--json").json
    assert (shown["id"], shown["rule"], shown["acknowledged"], shown["silences"]) == (fired.id, "cpu", True, [id_])
    assert {a["id"] for a in run("alerts", "list", "--all", "--json").json} == {fired.id, over.id}
    table = run("alerts", "list").out
    assert f"acknowledged, silence {id_}" in table
    assert "It is hot." in table


def test_a_silence_can_be_listed_and_ended(run: Run, folder: DataFolder) -> None:
    made = run("alerts", "silence", "severity!=critical", "--for", "1h30m", "--from", "2999-01-01T00:00")
    id_ = made.out.strip()
    assert f"collectors alerts unsilence {id_}" in made.err
    (shown,) = run("alerts", "silences", "--json").json
    assert (shown["id"], shown["match"], shown["ends_us"] - shown["starts_us"]) == (
        id_,
        ["severity!=critical"],
        5400 * S,
    )
    assert "(all)" in run("alerts", "silences").out
    assert run("alerts", "unsilence", id_).code == 0
    assert run("alerts", "silences", "--json").json == []
    assert run("alerts", "unsilence", id_).code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("silence", "nonsense"), "a condition is LABEL=VALUE"),
        (("silence", "a=b", "--for", "soon"), "that is no duration"),
        (("silence", "a=b", "--from", "soon"), "that is no time"),
        (("silence", "a=b", "--tenant", "nobody"), "no such tenant"),
        (("ack", "nothing"), "no alert of that id fires"),
        (("test", "cpu_high", "--tenant", PLATFORM_TENANT), "give --config FILE"),
        (("test", "cpu_usage>x", "--tenant", PLATFORM_TENANT), "there is no rule"),
        (("test", "cpu_usage>1.2.3", "--tenant", PLATFORM_TENANT), "that limit is no number"),
        (("test", "no_such>1", "--tenant", PLATFORM_TENANT), "no metric or alias 'no_such'"),
        (("test", "cpu_usage>1", "--tenant", PLATFORM_TENANT, "--from", "2999-01-01"), "ends before it begins"),
    ],
)
def test_mistakes_are_told(run: Run, past: DataFolder, arguments: tuple[str, ...], message: str) -> None:
    outcome = run("alerts", *arguments)
    assert outcome.code in {1, 2}
    assert message in outcome.err


def test_deliveries_show_what_became_of_them(run: Run, folder: DataFolder) -> None:
    made = alert(folder)
    told = Notification("n1", "ops", "g", Kind.FIRING, PLATFORM_TENANT, (), (made,), (made.id,), BEGIN)
    store = AlertStore(folder.path / "alerts.db")
    store.commit({}, [told, replace(told, id="n2", group="h")])
    store.record(1, BEGIN, "failed", "the receiver is busy, status 429")
    shown = {d["id"]: d for d in run("alerts", "deliveries", "--json").json}
    assert shown["n1"]["attempts"] == [
        {"number": 1, "at": BEGIN, "outcome": "failed", "error": "the receiver is busy, status 429"}
    ]
    assert (shown["n2"]["attempts"], shown["n2"]["title"]) == ([], "[FIRING 1] platform: It is hot.")
    assert "status 429" in run("alerts", "deliveries", "--state", "waiting").out


def test_a_rule_is_tried_on_what_is_stored(run: Run, past: DataFolder) -> None:
    between = ("--tenant", PLATFORM_TENANT, "--from", "2025-11-20T00:00", "--to", "2025-11-20T02:00")
    (found,) = run("alerts", "test", "cpu_usage>80", *between, "--json").json
    assert (found["started"], found["ended"]) == ("2025-11-20T01:03:20.000Z", "2025-11-20T01:13:20.000Z")
    outcome = run("alerts", "test", "cpu_usage>80", *between, "--for", "5m")
    assert "would have fired 1 times" in outcome.err
    assert "2025-11-20 01:08:20" in outcome.out
    assert run("alerts", "test", "cpu_usage>80", *between, "--for", "15m", "--json").json == []
    assert len(run("alerts", "test", f"{CPU.name}<0.06", *between, "--json").json) == 2


def test_a_rule_is_tried_for_one_moment(run: Run, past: DataFolder) -> None:
    def at(moment: str) -> str:
        return run("alerts", "test", "cpu_usage>80", "--tenant", PLATFORM_TENANT, "--at", moment).err

    assert "did not fire" in at("2025-11-20T01:03:00")
    assert "this rule fired" in at("2025-11-20T02:10:00+01:00")
    assert "did not fire" in at("2025-11-20T01:20:00Z")


def test_a_configured_rule_is_tried_by_its_name(run: Run, past: DataFolder, tmp_path: Path) -> None:
    file = tmp_path / "collectors.toml"
    file.write_text(
        'port = 9000\n[[alerting.rules]]\nname = "hot"\nmetric = "cpu_usage"\nabove = 80\nseverity = "critical"\n'
    )
    command = ("alerts", "test", "--tenant", PLATFORM_TENANT, "--at", "2025-11-20T01:05:00", "--config", file)
    (found,) = run(*command, "hot", "--json").json
    assert (found["rule"], found["severity"]) == ("hot", "critical")
    assert "there are: hot" in run(*command, "cold").err
    file.write_text('[[alerting.rules]]\nname = "hot"\nmetric = "cpu_usage"\nabve = 80\n')
    assert f"{file}:4: rules.0.abve" in run(*command, "hot").err


def test_durations_and_times_are_read() -> None:
    assert parse_duration("1d12h", "--for") == 36 * 3600 * S
    assert parse_time("1970-01-01T01:00:00+01:00", "--at") == 0
    for wrong in ("", "5", "h", "5m!", "1h 5m"):
        with pytest.raises(ConfigError):
            parse_duration(wrong, "--for")
