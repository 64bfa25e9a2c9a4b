"""The truth about a music-streaming platform, per tenant and in real time.

Importing this package imports nothing else: each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collectors.catalog.business.churn_analytics import ChurnAnalyticsCollector
    from collectors.catalog.business.customer_lifetime_value import CustomerLifetimeValueCollector
    from collectors.catalog.business.revenue_metrics import RevenueMetricsCollector
    from collectors.catalog.business.tenant_business_metrics import TenantBusinessMetricsCollector
    from collectors.catalog.business.user_engagement import UserEngagementCollector
    from collectors.catalog.ml.experiment_tracking import ExperimentTrackingCollector
    from collectors.catalog.performance.database_performance import DatabasePerformanceCollector
    from collectors.catalog.performance.load_balancer import LoadBalancerCollector
    from collectors.catalog.performance.redis_performance import RedisPerformanceCollector
    from collectors.catalog.performance.system_performance import SystemPerformanceCollector
    from collectors.catalog.security.security_events import SecurityEventCollector
    from collectors.config.collector import CollectorConfig
    from collectors.config.tenant import TenantConfig
    from collectors.contract.collector import BaseCollector

    __version__: str

__all__ = [
    "BaseCollector",
    "ChurnAnalyticsCollector",
    "CollectorConfig",
    "CustomerLifetimeValueCollector",
    "DatabasePerformanceCollector",
    "ExperimentTrackingCollector",
    "LoadBalancerCollector",
    "RedisPerformanceCollector",
    "RevenueMetricsCollector",
    "SecurityEventCollector",
    "SystemPerformanceCollector",
    "TenantBusinessMetricsCollector",
    "TenantConfig",
    "UserEngagementCollector",
    "__version__",
]

_HOMES = {
    "BaseCollector": "contract.collector",
    "ChurnAnalyticsCollector": "catalog.business.churn_analytics",
    "CollectorConfig": "config.collector",
    "CustomerLifetimeValueCollector": "catalog.business.customer_lifetime_value",
    "DatabasePerformanceCollector": "catalog.performance.database_performance",
    "ExperimentTrackingCollector": "catalog.ml.experiment_tracking",
    "LoadBalancerCollector": "catalog.performance.load_balancer",
    "RedisPerformanceCollector": "catalog.performance.redis_performance",
    "RevenueMetricsCollector": "catalog.business.revenue_metrics",
    "SecurityEventCollector": "catalog.security.security_events",
    "SystemPerformanceCollector": "catalog.performance.system_performance",
    "TenantBusinessMetricsCollector": "catalog.business.tenant_business_metrics",
    "TenantConfig": "config.tenant",
    "UserEngagementCollector": "catalog.business.user_engagement",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("collectors")
    elif name in _HOMES:
        value = getattr(import_module(f"collectors.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # the next time Python finds it without asking
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
