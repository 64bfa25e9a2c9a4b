"""Envoy's statistics of clusters as declared metrics, by its own name for each.

Source: Envoy's documentation of statistics of the cluster manager, version 1.40.
"""

from __future__ import annotations

from dataclasses import dataclass

from collectors.catalog.performance.balancer.model import counters, gauges
from collectors.model.metric import MetricSpec, Unit

_EVENTS, _COUNT, _BYTES = Unit.EVENTS, Unit.COUNT, Unit.BYTES


@dataclass(frozen=True, slots=True)
class Scope:
    """Statistics of one kind of thing: ``first`` is the first word of their names, ``labels`` name the thing."""

    first: str
    labels: tuple[str, ...]
    specs: dict[str, MetricSpec]


_CLUSTER = ("cluster",)
_C = "collectors.envoy.cluster"
_CLUSTER_COUNTERS = {
    "assignment_stale": "Assignments of endpoints that became stale.",
    "assignment_timeout_received": "Assignments of endpoints with a time limit.",
    "assignment_use_cached": "Assignments of endpoints taken from the cache.",
    "bind_errors": "Errors in binding a socket to its source address.",
    "lb_healthy_panic": "Requests balanced over all hosts because too few were healthy.",
    "lb_local_cluster_not_ok": "Local hosts unknown while routing by zone.",
    "lb_recalculate_zone_structures": "Times routing by zone was computed anew.",
    "lb_subsets_created": "Subsets of hosts created.",
    "lb_subsets_removed": "Subsets of hosts removed.",
    "lb_subsets_selected": "Times a subset was chosen.",
    "lb_subsets_fallback": "Times the fallback policy chose.",
    "lb_subsets_fallback_panic": "Times the fallback policy chose from all hosts.",
    "lb_zone_cluster_too_small": "Routing by zone left out, the cluster being too small.",
    "lb_zone_no_capacity_left": "Routed to a zone by rounding.",
    "lb_zone_routing_all_directly": "Routed all to the same zone.",
    "lb_zone_routing_cross_zone": "Routed to another zone.",
    "lb_zone_routing_sampled": "Routed some to the same zone.",
    "membership_change": "Changes of its hosts.",
    "original_dst_host_invalid": "Destinations that are no valid host.",
    "retry_or_shadow_abandoned": "Retries and shadow requests given up, the body being too large.",
    "update_attempt": "Attempts to update its hosts.",
    "update_success": "Updates of its hosts that succeeded.",
    "update_failure": "Updates of its hosts that failed.",
    "update_empty": "Updates that left it without hosts.",
    "update_no_rebuild": "Updates that changed nothing.",
    "upstream_cx_total": "Connections.",
    "upstream_cx_http1_total": "HTTP/1.1 connections.",
    "upstream_cx_http2_total": "HTTP/2 connections.",
    "upstream_cx_http3_total": "HTTP/3 connections.",
    "upstream_cx_connect_fail": "Connections that failed.",
    "upstream_cx_connect_timeout": "Connections that timed out.",
    "upstream_cx_connect_with_0_rtt": "Connections with early data.",
    "upstream_cx_connect_attempts_exceeded": "Attempts to connect beyond the limit.",
    "upstream_cx_idle_timeout": "Connections closed for being idle.",
    "upstream_cx_max_duration_reached": "Connections closed for their age.",
    "upstream_cx_max_requests": "Connections closed for their number of requests.",
    "upstream_cx_none_healthy": "Times there was no healthy host.",
    "upstream_cx_overflow": "Times the circuit breaker for connections was open.",
    "upstream_cx_pool_overflow": "Times the circuit breaker for connection pools was open.",
    "upstream_cx_preconnect_skipped": "Connections in advance that were left out.",
    "upstream_cx_protocol_error": "Errors of protocol.",
    "upstream_cx_close_notify": "Connections that hosts closed by the protocol.",
    "upstream_cx_destroy": "Connections ended.",
    "upstream_cx_destroy_local": "Connections ended by Envoy.",
    "upstream_cx_destroy_remote": "Connections ended by hosts.",
    "upstream_cx_destroy_with_active_rq": "Connections ended with a request under way.",
    "upstream_cx_destroy_local_with_active_rq": "Connections ended by Envoy with a request under way.",
    "upstream_cx_destroy_remote_with_active_rq": "Connections ended by hosts with a request under way.",
    "upstream_http3_broken": "Times HTTP/3 was found broken.",
    "upstream_flow_control_backed_up_total": "Times the connection above was backed up.",
    "upstream_flow_control_drained_total": "Times it drained again.",
    "upstream_flow_control_paused_reading_total": "Times reading was paused.",
    "upstream_flow_control_resumed_reading_total": "Times reading was resumed.",
    "upstream_internal_redirect_failed_total": "Internal redirects that failed.",
    "upstream_internal_redirect_succeeded_total": "Internal redirects that succeeded.",
    "upstream_queue_overloaded": "Requests refused because the queue was overloaded.",
    "upstream_rq_total": "Requests.",
    "upstream_rq_completed": "Requests with a response.",
    "upstream_rq_0rtt": "Requests with early data.",
    "upstream_rq_active_overflow": "Requests over the limit of active ones.",
    "upstream_rq_cancelled": "Requests cancelled before a connection was there.",
    "upstream_rq_maintenance_mode": "Requests answered with 503 for maintenance.",
    "upstream_rq_max_duration_reached": "Requests ended for their age.",
    "upstream_rq_timeout": "Requests that timed out.",
    "upstream_rq_per_try_timeout": "Tries that timed out.",
    "upstream_rq_per_try_idle_timeout": "Tries that were idle too long.",
    "upstream_rq_pending_total": "Requests that waited for a connection.",
    "upstream_rq_pending_overflow": "Requests refused by the circuit breaker.",
    "upstream_rq_pending_failure_eject": "Requests failed because the connection failed.",
    "upstream_rq_retry": "Retries.",
    "upstream_rq_retry_success": "Retries that succeeded.",
    "upstream_rq_retry_overflow": "Retries refused by the circuit breaker.",
    "upstream_rq_retry_limit_exceeded": "Requests at the limit of retries.",
    "upstream_rq_retry_backoff_exponential": "Retries after a growing pause.",
    "upstream_rq_retry_backoff_ratelimited": "Retries after the pause the host asked for.",
    "upstream_rq_rx_reset": "Requests that hosts reset.",
    "upstream_rq_rx_reset_no_error": "Requests that hosts reset without an error.",
    "upstream_rq_tx_reset": "Requests that Envoy reset.",
}
_CLUSTER_GAUGES = {
    "lb_subsets_active": "Subsets of hosts.",
    "max_host_weight": "Largest weight of a host.",
    "membership_total": "Hosts.",
    "membership_healthy": "Hosts that are healthy.",
    "membership_degraded": "Hosts that are degraded.",
    "membership_excluded": "Hosts that are left out.",
    "upstream_cx_active": "Connections at present.",
    "upstream_rq_active": "Requests at present.",
    "upstream_rq_pending_active": "Requests that wait for a connection.",
    "warming_state": "1 while it warms up.",
}
_BYTE_GAUGES = {
    "upstream_cx_rx_bytes_buffered": "Bytes received and buffered.",
    "upstream_cx_tx_bytes_buffered": "Bytes to be sent and buffered.",
}
_BYTE_COUNTERS = {
    "upstream_cx_rx_bytes_total": "Bytes received from hosts.",
    "upstream_cx_tx_bytes_total": "Bytes sent to hosts.",
}
_HEALTH = {
    "health_check.attempt": "Health checks.",
    "health_check.success": "Health checks that passed.",
    "health_check.failure": "Health checks that failed at once, as the host said or by the network.",
    "health_check.passive_failure": "Failures seen in traffic.",
    "health_check.network_failure": "Health checks that the network failed.",
    "health_check.verify_cluster": "Health checks that asked whose host it is.",
}
_HEALTH_GAUGES = {
    "health_check.healthy": "Hosts whose health checks pass.",
    "health_check.degraded": "Hosts whose health checks say degraded.",
}
_EJECTED = (
    "consecutive_5xx", "consecutive_gateway_failure", "consecutive_local_origin_failure", "failure_percentage",
    "local_origin_failure_percentage", "success_rate", "local_origin_success_rate",
)  # fmt: skip
_OUTLIER = {
    "outlier_detection.ejections_enforced_total": "Ejections of hosts.",
    "outlier_detection.ejections_overflow": "Ejections left out, too many hosts being out already.",
    "outlier_detection.ejections_total": "Ejections of hosts, as older versions count.",
    "outlier_detection.ejections_consecutive_5xx": "Ejections for server errors, as older versions count.",
    "outlier_detection.ejections_success_rate": "Ejections for too little success, as older versions count.",
    **{
        f"outlier_detection.ejections_{did}_{why}": f"Ejections {did} for {why.replace('_', ' ')}."
        for why in _EJECTED
        for did in ("detected", "enforced")
    },
    "outlier_detection.ejections_detected_degradation": "Degradations of hosts detected.",
}
TLS = {
    "ssl.handshake": "TLS handshakes.",
    "ssl.session_reused": "TLS sessions used again.",
    "ssl.connection_error": "TLS connections that failed, other than by verification.",
    "ssl.no_certificate": "TLS connections without a certificate of the peer.",
    "ssl.fail_verify_no_cert": "TLS connections that failed for want of a certificate.",
    "ssl.fail_verify_error": "TLS connections whose certificate is not trusted.",
    "ssl.fail_verify_san": "TLS connections whose certificate is for another name.",
    "ssl.fail_verify_cert_hash": "TLS connections whose certificate is another one than pinned.",
    "ssl.ocsp_staple_failed": "Staples that could not be verified.",
    "ssl.ocsp_staple_omitted": "Handshakes without a staple.",
    "ssl.ocsp_staple_requests": "Handshakes in which a staple was asked for.",
    "ssl.ocsp_staple_responses": "Handshakes with a staple.",
}
_BREAKER = {
    "cx_open": "1 if the circuit breaker for connections is open.",
    "cx_pool_open": "1 if the circuit breaker for connection pools is open.",
    "rq_open": "1 if the circuit breaker for requests is open.",
    "rq_pending_open": "1 if the circuit breaker for waiting requests is open.",
    "rq_retry_open": "1 if the circuit breaker for retries is open.",
    "remaining_cx": "Connections until it opens.",
    "remaining_cx_pools": "Connection pools until it opens.",
    "remaining_pending": "Waiting requests until it opens.",
    "remaining_retries": "Retries until it opens.",
    "remaining_rq": "Requests until it opens.",
}
_BREAKER_LIMITS = {
    "max_connections": "Most connections.",
    "max_pending_requests": "Most waiting requests.",
    "max_requests": "Most requests.",
    "max_retries": "Most retries.",
}
BREAKER = gauges(f"{_C}.circuit_breaker", ("cluster", "priority"), _BREAKER, _COUNT)
BREAKER_LIMIT = gauges(f"{_C}.circuit_breaker", ("cluster", "priority"), _BREAKER_LIMITS, _COUNT)

CLUSTER = Scope(
    "cluster",
    _CLUSTER,
    {
        **counters(_C, _CLUSTER, {**_CLUSTER_COUNTERS, **_HEALTH, **_OUTLIER, **TLS}, _EVENTS),
        **counters(_C, _CLUSTER, _BYTE_COUNTERS, _BYTES),
        **gauges(_C, _CLUSTER, {**_CLUSTER_GAUGES, **_HEALTH_GAUGES}, _COUNT),
        **gauges(_C, _CLUSTER, _BYTE_GAUGES, _BYTES),
        **gauges(_C, _CLUSTER, {"outlier_detection.ejections_active": "Hosts that are ejected."}, _COUNT),
    },
)
