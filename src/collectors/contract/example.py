"""What a collector is tried out on: data only, so that anyone can run it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from collectors.errors import CollectorsError

_NAME = re.compile(r"^[a-z][a-z0-9_]*$")

Rows = Sequence[Mapping[str, Any]]
"""Events as producers send them: values by field name; fields left out are null."""


@dataclass(frozen=True)
class Example:
    """One situation a collector must handle: a configuration and recorded input.

    ``config`` holds settings as a user writes them. ``events`` are what the lake holds of the tenant, or what a
    streaming collector is shown, by event type; ``event_time`` may be a ``timedelta``, how long before ``end`` the
    event happened (a minute if it is left out). ``files`` are texts by relative path, from which
    ``BaseCollector.recorded`` makes drivers. ``end`` is when the window that is collected ends. ``fails`` is the
    error that this input must lead to.
    """

    name: str = "default"
    config: Mapping[str, Any] = field(default_factory=dict)
    events: Mapping[str, Rows] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    end: datetime = datetime(2026, 3, 2, 12, tzinfo=UTC)
    time_zone: str = "UTC"
    currency: str = "EUR"
    fails: type[CollectorsError] | None = None

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise ValueError(f"call the example {self.name!r} by a lower_snake word: a folder is named after it")
        if self.end.tzinfo is None:
            raise ValueError(f"give the end of the example {self.name} a time zone, such as UTC")

    @property
    def has_input(self) -> bool:
        """Whether there is anything to collect from."""
        return bool(self.files) or any(self.events.values())
