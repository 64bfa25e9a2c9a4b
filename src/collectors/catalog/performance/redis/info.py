"""The text that INFO answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

_LONGEST = 100
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")


@dataclass(frozen=True)
class Info:
    """Fields of INFO by name, and the lines about modules, which all have the same name."""

    fields: Mapping[str, str]
    modules: tuple[Mapping[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Info:
        """Parse what INFO answers: ``name:value`` lines between headings."""
        fields: dict[str, str] = {}
        modules: list[Mapping[str, str]] = []
        for line in text.splitlines():
            name, colon, value = line.partition(":")
            if name == "module" and colon:
                modules.append(assignments(value))
            elif colon and line[0] != "#":
                fields[name] = value
        return cls(fields, tuple(modules))

    def number(self, name: str) -> float | None:
        """Return a field as a number, None if it is not there or no number."""
        return number(self.fields.get(name, ""))

    def starting_with(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield the fields that begin so, by the rest of their name."""
        size = len(prefix)
        return ((name[size:], value) for name, value in self.fields.items() if name.startswith(prefix))

    @cached_property
    def mode(self) -> str:
        """What the server is: standalone, cluster or sentinel."""
        return self.fields.get("redis_mode") or self.fields.get("server_mode") or "standalone"

    @cached_property
    def product(self) -> str:
        """Whose server it is."""
        return self.fields.get("server_name") or "redis"

    @cached_property
    def version(self) -> str:
        """The server's own version, which a Valkey tells beside the Redis it is compatible with."""
        own = self.fields.get("valkey_version") if self.product == "valkey" else None
        return own or self.fields.get("redis_version", "")

    @cached_property
    def major(self) -> int:
        """First number of the Redis version it is or is compatible with; a large one if it is not told."""
        head = self.fields.get("redis_version", "").partition(".")[0]
        return int(head) if head.isdigit() else 99

    @cached_property
    def life(self) -> tuple[str, str]:
        """Identifies the process: counters are comparable as long as this is the same."""
        return self.fields.get("run_id", ""), self.fields.get("process_id", "")


def number(text: str) -> float | None:
    """Read a number, which may be followed by a percent sign; None if it is none."""
    if text.isascii() and text.isdigit():  # most of them
        return int(text) if len(text) < _LONGEST else None
    text = text.removesuffix("%")
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    if abs(value) == float("inf"):
        return None
    return int(text) if text.removeprefix("-").isdigit() else value


def assignments(text: str) -> dict[str, str]:
    """Parse ``a=1,b=2``, where a value may hold commas only between brackets."""
    return dict(part.split("=", 1) for part in re.split(r",(?![^\[]*\])", text) if "=" in part)
