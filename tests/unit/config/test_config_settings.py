"""The sample file and the schema are made from the models, and say what these do."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from jsonschema_rs import validator_for
from pydantic import BaseModel, Field

from collectors.config.loading import load, toml_layer
from collectors.config.server import ServerConfig
from collectors.config.settings import Setting, config_schema, describe_value, sample_toml, toml_value
from collectors.config.tenant import TenantConfig


@pytest.mark.parametrize("model", [ServerConfig, TenantConfig])
def test_a_sample_changes_nothing_as_it_stands(model: type[BaseModel], tmp_path: Path) -> None:
    path = tmp_path / "sample.toml"
    path.write_text(sample_toml(model))
    assert load(model, [toml_layer(path)]) == model()


@pytest.mark.parametrize("model", [ServerConfig, TenantConfig])
def test_a_sample_shows_every_setting_with_its_default(model: type[BaseModel], tmp_path: Path) -> None:
    path = tmp_path / "sample.toml"
    path.write_text(re.sub(r"^#(?=\w+ = )", "", sample_toml(model), flags=re.MULTILINE))
    assert tomllib.loads(path.read_text()) == model().model_dump(mode="json")
    assert load(model, [toml_layer(path)]) == model()


def test_a_sample_explains() -> None:
    text = sample_toml(ServerConfig)
    assert (
        "# Port to listen on; 0 takes a free one.\n# Allowed: a whole number from 0 to 65535.\n#port = 8080\n" in text
    )
    assert "# Limits of the event path.\n[intake]\n" in text
    assert "``" not in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_every_setting_is_described() -> None:
    for model in (ServerConfig, TenantConfig):
        for path, setting in Setting.of(model).leaves():
            assert setting.description, path


def test_the_schema_is_one_and_judges_like_the_models() -> None:
    schema = config_schema()
    json.dumps(schema)
    server = validator_for(schema)
    assert server.is_valid({"port": 1, "intake": {"max_rows": 5}})
    assert server.is_valid(ServerConfig().model_dump(mode="json"))
    for wrong in ({"prot": 1}, {"port": -1}, {"intake": {"max_rows": 0}}, {"lake": {"load_seconds": 0}}):
        assert not server.is_valid(wrong)
    tenant = validator_for({**schema, "$ref": "#/$defs/TenantConfig"})
    assert tenant.is_valid({"profile": "enterprise"})
    assert not tenant.is_valid({"profile": "tiny"})


class _Shapes(BaseModel):
    flag: bool = True
    ratio: float = Field(default=0.5, ge=0, lt=1)
    above: float = Field(default=2.0, gt=1)
    most: int = Field(default=1, le=1_000_000)
    path: Path | None = None
    names: list[str] = []
    table: dict[str, dict[str, int]] = {}
    anything: object = None


def test_allowed_values_are_described_in_words() -> None:
    table = Setting.of(_Shapes).table
    assert {name: setting.allowed for name, setting in table.items()} == {
        "flag": "true or false",
        "ratio": "a number of at least 0 and below 1",
        "above": "a number above 1",
        "most": "a whole number of at most 1_000_000",
        "path": "a path or nothing",
        "names": "a list",
        "table": "a table",
        "anything": "something else",
    }
    root = Setting.of(_Shapes)
    assert (inner := root.at(("table", "x", "y"))) is not None
    assert inner.allowed == "a whole number"
    assert root.at(("names", 0)) is not None
    assert root.at(("flag", "x")) is None
    assert root.at(("nosuch", "x", "y")) is None


@pytest.mark.parametrize(
    ("value", "words"),
    [(True, "true"), (3, "3"), (2.5, "2.5"), ("x", "this text"), ("", "empty text"), ({}, "a table"), ([], "a list")],
)
def test_values_are_told_by_kind_and_only_numbers_as_they_are(value: object, words: str) -> None:
    assert describe_value(value) == words


@pytest.mark.parametrize("value", [True, 5, 123_456, -1_000_000, 0.25, 'a"b\\c', "é", ["x", 1], {"a b": {"c": 1}}])
def test_values_are_written_as_toml(value: object) -> None:
    assert tomllib.loads(f"x = {toml_value(value)}") == {"x": value}
