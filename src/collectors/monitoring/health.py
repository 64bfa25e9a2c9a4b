"""Is everything that should get on getting on? A part is healthy if it advanced lately, not if it exists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ComponentHealth:
    """One part: ``age_seconds`` since it last got on (None if that was never), and what is the matter, if anything."""

    healthy: bool
    age_seconds: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All parts; healthy if each of them is."""

    components: Mapping[str, ComponentHealth]

    @property
    def healthy(self) -> bool:
        """Whether every part is, and there is at least one."""
        return bool(self.components) and all(c.healthy for c in self.components.values())

    @property
    def unhealthy(self) -> dict[str, str]:
        """The parts that are not, with what is the matter."""
        return {name: c.detail for name, c in self.components.items() if not c.healthy}


Check = Callable[[], Iterable[tuple[str, ComponentHealth]]]
"""Looks at some parts and names each; must not block."""


def aged(age_seconds: float, normal_seconds: float) -> ComponentHealth:
    """Return the health of a part that last got on ``age_seconds`` ago and should within ``normal_seconds``."""
    if age_seconds <= normal_seconds:
        return ComponentHealth(healthy=True, age_seconds=age_seconds)
    detail = f"no progress for {age_seconds:.0f} s; {normal_seconds:g} s are normal"
    return ComponentHealth(healthy=False, age_seconds=age_seconds, detail=detail)


class HealthChecker:
    """Asks every registered check. A check that fails is unhealthy itself and keeps no other from being asked."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def register(self, name: str, check: Check) -> None:
        """Add a check, or replace the one of that name."""
        self._checks[name] = check

    async def check_all(self) -> HealthReport:
        """Return how all parts are doing; never raises."""
        found: dict[str, ComponentHealth] = {}
        for name, check in self._checks.items():
            try:
                found.update(check())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                found[name] = ComponentHealth(healthy=False, detail=f"its check failed: {type(error).__name__}")
        return HealthReport(found)
