"""The access log: what users were denied.

Source: ACL LOG, which holds the newest denials and counts repeated ones in one entry. Told are reason and context; who
was denied what may be personal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from collectors.catalog.performance.redis.area import Area, Reading, pairs, sample
from collectors.catalog.performance.redis.info import Info
from collectors.catalog.performance.redis.info_field import OWN
from collectors.drivers.redis import Command
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_DENIALS = MetricSpec(
    f"{OWN}acl.log.denials",
    Kind.GAUGE,
    Unit.EVENTS,
    "Denials that the access log holds, by reason and by where they happened.",
    labels=("reason", "context"),
)
_LENGTH = MetricSpec(f"{OWN}acl.log.length", Kind.GAUGE, Unit.COUNT, "Newest entries of the access log, up to 128.")
_YOUNGEST = MetricSpec(
    f"{OWN}acl.log.last_age",
    Kind.GAUGE,
    Unit.SECONDS,
    "Time since the last denial, undefined while the access log is empty.",
    nullable=True,
)

_LOG: Command = ("ACL", "LOG", "128")
_REASONS = ("command", "key", "channel", "auth")


def _asks(info: Info) -> tuple[Command, ...]:
    return (_LOG,) if info.major >= 6 else ()


def _derive(now: Reading, before: Reading | None) -> Iterator[Sample]:  # noqa: ARG001  # as areas are called
    if _LOG not in now.replies:
        return
    entries = [pairs(entry) for entry in now.replies[_LOG]]
    yield sample(_LENGTH, len(entries))
    counts: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        counts[entry["reason"], entry["context"]] += entry["count"]
    for reason in _REASONS:
        counts[reason, "toplevel"] += 0
    for (reason, context), count in sorted(counts.items()):
        yield sample(_DENIALS, count, reason, context)
    youngest = min((float(entry["age-seconds"]) for entry in entries), default=None)
    reason = "" if entries else "nobody was denied anything"
    yield Sample(_YOUNGEST.name, youngest, reason=reason)


AREA = Area("access_log", (_DENIALS, _LENGTH, _YOUNGEST), _asks, _derive)
