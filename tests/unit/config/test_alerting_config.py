"""What users write about alerts is checked at once, and no secret can stand in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from collectors.config.alert_rule import AlertRule
from collectors.config.alerting import (
    AlertingConfig,
    EmailHandler,
    Maintenance,
    Silence,
    read_secret,
)
from collectors.config.collector import Model
from collectors.config.loading import InvalidConfig, load, toml_layer
from collectors.config.matchers import matches
from collectors.config.settings import Setting
from collectors.errors import ConfigError

FILE = """
[[rules]]
name = "cpu_high"
metric = "cpu_usage"
above = 80
clear = 70
for_seconds = 300
missing = "alert"
severity = "critical"
labels = { team = "sre" }

[handlers.ops]
type = "slack"
url = "env:SLACK_URL"

[handlers.pager]
type = "pagerduty"
routing_key = "file:/run/secrets/pagerduty"

[[routes]]
match = ["severity=critical"]
handlers = ["pager", "ops"]

[[inhibitions]]
source = ["rule=down"]
target = ["rule=slow"]
equal = ["host"]

[[maintenance]]
name = "disks"
days = ["sat"]
begins_at = "22:00"
ends_at = "02:00"
"""


def read(tmp_path: Path, text: str) -> AlertingConfig:
    file = tmp_path / "alerting.toml"
    file.write_text(text)
    return load(AlertingConfig, [toml_layer(file)])


def test_a_file_is_read_whole_and_survives_being_stored(tmp_path: Path) -> None:
    made = read(tmp_path, FILE)
    assert made.rules[0].clear == 70
    assert made.routes[0].handlers == ("pager", "ops")
    assert AlertingConfig.model_validate_json(made.model_dump_json(exclude_unset=True)) == made


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        ('url = "env:SLACK_URL"', 'url = "https://hooks.slack.com/services/T0/B0/S3CR3T"', "a secret is not written"),
        ("above = 80", "", "give either above or below"),
        ("above = 80", "above = 80\nbelow = 1", "give either above or below"),
        ("clear = 70", "clear = 90", "clear must be at or below the limit"),
        ("above = 80\nclear = 70", "below = 80\nclear = 70", "clear must be at or above the limit"),
        ('handlers = ["pager", "ops"]', 'handlers = ["nobody"]', "the handler nobody, which there is not"),
        ('match = ["severity=critical"]', 'match = ["severity"]', "a condition is LABEL=VALUE"),
        ('match = ["severity=critical"]', 'match = ["severity=~("]', "no regular expression"),
        ('ends_at = "02:00"', 'ends_at = "25:00"', "a time of day is written"),
        ('days = ["sat"]', "", "give either starts and ends, or days"),
        ('type = "slack"', 'type = "fax"', "fax|type"),
        ("for_seconds = 300", "for_seconds = -1", "rules.0.for_seconds"),
        ("[[routes]]", "[[rotes]]", "did you mean routes"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_without_a_secret(
    tmp_path: Path, wrong: str, right: str, message: str
) -> None:
    assert wrong in FILE
    with pytest.raises(InvalidConfig, match=message) as raised:
        read(tmp_path, FILE.replace(wrong, right))
    assert "S3CR3T" not in str(raised.value)
    assert "alerting.toml" in str(raised.value)


def test_two_rules_of_one_name_and_a_hold_shorter_than_the_repetition_are_refused(tmp_path: Path) -> None:
    rule = '[[rules]]\nname = "a"\nmetric = "m"\nabove = 1\n'
    with pytest.raises(InvalidConfig, match="two rules called a"):
        read(tmp_path, rule + rule)
    handler = '[handlers.am]\ntype = "alertmanager"\nurl = "http://am:9093"\nhold_seconds = 60\n'
    with pytest.raises(InvalidConfig, match="hold_seconds of am"):
        read(tmp_path, f'{handler}[[routes]]\nhandlers = ["am"]\n')


def test_mail_never_sends_a_password_in_the_clear() -> None:
    given: dict[str, Any] = {"host": "h", "sender": "a@b.c", "to": ["d@e.f"]}
    with pytest.raises(ValidationError, match="unencrypted"):
        EmailHandler(**given, username="me", password="env:P", security="none")
    with pytest.raises(ValidationError, match="both username and password"):
        EmailHandler(**given, username="me")


def test_every_setting_is_described() -> None:
    def undescribed(setting: Setting, path: str) -> list[str]:
        return [
            f"{path}.{name}"
            for name, inner in setting.table.items()
            if not inner.description or undescribed(inner, f"{path}.{name}")
        ]

    models = [AlertingConfig, AlertRule, Maintenance, Silence, EmailHandler]
    for model in models:
        assert undescribed(Setting.of(model), model.__name__) == []


def test_a_secret_is_read_from_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", " s3cret\n")
    assert read_secret("env:SOME_KEY").get_secret_value() == "s3cret"
    file = tmp_path / "key"
    file.write_text("other\n")
    secret = read_secret(f"file:{file}")
    assert secret.get_secret_value() == "other"
    assert "other" not in f"{secret!r} {secret}"
    file.write_bytes(b"\xff\xfe")
    for reference in (f"file:{file}", f"file:{tmp_path}/none"):
        with pytest.raises(ConfigError, match="can't be read"):
            read_secret(reference)
    with pytest.raises(ConfigError, match="no secret in env:UNSET_KEY"):
        read_secret("env:UNSET_KEY")


@pytest.mark.parametrize(
    ("matchers", "holds"),
    [
        ((), True),
        (("host=web1",), True),
        (('host="web1"',), True),
        (("host = web1", "team!=sre"), True),
        (("host=web",), False),
        (("host=~web[0-9]+",), True),
        (("host=~web",), False),
        (("host!~db.*",), True),
        (("host!=web1",), False),
        (("gone=",), True),
        (("gone!=",), False),
        (("note=~.*second.*",), True),
        (("cpu.mode=user",), True),
    ],
)
def test_conditions_mean_what_alertmanager_means_by_them(matchers: tuple[str, ...], holds: bool) -> None:
    labels = {"host": "web1", "team": "ops", "note": "first\nsecond", "cpu.mode": "user"}
    assert matches(matchers, labels) is holds


def test_no_pattern_can_stall_the_alerts() -> None:
    assert not matches(("a=~(x+x+)+y",), {"a": "x" * 100_000}), "exponential in a backtracking engine"


@given(st.integers(0, 1_000_000), st.integers(0, 1439), st.integers(0, 1439))
def test_a_weekly_window_is_open_as_long_as_it_says(minutes: int, begin: int, end: int) -> None:
    """Counted by minutes of a UTC week, which has no change of the clock."""
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    window = Maintenance(
        name="w",
        days=("sun",),
        begins_at=f"{begin // 60:02}:{begin % 60:02}",
        ends_at=f"{end // 60:02}:{end % 60:02}",
    )
    minute = (moment.weekday() * 1440 + moment.hour * 60 + moment.minute) % 10_080
    start = 6 * 1440 + begin
    length = (end - begin) % 1440 or 1440
    assert window.is_open(moment) == ((minute - start) % 10_080 < length)


def test_a_window_keeps_to_the_wall_clock_of_its_zone() -> None:
    window = Maintenance(name="w", days=("mon",), begins_at="09:00", ends_at="10:00", time_zone="Europe/Stockholm")
    winter, summer = datetime(2026, 1, 5, 8, 30, tzinfo=UTC), datetime(2026, 7, 6, 7, 30, tzinfo=UTC)
    assert window.is_open(winter)
    assert window.is_open(summer)
    assert not window.is_open(winter - timedelta(hours=1))


def test_a_single_window_and_a_silence_must_end_after_they_start() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    once = Maintenance(name="w", starts=start, ends=start + timedelta(hours=1))
    assert once.is_open(start)
    assert not once.is_open(start + timedelta(hours=1))
    with pytest.raises(ValidationError, match="end after"):
        Maintenance(name="w", starts=start, ends=start)
    with pytest.raises(ValidationError, match="either"):
        Maintenance(name="w", starts=start)
    with pytest.raises(ValidationError, match="end after"):
        Silence(match=("a=b",), starts_us=5, ends_us=5)


def test_it_fits_into_a_servers_file_and_its_sample() -> None:
    from collectors.config.settings import sample_toml

    class Server(Model):
        """A server."""

        alerting: AlertingConfig = AlertingConfig()
        """Alerts."""

    assert issubclass(Server, BaseModel)
    text = sample_toml(Server)
    assert "[alerting]" in text
    assert "#rules = []" in text
