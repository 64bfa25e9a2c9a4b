"""From what a person wrote to a validated model: defaults, then a TOML file, the environment, command-line flags.

Every layer is checked by itself before they are put together, so that one pass finds all that is wrong, also what a
later layer hides. The models' fields therefore all have defaults: each layer is a whole configuration.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from collectors.config.server import ServerConfig
from collectors.config.settings import Setting, describe_value
from collectors.config.tenant import TenantConfig
from collectors.config.toml_lines import KeyPath, key_lines
from collectors.errors import ConfigError

PREFIX = "COLLECTORS_"
ENVIRONMENT = "environment"
COMMAND_LINE = "command line"

_OTHER_VARIABLES = frozenset({"URL", "KEY", "DEBUG", "MASTER_KEY"})
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://")
_TOML_PLACE = re.compile(r"(.*?)\s*\(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where it stands, what it is, and the remedy.

    ``file`` is a path, ``environment`` or ``command line``; ``line`` counts from 1, 0 where there are no lines.
    """

    file: str
    line: int
    key: str
    message: str
    fix: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        end = "" if self.fix.endswith("?") else "."
        return f"{': '.join(filter(None, (place, self.key, self.message)))}. Fix: {self.fix}{end}"


class InvalidConfig(ConfigError):
    """What is configured has ``problems``; the message has a line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings from one place; ``names`` tells what a setting is called there, ``lines`` on which line it stands."""

    file: str
    values: Mapping[str, Any]
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    names: Mapping[KeyPath, str] = field(default_factory=dict)
    typed: bool = True
    """Whether values have types of their own; in the environment everything is text."""
    problems: tuple[Problem, ...] = ()

    def problem(self, path: KeyPath, message: str, fix: str) -> Problem:
        """Return a problem of the setting at ``path``."""
        known = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in self.lines), ())
        name = self.names.get(path, ".".join(map(str, path)))
        return Problem(self.file, self.lines.get(known, 0), name, message, fix)


def load_server_config(path: Path | None, env: Mapping[str, str], overrides: Mapping[str, object]) -> ServerConfig:
    """Return the server's configuration; raises InvalidConfig with everything that is wrong.

    ``env`` may hold variables such as ``COLLECTORS_INTAKE__MAX_ROWS``, where two underscores lead into a table.
    ``overrides`` are settings by dotted name, as flags set them; those that are None are not set.
    """
    layers = [
        *([] if path is None else [toml_layer(path)]),
        environment_layer(ServerConfig, env),
        override_layer(overrides),
    ]
    return load(ServerConfig, layers)


def load_tenant_config(base: TenantConfig, path: Path | None, overrides: Mapping[str, object]) -> TenantConfig:
    """Return ``base`` changed by a TOML file and by ``overrides``, whose values are text; raises InvalidConfig."""
    layers = [
        Layer("", base.model_dump(mode="json", exclude_unset=True)),
        *([] if path is None else [toml_layer(path)]),
        override_layer(overrides, option="--set {}"),
    ]
    return load(TenantConfig, layers)


def load(model: type[M], layers: Sequence[Layer]) -> M:
    """Return ``layers`` put together, later ones over earlier; raises InvalidConfig with everything that is wrong."""
    problems: list[Problem] = []
    merged: dict[str, Any] = {}
    for layer in layers:
        problems += layer.problems
        try:
            checked = _validate(model, layer)
        except ValidationError as error:
            problems += _problems(error, model, layer)
        else:
            merged = _merge(merged, checked.model_dump(mode="json", exclude_unset=True))
    if problems:
        raise InvalidConfig(problems)
    try:
        return model.model_validate(merged)
    except ValidationError as error:  # a rule between settings that stand in different places
        raise InvalidConfig(list(_problems(error, model, Layer("configuration", merged)))) from None


