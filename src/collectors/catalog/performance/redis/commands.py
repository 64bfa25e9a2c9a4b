"""Commands and errors: calls, time, latency quantiles and histograms.

Sources: the sections commandstats, latencystats and errorstats of INFO, and LATENCY HISTOGRAM (Redis 7 and later). The
commands that took most time are told by name; how many others there are is told too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from heapq import nlargest

from collectors.catalog.performance.redis.area import Area, Reading, pairs, printable, sample
from collectors.catalog.performance.redis.info import Info, assignments, number
from collectors.catalog.performance.redis.info_field import OWN
from collectors.drivers.redis import Command
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_MAX_ERRORS = 50

_LABELS = ("command",)
_CALLS = MetricSpec("redis.cmd.calls", Kind.COUNTER, Unit.OPERATIONS, "Calls of a command.", labels=_LABELS)
_TIME = MetricSpec("redis.cmd.usec", Kind.COUNTER, Unit.SECONDS, "Time spent executing a command.", labels=_LABELS)
_REJECTED = MetricSpec(
    f"{OWN}command.rejected",
    Kind.COUNTER,
    Unit.ERRORS,
    "Calls refused before they were executed, such as for want of memory or rights.",
    labels=_LABELS,
)
_FAILED = MetricSpec(
    f"{OWN}command.failed", Kind.COUNTER, Unit.ERRORS, "Calls that failed while they were executed.", labels=_LABELS
)
_QUANTILE = MetricSpec(
    "redis.cmd.latency",
    Kind.GAUGE,
    Unit.SECONDS,
    "Latency of a command at a percentile, since the start.",
    labels=("command", "percentile"),
)
_BUCKET = MetricSpec(
    f"{OWN}command.latency.bucket",
    Kind.COUNTER,
    Unit.OPERATIONS,
    "Calls that took at most so many seconds; a bound that is not told has the count of the one below.",
    labels=("command", "le"),
)
_LEFT_OUT = MetricSpec(f"{OWN}command.left_out", Kind.GAUGE, Unit.COUNT, "Commands that are not told by name.")
_ERRORS = MetricSpec(
    f"{OWN}errors", Kind.COUNTER, Unit.ERRORS, "Answers that were errors, by their first word.", labels=("error",)
)

_HISTOGRAM: Command = ("LATENCY", "HISTOGRAM")


def _asks(info: Info) -> tuple[Command, ...]:
    return (_HISTOGRAM,) if info.major >= 7 and info.mode != "sentinel" else ()


def _derive(most: int, now: Reading, before: Reading | None) -> Iterator[Sample]:  # noqa: ARG001  # as areas are called
    statistics = {command: assignments(text) for command, text in now.info.starting_with("cmdstat_")}
    chosen = set(nlargest(most, statistics, key=lambda command: (int(statistics[command]["usec"]), command)))
    yield sample(_LEFT_OUT, len(statistics) - len(chosen))
    for command, counts in statistics.items():
        if command in chosen:
            yield from _command(printable(command), counts)
    for command, text in now.info.starting_with("latency_percentiles_usec_"):
        if command in chosen:
            for percentile, value in assignments(text).items():
                yield sample(_QUANTILE, float(value) * 1e-6, printable(command), percentile.removeprefix("p"))
    yield from _histograms(now, chosen)
    errors = {name: int(assignments(text)["count"]) for name, text in now.info.starting_with("errorstat_")}
    for name in nlargest(_MAX_ERRORS, errors, key=lambda name: (errors[name], name)):
        yield sample(_ERRORS, errors[name], printable(name))


def _command(name: str, counts: Mapping[str, str]) -> Iterator[Sample]:
    yield sample(_CALLS, int(counts["calls"]), name)
    yield sample(_TIME, int(counts["usec"]) * 1e-6, name)
    for spec, key in ((_REJECTED, "rejected_calls"), (_FAILED, "failed_calls")):
        count = number(counts.get(key, ""))  # from Redis 6.2 on
        if count is not None:
            yield sample(spec, count, name)


def _histograms(now: Reading, chosen: set[str]) -> Iterator[Sample]:
    for command, reply in pairs(now.replies.get(_HISTOGRAM, [])).items():
        if command in chosen:
            name, histogram = printable(command), pairs(reply)
            for bound_us, count in pairs(histogram["histogram_usec"]).items():
                yield sample(_BUCKET, count, name, f"{int(bound_us) * 1e-6:.9g}")
            yield sample(_BUCKET, histogram["calls"], name, "+Inf")


def area(most: int) -> Area:
    """Return the area that tells of the ``most`` commands that took most time."""
    emits = (_CALLS, _TIME, _REJECTED, _FAILED, _QUANTILE, _BUCKET, _LEFT_OUT, _ERRORS)
    return Area("commands", emits, _asks, partial(_derive, most))


EMITS = area(1).emits
