"""What an area of the host is, and the few helpers that areas share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from collectors.model.metric import MetricSpec, Sample

S = TypeVar("S")

_OCTAL = re.compile(r"\\([0-7]{3})")

NO_BASELINE = "there is no earlier reading to compare with"
NO_TIME_PASSED = "no time passed between the two readings"


class HostFiles(Protocol):
    """Texts of kernel files; None for a file that this kernel or container does not have."""

    @property
    def ticks_per_second(self) -> int:
        """Unit of CPU times in ``/proc``: USER_HZ."""

    @property
    def page_size(self) -> int:
        """Bytes of a page of memory."""

    def proc(self, path: str) -> str | None:
        """Return the text of a file under ``/proc``."""

    def sys(self, path: str) -> str | None:
        """Return the text of a file under ``/sys``."""

    def cgroup(self, path: str) -> str | None:
        """Return the text of a file under ``/sys/fs/cgroup``."""

    def processes(self) -> Iterator[str]:
        """Yield ``/proc/<pid>/stat`` of every visible process."""


@dataclass(frozen=True, slots=True)
class Reading(Generic[S]):
    """Values of an area as they were at ``at`` seconds of the monotonic clock."""

    values: S
    at: float


@dataclass(frozen=True, slots=True)
class Area(Generic[S]):
    """One part of the host.

    ``read`` asks for texts and returns plain values, None if this host does not have the part; it is given the
    values read before, to carry over what never changes. ``derive`` is pure: now and before in, samples out.
    ``expected`` says that its absence is worth an ``Issue``.
    """

    name: str
    emits: tuple[MetricSpec, ...]
    read: Callable[[HostFiles, S | None], S | None]
    derive: Callable[[Reading[S], Reading[S] | None], Iterator[Sample]]
    expected: bool = False


def sample(spec: MetricSpec, value: float, *labels: str) -> Sample:
    """Make a sample of ``spec``."""
    return Sample(spec.name, value, labels)


def undefined(spec: MetricSpec, reason: str, *labels: str) -> Sample:
    """Make a sample without value of the nullable ``spec``."""
    return Sample(spec.name, None, labels, reason=reason)


def grown(now: float, before: float) -> float:
    """Return by how much a counter grew: all of it if it was reset, since it restarted at zero."""
    return now - before if now >= before else now


def numbers(text: str) -> dict[str, int]:
    """Parse lines of ``name value``, such as those of ``vmstat`` and of a cgroup's ``memory.stat``."""
    return {name: int(value) for name, value in (line.split(None, 1) for line in text.splitlines() if line)}


def protocol_counters(text: str) -> Mapping[str, Mapping[str, int]]:
    """Parse ``/proc/net/snmp`` and ``netstat``: pairs of lines, the names and then the values of a protocol."""
    lines = text.splitlines()
    counters = {}
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        protocol, _, keys = names.partition(":")
        counters[protocol] = dict(zip(keys.split(), map(int, values.partition(":")[2].split()), strict=True))
    return counters


def unescaped(text: str) -> str:
    r"""Return a path as it is: the kernel writes blanks and the like in it as ``\040``."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
