"""An alert: something that wants a person's attention, from when it fired to when it was over."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from collectors.model.metric import Severity


class AlertState(StrEnum):
    """Whether the matter still goes on."""

    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of one tenant; ``id`` stays the same from firing to resolved.

    Times are UTC microseconds; ``value`` is the metric's value where a threshold fired.
    """

    id: str
    tenant: str
    rule: str
    key: str
    severity: Severity
    state: AlertState
    summary: str
    labels: tuple[tuple[str, str], ...]
    started_us: int
    ended_us: int | None = None
    value: float | None = None
