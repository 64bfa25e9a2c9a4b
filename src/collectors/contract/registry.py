"""Find collectors by name: ours and other people's alike, through the entry points of installed packages."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from collectors.contract.collector import BaseCollector
from collectors.errors import ConfigError, UnknownName

GROUP = "collectors.collectors"


@cache
def _found() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = found.get(point.name)
        if other is not None and other.value != point.value:
            raise ConfigError(
                f"two packages bring a collector {point.name!r}: {other.value} and {point.value}",
                fix="uninstall one of them.",
            )
        found[point.name] = point
    return found


def collector_names() -> list[str]:
    """Return the names of all installed collectors."""
    return sorted(_found())


def collector_class(name: str) -> type[BaseCollector[Any]]:
    """Return the collector called ``name``; it is imported now, not before."""
    point = _found().get(name)
    if point is None:
        raise UnknownName(f"there is no collector {name[:64]!r}; there are: {', '.join(collector_names())}")
    cls = point.load()
    if not (isinstance(cls, type) and issubclass(cls, BaseCollector)) or cls.name != name:
        raise ConfigError(f"the entry point {name!r} leads to {point.value}, which is no collector of that name")
    return cls
