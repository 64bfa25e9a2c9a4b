"""Conditions on labels, written as Alertmanager writes them: ``host=web1``, ``severity!=info``, ``rule=~disk_.*``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field

_FORM = re.compile(r"\s*([a-z_][a-z0-9_.]*)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)

_BEGINNING = r"^\s*[a-z_][a-z0-9_.]*\s*(=~|!~|!=|=)"


def _check(text: str) -> str:
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("a condition is LABEL=VALUE, LABEL!=VALUE, LABEL=~PATTERN or LABEL!~PATTERN")
    if match[2] in {"=~", "!~"}:
        from pyarrow import ArrowInvalid

        try:
            _fits(_unquoted(match[3]), "")
        except ArrowInvalid:
            raise ValueError(f"the pattern of {match[1]!r} is no regular expression in RE2's syntax") from None
    return text


MatcherText = Annotated[str, AfterValidator(_check), Field(max_length=500, json_schema_extra={"pattern": _BEGINNING})]
"""One condition on a label; a label that is not there counts as empty. Quotes around the value are optional."""

Matchers = Annotated[tuple[MatcherText, ...], Field(max_length=20)]
"""Conditions that must all hold; none hold always."""


def matches(matchers: Iterable[str], labels: Mapping[str, str]) -> bool:
    """Tell whether all of ``matchers`` hold for ``labels``."""
    return all(_holds(text, labels) for text in matchers)


def _holds(text: str, labels: Mapping[str, str]) -> bool:
    name, sign, wanted = _parsed(text)
    value = labels.get(name, "")
    equal = _fits(wanted, value) if sign.endswith("~") else value == wanted
    return equal is not sign.startswith("!")


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[str, str, str]:
    match = _FORM.fullmatch(text)
    assert match is not None, "checked when it was configured"
    return match[1], match[2], _unquoted(match[3])


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] == '"' else value


@lru_cache(maxsize=16_384)
def _fits(pattern: str, value: str) -> bool:
    """Match a whole value by RE2, whose time is linear: whoever may write a silence can't stall the alerts."""
    import pyarrow as pa
    from pyarrow import compute

    return bool(compute.match_substring_regex(pa.array([value], pa.string()), f"^(?s:{pattern})$")[0].as_py())
