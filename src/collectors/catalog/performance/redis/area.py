"""What an area of a server is, and the few helpers that areas share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collectors.catalog.performance.redis.info import Info
from collectors.drivers.redis import Cause, Command, Refusal, Reply
from collectors.model.metric import Issue, MetricSpec, Sample

NO_BASELINE = "there is no earlier reading of this server's life to compare with"

Replies = Mapping[Command, Reply]

_CONTAINERS = frozenset(
    {"ACL", "CLIENT", "CLUSTER", "COMMANDLOG", "CONFIG", "LATENCY", "MEMORY", "SENTINEL", "SLOWLOG", "XINFO"}
)


_ANSWERS = frozenset({"NOQUORUM"})
"""Errors that are what one wanted to know."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a server answered at ``at`` seconds of the monotonic clock; refused commands are not in ``replies``."""

    info: Info
    replies: Replies
    at: float


@dataclass(frozen=True, slots=True)
class Area:
    """One part of a server.

    ``asks`` names the commands it needs of this server, none if the server does not have the part. ``derive`` is pure:
    now and before in, samples out; ``before`` is None at first and after a restart.
    """

    name: str
    emits: tuple[MetricSpec, ...]
    asks: Callable[[Info], Sequence[Command]]
    derive: Callable[[Reading, Reading | None], Iterator[Sample]]


def nothing(info: Info) -> Sequence[Command]:  # noqa: ARG001  # as areas are asked
    """Ask nothing beyond INFO."""
    return ()


def sample(spec: MetricSpec, value: float, *labels: str) -> Sample:
    """Make a sample of ``spec``."""
    return Sample(spec.name, value, labels)


def undefined(spec: MetricSpec, reason: str, *labels: str) -> Sample:
    """Make a sample without value of the nullable ``spec``."""
    return Sample(spec.name, None, labels, reason=reason)


def pairs(reply: Sequence[Any]) -> dict[str, Any]:
    """Return a map that RESP2 writes as a list of names and values in turn."""
    return dict(zip(reply[::2], reply[1::2], strict=True))


def printable(text: str, length: int = 128) -> str:
    """Return a text of the server as a label: bounded, and without bytes that are no text."""
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return text[:length]


def answered(commands: Sequence[Command], replies: Iterable[Reply]) -> tuple[dict[Command, Reply], list[Issue]]:
    """Part answers from refusals; what this version does not have is neither."""
    given: dict[Command, Reply] = {}
    issues: list[Issue] = []
    for command, reply in zip(commands, replies, strict=True):
        if not isinstance(reply, Refusal) or reply.code in _ANSWERS:
            given[command] = reply
        elif reply.cause is not Cause.UNKNOWN:
            issues.append(refused(command, reply))
    return given, _each_once(issues)


def refused(command: Command, refusal: Refusal) -> Issue:
    """Say what a server refused and what to do; arguments may be names of keys, and are not told."""
    name, right = command_name(command)
    if refusal.cause is Cause.DENIED:
        return Issue("source_refused", f"the server does not let this user; grant it {right}", name)
    if refusal.cause is Cause.MISSING:
        return Issue("absent", "there is no such key", name)
    return Issue("source_refused", f"the server answered {refusal.code}", name)


def command_name(command: Command) -> tuple[str, str]:
    """Return a command without its arguments, and the right it needs as an access list writes it."""
    words = command[:2] if command[0] in _CONTAINERS else command[:1]
    return " ".join(words), "+" + "|".join(words).lower()


def _each_once(issues: list[Issue]) -> list[Issue]:
    return list(dict.fromkeys(issues))
