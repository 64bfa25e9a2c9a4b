"""Health checks of our own: whether targets answer, and whether the balancer sees its servers as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import Field

from collectors.catalog.performance.balancer.model import SERVING, Reading
from collectors.config.collector import Model
from collectors.drivers.health_check import Outcome, Probe
from collectors.errors import CollectorsError
from collectors.model.metric import Finding, Issue, Kind, MetricSpec, Sample, Severity, Unit

_P = "collectors.load_balancer.check"
_UP = MetricSpec(f"{_P}.up", Kind.GAUGE, Unit.COUNT, "1 if our own health checks say it is well.", ("check",))
_DURATION = MetricSpec(f"{_P}.duration", Kind.GAUGE, Unit.SECONDS, "Time our last health check took.", ("check",))
_FAILED = MetricSpec(
    f"{_P}.consecutive_failures", Kind.GAUGE, Unit.COUNT, "Our health checks that failed in a row.", ("check",)
)
_DISAGREE = MetricSpec(
    f"{_P}.disagreements",
    Kind.GAUGE,
    Unit.COUNT,
    "Servers to which the balancer sends requests though our own health checks fail.",
    aliases=("balancer_disagreements",),
)
EMITS = (_UP, _DURATION, _FAILED, _DISAGREE)


class HealthCheck(Model):
    """One target to check."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.:/-]{1,100}$")
    """What the target is called in metrics."""

    url: str = Field(pattern=r"^(tcp|http|https)://[^@/?#]+([/?][^#]*)?$")
    """``tcp://host:port`` to connect, ``http://…`` or ``https://…`` to ask for a page."""

    min_status: int = Field(default=200, ge=100, le=599)
    """Least HTTP status that means health."""

    max_status: int = Field(default=399, ge=100, le=599)
    """Greatest HTTP status that means health."""

    contains: str = Field(default="", max_length=1000)
    """Text the page must hold; any page if empty."""


class Checker(Protocol):
    """Who does the checking."""

    async def check(self, probe: Probe) -> Outcome:
        """Check once."""


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of a target: up or not, and results in a row that say otherwise."""

    up: bool
    against: int = 0
    failed: int = 0

    def after(self, passed: bool, rise: int, fall: int) -> Health:  # the one fact it is about
        """Return the health after one more check: it changes after ``rise`` passes or ``fall`` failures in a row."""
        failed = 0 if passed else self.failed + 1
        if passed is self.up:
            return Health(self.up, 0, failed)
        turned = self.against + 1 >= (rise if passed else fall)
        return Health(passed, 0, failed) if turned else Health(self.up, self.against + 1, failed)


@dataclass(frozen=True, slots=True)
class Checked:
    """Outcomes and health by target."""

    outcomes: Mapping[str, Outcome]
    health: Mapping[str, Health]
    issues: tuple[Issue, ...] = ()


def targets(
    named: Sequence[HealthCheck], reading: Reading, servers: Literal["off", "tcp", "http"], path: str
) -> dict[str, Probe]:
    """Return what to check: the targets that are named, and servers where the balancer tells their address."""
    probes = {c.name: Probe(c.url, c.min_status, c.max_status, c.contains) for c in named}
    if servers != "off":
        for server in reading.servers:
            if server.address:
                suffix = path if servers == "http" else ""
                probes[f"{server.backend}/{server.name}"] = Probe(f"{servers}://{server.address}{suffix}")
    return probes


def at_most(probes: Mapping[str, Probe], count: int) -> tuple[dict[str, Probe], tuple[Issue, ...]]:
    """Return the first ``count`` targets, and an issue if there are more."""
    if len(probes) <= count:
        return dict(probes), ()
    text = f"{len(probes) - count} targets are not checked; raise max_checks to check them"
    return dict(list(probes.items())[:count]), (Issue("too_many", text, "checks"),)


async def run(
    checker: Checker, probes: Mapping[str, Probe], before: Mapping[str, Health], rise: int, fall: int
) -> Checked:
    """Check all at once; the first result of a target is believed."""
    async with asyncio.TaskGroup() as group:
        asked = {name: group.create_task(_outcome(checker, probe)) for name, probe in probes.items()}
    outcomes: dict[str, Outcome] = {}
    issues: list[Issue] = []
    for name, task in asked.items():
        result = task.result()
        if isinstance(result, Outcome):
            outcomes[name] = result
        else:
            issues.append(Issue(result.code, str(result), name))
    health = {
        name: before[name].after(o.passed, rise, fall) if name in before else Health(o.passed, 0, 0 if o.passed else 1)
        for name, o in outcomes.items()
    }
    return Checked(outcomes, health, tuple(issues))


def derive(checked: Checked, reading: Reading) -> Iterator[Sample]:
    """Yield the samples of the checks."""
    for name, health in checked.health.items():
        yield Sample(_UP.name, int(health.up), (name,))
        yield Sample(_DURATION.name, checked.outcomes[name].seconds, (name,))
        yield Sample(_FAILED.name, health.failed, (name,))
    yield Sample(_DISAGREE.name, sum(1 for _ in _disagreements(checked, reading)))


def findings(checked: Checked, before: Mapping[str, Health], reading: Reading) -> Iterator[Finding]:
    """Yield what changed: a target that fails, one that is well again, a server the balancer is wrong about."""
    disagreed = set(_disagreements(checked, reading))
    for name, health in checked.health.items():
        was = before.get(name)
        labels = (("check", name),)
        if not health.up and (was is None or was.up):
            why = checked.outcomes[name].reason
            yield Finding("check_failed", name, Severity.WARNING, f"health check of {name} fails: {why}", labels)
            if name in disagreed:
                summary = f"the balancer sends requests to {name}, whose health check fails"
                yield Finding("balancer_disagrees", name, Severity.WARNING, summary, labels)
        elif health.up and was is not None and not was.up:
            yield Finding("check_recovered", name, Severity.INFO, f"health check of {name} passes again", labels)


def _disagreements(checked: Checked, reading: Reading) -> Iterator[str]:
    for server in reading.servers:
        health = checked.health.get(f"{server.backend}/{server.name}")
        if health is not None and not health.up and server.state in SERVING:
            yield f"{server.backend}/{server.name}"


async def _outcome(checker: Checker, probe: Probe) -> Outcome | CollectorsError:
    try:
        return await checker.check(probe)
    except CollectorsError as error:
        return error
