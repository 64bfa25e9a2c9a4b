"""Layers of configuration, and that everything wrong with them is told with its place and its fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from collectors.config.loading import (
    InvalidConfig,
    Layer,
    Problem,
    environment_layer,
    load,
    load_server_config,
    load_tenant_config,
    override_layer,
    toml_layer,
)
from collectors.config.server import ServerConfig
from collectors.config.tenant import TenantConfig
from collectors.errors import ConfigError


def _file(folder: Path, text: str | bytes) -> Path:
    path = folder / "c.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def _problems(
    path: Path | None, env: dict[str, str] | None = None, flags: dict[str, object] | None = None
) -> list[Problem]:
    with pytest.raises(InvalidConfig) as caught:
        load_server_config(path, env or {}, flags or {})
    return list(caught.value.problems)


def test_without_anything_the_defaults_hold() -> None:
    assert load_server_config(None, {}, {}) == ServerConfig()


def test_each_layer_goes_over_the_one_before(tmp_path: Path) -> None:
    path = _file(tmp_path, 'host = "10.0.0.1"\nport = 1000\n[intake]\nmax_rows = 10\nmax_depth = 3\n')
    env = {"COLLECTORS_PORT": "2000", "COLLECTORS_INTAKE__MAX_ROWS": "20", "PATH": "/bin"}
    config = load_server_config(path, env, {"port": 3000, "host": None, "data": Path("/x"), "lake.load_seconds": 2})
    assert (config.host, config.port, config.data) == ("10.0.0.1", 3000, Path("/x"))
    assert (config.intake.max_rows, config.intake.max_depth) == (20, 3)
    assert config.lake.load_seconds == 2.0
    assert config.intake.queue_bytes == ServerConfig().intake.queue_bytes


def test_all_problems_come_at_once_with_file_and_line(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        """\
# settings
prot = 8080
port = 70000
host = 5
log_format = "jsn"

