"""Our own metrics, logs and health, and the export of what is collected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collectors.monitoring.exporter import MetricsExporter

__all__ = ["MetricsExporter"]


def __getattr__(name: str) -> Any:
    if name != "MetricsExporter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from collectors.monitoring.exporter import MetricsExporter  # loaded when it is first used

    return MetricsExporter
