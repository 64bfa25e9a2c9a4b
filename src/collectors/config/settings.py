"""What may be set, read off the JSON Schema of a configuration model: names, allowed values, defaults, descriptions."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from collectors.config.server import ServerConfig
from collectors.config.tenant import TenantConfig

_CHOICE = re.compile(r"\^\(([\w|-]+)\)\$")
_GROUPED_FROM = 100_000
_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "object": "a table",
    "array": "a list",
    "null": "nothing",
}
_PATH = "a path"
_OBVIOUS = frozenset({"text", _PATH, "a table", "a list"})


@dataclass(frozen=True)
class Setting:
    """One setting, or a table of settings, as its JSON Schema describes it."""

    schema: Mapping[str, Any]
    definitions: Mapping[str, Any]

    @classmethod
    def of(cls, model: type[BaseModel]) -> Self:
        """Return the table of a model's settings."""
        schema = model.model_json_schema()
        return cls(schema, schema.get("$defs", {}))

    @property
    def resolved(self) -> Mapping[str, Any]:
        """The schema, or the one it refers to."""
        name = self.schema.get("$ref", "").removeprefix("#/$defs/")
        resolved: Mapping[str, Any] = self.definitions[name] if name else self.schema
        return resolved

    @property
    def table(self) -> dict[str, Setting]:
        """The settings in a table, by name; none if this is not a table whose names are fixed."""
        return {name: self._new(inner) for name, inner in self.resolved.get("properties", {}).items()}

    def at(self, path: Sequence[str | int]) -> Setting | None:
        """Return the setting at ``path`` below this one, also in tables and lists of the user's own; None if none."""
        setting: Setting | None = self
        for part in path:
            if setting is None:
                break
            resolved = setting.resolved
            inner = resolved.get("items") if isinstance(part, int) else resolved.get("properties", {}).get(part)
            if inner is None and isinstance(part, str):
                inner = resolved.get("additionalProperties")
            setting = self._new(inner) if isinstance(inner, dict) else None
        return setting

    def leaves(self) -> Iterator[tuple[tuple[str, ...], Setting]]:
        """Yield everything below that is not itself a table of settings, with its path."""
        for name, inner in self.table.items():
            if inner.table:
                yield from (((name, *path), leaf) for path, leaf in inner.leaves())
            else:
                yield (name,), inner

    @property
    def description(self) -> str:
        """What it is for."""
        text = self.schema.get("description") or self.resolved.get("description", "")
        return str(text).replace("``", "")

    @property
    def default(self) -> Any:
        """Its value if it is not set, as JSON; None if there is none."""
        if "default" in self.schema:
            return self.schema["default"]
        kind = self.resolved.get("type")
        return {} if kind == "object" else [] if kind == "array" else None

    @property
    def choices(self) -> tuple[str, ...]:
        """The only values it can have, if they can be listed."""
        match = _CHOICE.fullmatch(self.resolved.get("pattern", ""))
        return tuple(match[1].split("|")) if match else tuple(self.resolved.get("enum", ()))

    @property
    def allowed(self) -> str:
        """Which values it can have, in words that follow "must be"."""
        schema = self.resolved
        if "anyOf" in schema:
            return " or ".join(self._new(one).allowed for one in schema["anyOf"])
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        kind = _PATH if schema.get("format") == "path" else _KINDS.get(schema.get("type", ""), "something else")
        pattern = f" that matches {schema['pattern']}" if "pattern" in schema else ""
        return f"{kind}{pattern}{_range(schema)}"

    def remedy(self, value: object) -> str:
        """Say what to do about ``value``, which is not allowed."""
        close = difflib.get_close_matches(value, self.choices, n=1) if isinstance(value, str) else []
        if close:
            return f"did you mean {close[0]}?"
        if self.default is None or self.table:
            return "change it, or leave it out"
        return f"change it, or leave it out for the default, {toml_value(self.default)}"

    def _new(self, schema: Mapping[str, Any]) -> Setting:
        return Setting(schema, self.definitions)


def _range(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {_number(low)} to {_number(high)}"
    bounds = (("of at least", low), ("above", above), ("at most", high), ("below", below))
    parts = [f"{word} {_number(bound)}" for word, bound in bounds if bound is not None]
    text = " and ".join(parts)
    if text.startswith("at most"):
        text = f"of {text}"
    return f" {text}" if text else ""


def _number(value: float) -> str:
    """Write a number as TOML, its digits in groups if there are many."""
    return f"{value:_}" if abs(value) >= _GROUPED_FROM else f"{value}"


def describe_value(value: object) -> str:
    """Say what a value is without telling a text, which may be a secret."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value}"
    if isinstance(value, str):
        return "this text" if value else "empty text"
    return "a table" if isinstance(value, Mapping) else "a list"


def toml_value(value: object) -> str:
    """Write a JSON value as TOML."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _number(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False)


def sample_toml(model: type[BaseModel]) -> str:
    """Return a file with every setting of ``model``, explained and commented out: as it stands it changes nothing."""
    lines = [f"# {Setting.of(model).description}", "# Take the # away in front of what you want to change.", ""]
    lines += _sample_lines(Setting.of(model), ())
    return "\n".join(lines).rstrip() + "\n"


def _sample_lines(table: Setting, path: tuple[str, ...]) -> Iterator[str]:
    tables = {name: inner for name, inner in table.table.items() if inner.table}
    for name, setting in table.table.items():
        if name not in tables:
            yield f"# {setting.description}"
            if setting.allowed not in _OBVIOUS:
                yield f"# Allowed: {setting.allowed}."
            yield f"#{name} = {toml_value(setting.default)}"
            yield ""
    for name, inner in tables.items():
        yield f"# {inner.description}"
        yield f"[{'.'.join((*path, name))}]"
        yield ""
        yield from _sample_lines(inner, (*path, name))


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of the server's file; the tenants' configuration is in it as ``$defs/TenantConfig``."""
    _, schema = models_json_schema([(ServerConfig, "validation"), (TenantConfig, "validation")])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "collectors",
        "$ref": "#/$defs/ServerConfig",
        **schema,
    }
