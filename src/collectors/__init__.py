"""The truth about a music-streaming platform, per tenant and in real time.

Importing this package imports nothing else: each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collectors.app.embedded import (
        EmbeddedOrchestrator,
        create_collector_for_tenant,
        get_tenant_monitoring_status,
        initialize_tenant_monitoring,
        shutdown,
    )
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
    from collectors.monitoring.health import HealthChecker
    from collectors.runtime.manager import CollectorManager
    from collectors.runtime.orchestrator import CollectorOrchestrator

    __version__: str
    enterprise_orchestrator: EmbeddedOrchestrator
    health_checker: HealthChecker

__all__ = [
    "BaseCollector",
    "ChurnAnalyticsCollector",
    "CollectorConfig",
    "CollectorManager",
    "CollectorOrchestrator",
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
    "create_collector_for_tenant",
    "enterprise_orchestrator",
    "get_tenant_monitoring_status",
    "health_checker",
    "initialize_tenant_monitoring",
    "shutdown",
]

_HOMES = {
    "BaseCollector": "contract.collector",
    "ChurnAnalyticsCollector": "catalog.business.churn_analytics",
    "CollectorConfig": "config.collector",
    "CollectorManager": "runtime.manager",
    "CollectorOrchestrator": "runtime.orchestrator",
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
    "create_collector_for_tenant": "app.embedded",
    "get_tenant_monitoring_status": "app.embedded",
    "initialize_tenant_monitoring": "app.embedded",
    "lone_host": "app.lone",
    "shutdown": "app.embedded",
}

_DEFAULTS = {"enterprise_orchestrator": "default_orchestrator", "health_checker": "default_health_checker"}
"""What a process has one of, and the function of ``app.embedded`` that makes it when it is first used."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("collectors")
    elif name in _DEFAULTS:
        # Not kept here: after ``shutdown`` there is another.
        return getattr(import_module("collectors.app.embedded"), _DEFAULTS[name])()
    elif name in _HOMES:
        value = getattr(import_module(f"collectors.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # the next time Python finds it without asking
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