def toml_layer(path: Path) -> Layer:
    """Read a TOML file; what keeps it from being read is among the layer's problems."""
    file = str(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or "unknown reason"
        fix = "name another file, or make one with: collectors check --sample"
        return Layer(file, {}, problems=(Problem(file, 0, "", f"it can't be read: {reason}", fix),))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return Layer(file, {}, problems=(Problem(file, line, "", "this is not UTF-8", "save the file as UTF-8"),))
    text = text.replace("\r\n", "\n")
    try:
        return Layer(file, tomllib.loads(text), key_lines(text))
    except tomllib.TOMLDecodeError as error:
        return Layer(file, {}, problems=(_syntax_problem(file, text, str(error)),))


def _syntax_problem(file: str, text: str, error: str) -> Problem:
    match = _TOML_PLACE.fullmatch(error)
    message, line, column = match.groups() if match else (error, None, None)
    at = int(line) if line else text.count("\n") + 1
    place = f" at column {column}" if column else " at the end"
    return Problem(file, at, "", f"not valid TOML: {message}{place}", "write key = value, text in double quotes")


def environment_layer(model: type[BaseModel], env: Mapping[str, str]) -> Layer:
    """Pick a model's settings from the environment.

    Others may use the prefix too, so a variable that is no setting counts as a mistake only if it resembles one.
    """
    values: dict[str, Any] = {}
    names: dict[KeyPath, str] = {}
    problems: list[Problem] = []
    known = {PREFIX + "__".join(path).upper(): path for path, _ in Setting.of(model).leaves()}
    for name in sorted(env):
        path = known.get(name)
        if path is not None:
            # Kubernetes sets COLLECTORS_PORT=tcp://… for a service of that name.
            if not _SERVICE_LINK.match(env[name]):
                names[path] = name
                _put(values, path, env[name])
        elif name.startswith(PREFIX) and name.removeprefix(PREFIX) not in _OTHER_VARIABLES:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
            if close or "__" in name:
                fix = f"did you mean {close[0]}?" if close else "unset it; collectors check --sample lists the settings"
                problems.append(Problem(ENVIRONMENT, 0, name, "there is no such setting", fix))
    return Layer(ENVIRONMENT, values, names=names, typed=False, problems=tuple(problems))


def override_layer(overrides: Mapping[str, object], *, option: str = "--{}") -> Layer:
    """Take settings by dotted name, as options of a command set them."""
    values: dict[str, Any] = {}
    names: dict[KeyPath, str] = {}
    for key, value in overrides.items():
        if value is not None:
            path = tuple(key.split("."))
            _put(values, path, str(value) if isinstance(value, Path) else value)
            names[path] = option.format(key)
    return Layer(COMMAND_LINE, values, names=names, typed=False)


def _put(values: dict[str, Any], path: Sequence[str], value: object) -> None:
    for part in path[:-1]:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            return  # the table itself was given as a value, which is the problem to report
        values = inner
    values[path[-1]] = _structured(value) if isinstance(value, str) else value


def _structured(text: str) -> object:
    """Read lists and tables, which text can only hold as JSON; leave other text alone."""
    if text[:1] in {"[", "{"}:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            pass
    return text


def _merge(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _validate(model: type[M], layer: Layer) -> M:
    if not layer.typed:
        return model.model_validate(layer.values)
    # As JSON, so that strictness about numbers and text does not extend to paths and tuples, which no file can write.
    return model.model_validate_json(json.dumps(layer.values, default=str), strict=True)


def _problems(error: ValidationError, model: type[BaseModel], layer: Layer) -> Iterator[Problem]:
    root = Setting.of(model)
    found: dict[KeyPath, Problem] = {}
    for one in error.errors(include_url=False, include_context=False):
        path = one["loc"]
        setting = root.at(path)
        if one["type"] == "extra_forbidden":
            problem = layer.problem(path, "there is no such setting", _instead(root, path))
        elif one["type"] == "value_error":
            fix = "change it" if path else "change one of the settings it names"
            problem = layer.problem(path, one["msg"].removeprefix("Value error, "), fix)
        elif setting is None:  # an alternative of a union, or a key of a table
            problem = layer.problem(path, one["msg"], "change it")
        else:
            message = f"must be {setting.allowed}, not {describe_value(one['input'])}"
            problem = layer.problem(path, message, setting.remedy(one["input"]))
        found.setdefault(path, problem)
    yield from sorted(found.values(), key=lambda p: p.line)


def _instead(root: Setting, path: KeyPath) -> str:
    """Say what to write instead of a setting that does not exist."""
    wrong = str(path[-1])
    table = root.at(path[:-1])
    names = list(table.table) if table is not None else []
    close = difflib.get_close_matches(wrong, names, n=1)
    if close:
        return f"did you mean {close[0]}?"
    elsewhere = [".".join(leaf) for leaf, _ in root.leaves() if leaf[-1] == wrong]
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    return f"remove it; there are: {', '.join(names)}"
