"""Which server it is, and its modules.

Source: INFO. Modules write sections of their own, whose fields are passed on by name; those are few, and the server's.
"""

from __future__ import annotations

from collections.abc import Iterator

from collectors.catalog.performance.redis.area import Area, Reading, nothing, printable, sample
from collectors.catalog.performance.redis.info import number
from collectors.catalog.performance.redis.info_field import OWN
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_UP = MetricSpec(f"{OWN}up", Kind.GAUGE, Unit.COUNT, "1 if the server answered; a run that failed has no samples.")
_INFO = MetricSpec(
    f"{OWN}instance",
    Kind.GAUGE,
    Unit.COUNT,
    "1 for what the server is.",
    labels=("product", "version", "mode", "role", "os", "maxmemory_policy"),
)
_START = MetricSpec(f"{OWN}start_time", Kind.GAUGE, Unit.SECONDS, "When the server started, since the epoch.")
_MODULE = MetricSpec(
    f"{OWN}module", Kind.GAUGE, Unit.COUNT, "1 for each module that is loaded.", labels=("module", "version")
)
_MODULE_VALUE = MetricSpec(
    f"{OWN}module.value",
    Kind.GAUGE,
    Unit.COUNT,
    "A number that a module for search, JSON or Bloom filters tells in INFO, in its own unit.",
    labels=("field",),
)

_MODULE_PREFIXES = ("search_", "json_", "bf_")
_MAX_MODULE_FIELDS = 300


def _derive(now: Reading, before: Reading | None) -> Iterator[Sample]:  # noqa: ARG001  # as areas are called
    info = now.info
    yield sample(_UP, 1)
    if not info.fields:
        return
    told = (info.fields.get(key, "") for key in ("role", "os", "maxmemory_policy"))
    yield sample(_INFO, 1, info.product, info.version, info.mode, *map(printable, told))
    time_us, uptime_s = info.number("server_time_usec"), info.number("uptime_in_seconds")
    if time_us is not None and uptime_s is not None:
        yield sample(_START, time_us // 1_000_000 - uptime_s)
    for module in info.modules:
        yield sample(_MODULE, 1, printable(module.get("name", "")), printable(module.get("ver", "")))
    fields = ((name, number(text)) for name, text in info.fields.items() if name.startswith(_MODULE_PREFIXES))
    values = [(name, value) for name, value in fields if value is not None]
    for name, value in values[:_MAX_MODULE_FIELDS]:
        yield sample(_MODULE_VALUE, value, printable(name))


AREA = Area("instance", (_UP, _INFO, _START, _MODULE, _MODULE_VALUE), nothing, _derive)
