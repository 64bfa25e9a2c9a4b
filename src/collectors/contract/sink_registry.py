"""Find sinks by name, ours and other people's alike, through the entry points of installed packages."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from collectors.config.sinks import PluginSink, SinkConfig
from collectors.contract.sink import BaseSink, SinkContext
from collectors.errors import ConfigError, UnknownName

GROUP = "collectors.sinks"


@cache
def _found() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = found.get(point.name)
        if other is not None and other.value != point.value:
            raise ConfigError(
                f"two packages bring a sink {point.name!r}: {other.value} and {point.value}",
                fix="uninstall one of them.",
            )
        found[point.name] = point
    return found


def sink_names() -> list[str]:
    """Return the names of all installed sinks."""
    return sorted(_found())


def sink_class(name: str) -> type[BaseSink[Any]]:
    """Return the sink called ``name``; it is imported now, not before."""
    point = _found().get(name)
    if point is None:
        raise UnknownName(f"there is no sink {name[:64]!r}; there are: {', '.join(sink_names())}")
    cls = point.load()
    if not (isinstance(cls, type) and issubclass(cls, BaseSink)) or cls.name != name:
        raise ConfigError(f"the entry point {name!r} leads to {point.value}, which is no sink of that name")
    return cls


def make_sink(given: SinkConfig, context: SinkContext | None = None) -> BaseSink[Any]:
    """Return the sink that ``given`` describes, not yet opened."""
    if not isinstance(given, PluginSink):
        return sink_class(given.kind)(given, context)
    cls = sink_class(given.sink)
    common = given.model_dump(exclude_unset=True, exclude={"type", "sink", "settings"})
    return cls(cls.Config.model_validate({**common, **given.settings}), context)