[intake]  # limits
max_row = 5
max_rows = "many"
max_depth = true
query_threads = 3
[lake]
load_seconds = 0
query_timeout_seconds = -1
[intak]
x = 1
[other]
""",
    )
    found = _problems(path)
    assert [(p.line, p.key) for p in found] == [
        (2, "prot"),
        (3, "port"),
        (4, "host"),
        (5, "log_format"),
        (8, "intake.max_row"),
        (9, "intake.max_rows"),
        (10, "intake.max_depth"),
        (11, "intake.query_threads"),
        (13, "lake.load_seconds"),
        (14, "lake.query_timeout_seconds"),
        (15, "intak"),
        (17, "other"),
    ]
    assert {p.file for p in found} == {str(path)}
    by_key = {p.key: p for p in found}
    assert by_key["prot"].fix == "did you mean port?"
    assert by_key["port"].message == "must be a whole number from 0 to 65535, not 70000"
    assert by_key["port"].fix == "change it, or leave it out for the default, 8080"
    assert by_key["host"].message == "must be text, not 5"
    assert by_key["log_format"].message == "must be one of console, json, not this text"
    assert by_key["log_format"].fix == "did you mean json?"
    assert by_key["intake.max_rows"].message == "must be a whole number of at least 1, not this text"
    assert by_key["intake.max_depth"].message == "must be a whole number from 1 to 256, not true"
    assert by_key["intake.query_threads"].fix == "did you mean lake.query_threads?"
    assert by_key["lake.load_seconds"].message == "must be a number above 0 and at most 60, not 0"
    assert by_key["intak"].fix == "did you mean intake?"
    assert by_key["other"].fix.startswith("remove it; there are: host, port,")


def test_problems_of_all_layers_come_together_also_where_a_later_one_hides_them(tmp_path: Path) -> None:
    path = _file(tmp_path, "port = -1\n")
    found = _problems(path, {"COLLECTORS_PORT": "x", "COLLECTORS_INTAKE__MAX_ROWS": "0"}, {"port": 99_999})
    assert [(p.file, p.key) for p in found] == [
        (str(path), "port"),
        ("environment", "COLLECTORS_PORT"),
        ("environment", "COLLECTORS_INTAKE__MAX_ROWS"),
        ("command line", "--port"),
    ]


def test_a_text_that_is_wrong_is_never_repeated(tmp_path: Path) -> None:
    path = _file(tmp_path, 'port = "s3cret"\n[intake]\nmax_rows = "s3cret"\n')
    with pytest.raises(InvalidConfig) as caught:
        load_server_config(path, {"COLLECTORS_PORT": "s3cret"}, {})
    assert "s3cret" not in str(caught.value)


def test_a_problem_is_written_as_one_line() -> None:
    assert str(Problem("c.toml", 3, "port", "is wrong", "change it")) == "c.toml:3: port: is wrong. Fix: change it."
    assert str(Problem("c.toml", 0, "", "it can't be read", "go?")) == "c.toml: it can't be read. Fix: go?"


def test_invalid_config_is_a_config_error_with_a_line_for_each_problem(tmp_path: Path) -> None:
    path = _file(tmp_path, "a = 1\nb = 2\n")
    with pytest.raises(ConfigError) as caught:
        load_server_config(path, {}, {})
    assert [line.partition(": ")[0] for line in str(caught.value).splitlines()] == [f"{path}:1", f"{path}:2"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a = 1\nport = = 3\n", 2, "Invalid value at column 8"),
        ("port = 1\nport = 2\n", 2, "Cannot overwrite a value"),
        ('host = "x', 1, "at the end"),
        ("[intake\n", 1, "column"),
        (b"port = 1\nhost = '\xff'\n", 2, "not UTF-8"),
    ],
)
def test_broken_files_are_told_with_their_line(tmp_path: Path, text: str | bytes, line: int, words: str) -> None:
    (found,) = _problems(_file(tmp_path, text))
    assert found.line == line
    assert words in found.message


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    (found,) = _problems(tmp_path / "no.toml")
    assert (found.file, found.line) == (str(tmp_path / "no.toml"), 0)
    assert "No such file" in found.message
    assert "collectors check --sample" in found.fix


def test_other_problems_are_still_found_if_the_file_is_broken(tmp_path: Path) -> None:
    found = _problems(_file(tmp_path, "= 1"), {"COLLECTORS_PORT": "x"})
    assert [p.file for p in found] == [str(tmp_path / "c.toml"), "environment"]


def test_files_may_have_a_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    path = _file(tmp_path, b"\xef\xbb\xbfport = 5\r\n[intake]\r\nmax_rows = 'x'\r\n")
    (found,) = _problems(path)
    assert (found.line, found.key) == (3, "intake.max_rows")


@pytest.mark.parametrize("text", ["port = true", "port = 80.5", 'port = "80"', "port = nan", "port = 1979-05-27"])
def test_files_must_use_the_right_type(tmp_path: Path, text: str) -> None:
    (found,) = _problems(_file(tmp_path, text))
    assert found.key == "port"


@pytest.mark.parametrize("text", ["intake = 5", "intake = []", 'intake = "x"'])
def test_a_value_in_place_of_a_table_is_a_problem(tmp_path: Path, text: str) -> None:
    (found,) = _problems(_file(tmp_path, text))
    assert (found.key, found.line) == ("intake", 1)
    assert found.fix == "change it, or leave it out"


def test_not_a_number_is_no_number(tmp_path: Path) -> None:
    (found,) = _problems(_file(tmp_path, "[lake]\nload_seconds = nan\n"))
    assert found.key == "lake.load_seconds"


def test_variables_of_others_with_our_prefix_are_left_alone() -> None:
    env = {
        "COLLECTORS_URL": "http://x",
        "COLLECTORS_KEY": "k",
        "COLLECTORS_DEBUG": "1",
        "COLLECTORS_MASTER_KEY": "x",
        # What Kubernetes tells of a service that is called "collectors".
        "COLLECTORS_PORT": "tcp://10.0.0.1:8080",
        "COLLECTORS_SERVICE_HOST": "10.0.0.1",
        "COLLECTORS_SERVICE_PORT": "8080",
        "COLLECTORS_PORT_8080_TCP_ADDR": "10.0.0.1",
    }
    assert load_server_config(None, env, {}) == ServerConfig()


def test_misspelt_variables_are_told() -> None:
    found = _problems(None, {"COLLECTORS_INTAKE__MAX_ROW": "1", "COLLECTORS_PROT": "1", "COLLECTORS_NOSUCH__X": "1"})
    assert {p.key: p.fix for p in found} == {
        "COLLECTORS_INTAKE__MAX_ROW": "did you mean COLLECTORS_INTAKE__MAX_ROWS?",
        "COLLECTORS_PROT": "did you mean COLLECTORS_PORT?",
        "COLLECTORS_NOSUCH__X": "unset it; collectors check --sample lists the settings",
    }


class _Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    low: int = 1
    high: int = 9

    @model_validator(mode="after")
    def _ordered(self) -> _Inner:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: _Inner = _Inner()
    names: tuple[str, ...] = ()
    limits: dict[str, int] = Field(default_factory=dict)
    choice: int | None = None
    either: int | list[int] = 0


def test_rules_between_settings_of_different_layers_are_checked() -> None:
    low, high = Layer("a", {"inner": {"low": 5}}), Layer("b", {"inner": {"high": 7}})
    assert load(_Model, [low, high]).inner == _Inner(low=5, high=7)
    with pytest.raises(InvalidConfig) as caught:
        load(_Model, [low, Layer("b", {"inner": {"high": 6, "low": 8}})])
    assert [(p.file, p.key, p.message) for p in caught.value.problems] == [("b", "inner", "low is above high")]
    with pytest.raises(InvalidConfig) as caught:
        load(_Model, [Layer("a", {"inner": {"low": 8}}), Layer("b", {"inner": {"high": 7}})])
    assert [(p.file, p.message) for p in caught.value.problems] == [("configuration", "low is above high")]


def test_variables_hold_lists_and_tables_as_json() -> None:
    layer = environment_layer(
        _Model, {"COLLECTORS_NAMES": '["a"]', "COLLECTORS_LIMITS": '{"x": 1}', "COLLECTORS_INNER__LOW": "2"}
    )
    assert load(_Model, [layer]) == _Model(names=("a",), limits={"x": 1}, inner=_Inner(low=2))
    broken = environment_layer(_Model, {"COLLECTORS_NAMES": "[a"})
    with pytest.raises(InvalidConfig):
        load(_Model, [broken])


def test_problems_inside_lists_tables_and_alternatives_name_them(tmp_path: Path) -> None:
    path = _file(tmp_path, 'names = [\n "a",\n 2]\nchoice = "x"\n[limits]\nx = "y"\n')
    with pytest.raises(InvalidConfig) as caught:
        load(_Model, [toml_layer(path)])
    assert [(p.line, p.key) for p in caught.value.problems] == [(3, "names.1"), (4, "choice"), (6, "limits.x")]
    assert caught.value.problems[1].message == "must be a whole number or nothing, not this text"


def test_every_alternative_that_does_not_fit_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load(_Model, [toml_layer(_file(tmp_path, '\neither = "x"\n'))])
    assert [p.line for p in caught.value.problems] == [2, 2]
    assert "integer" in caught.value.problems[0].message


def test_overrides_of_a_table_that_was_given_as_a_value_are_the_value_s_problem() -> None:
    with pytest.raises(InvalidConfig) as caught:
        load(_Model, [override_layer({"inner": 5, "inner.low": 3})])
    assert [p.key for p in caught.value.problems] == ["--inner"]


def _tenant_problems(**settings: Any) -> list[Problem]:
    with pytest.raises(InvalidConfig) as caught:
        load_tenant_config(TenantConfig(), None, settings)
    return list(caught.value.problems)


def test_tenants_change_by_dotted_settings_and_keep_the_rest() -> None:
    before = TenantConfig(currency="SEK", policies={"auth": {"ip": "drop"}})
    after = load_tenant_config(
        before, None, {"policies.auth.principal": "encrypt", "dropped_types": '["log"]', "real_time_enabled": "false"}
    )
    assert after == TenantConfig(
        currency="SEK",
        policies={"auth": {"ip": "drop", "principal": "encrypt"}},
        dropped_types=("log",),
        real_time_enabled=False,
    )


def test_tenants_read_files(tmp_path: Path) -> None:
    path = _file(tmp_path, 'time_zone = "Asia/Tokyo"\n[retention_days]\nlog = 7\n')
    config = load_tenant_config(TenantConfig(), path, {"currency": "JPY"})
    assert config == TenantConfig(time_zone="Asia/Tokyo", currency="JPY", retention_days={"log": 7})


def test_problems_of_tenants_name_the_option() -> None:
    (zone,) = _tenant_problems(time_zone="Mars/Olympus")
    assert zone.key == "--set time_zone"
    assert "IANA" in zone.message
    (currency,) = _tenant_problems(currency="eur")
    assert currency.message == "must be text that matches ^[A-Z]{3}$, not this text"
