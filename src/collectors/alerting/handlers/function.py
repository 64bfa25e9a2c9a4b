"""Any async callable of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from collectors.alerting.notification import Kind, Notification, alert_data
from collectors.errors import ConfigError

AlertFunction = Callable[[dict[str, Any]], Awaitable[object]]
"""Takes one alert: id, status, tenant, rule, key, severity, summary, labels, value, started, ended."""


class FunctionHandler:
    """Awaits a function for each alert that changed; whatever it raises, it is called again later."""

    def __init__(self, function: AlertFunction) -> None:
        called = function if inspect.isroutine(function) else getattr(function, "__call__", None)  # noqa: B004 - its own method is what is inspected
        if not inspect.iscoroutinefunction(called):
            name = getattr(function, "__name__", type(function).__name__)
            raise ConfigError(f"the alert handler {name} is not asynchronous", fix=f"write: async def {name}(alert).")
        self._function = function

    async def send(self, notification: Notification) -> None:
        """Call the function once for each alert."""
        acknowledged = notification.kind if notification.kind is Kind.ACKNOWLEDGED else None
        for alert in notification.alerts:
            if not notification.changed or alert.id in notification.changed:
                await self._function(alert_data(alert, acknowledged))
