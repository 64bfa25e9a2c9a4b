"""Envoy's statistics as declared metrics, by its own name for each.

A statistic that Envoy builds from configured names (filters, routes, status codes) can't be declared one by one; those
of clusters, listeners, HTTP connection managers, TCP proxies and the server can. Source: Envoy's documentation of
statistics for the cluster manager, listeners, the HTTP connection manager, TCP proxy and server, version 1.40.
"""

from __future__ import annotations

from collectors.catalog.performance.balancer.envoy_cluster_fields import BREAKER, BREAKER_LIMIT, CLUSTER, TLS, Scope
from collectors.catalog.performance.balancer.model import counters, gauges
from collectors.model.metric import Kind, MetricSpec, Unit

_EVENTS, _COUNT, _BYTES = Unit.EVENTS, Unit.COUNT, Unit.BYTES


_CLUSTER = "collectors.envoy.cluster"
_LISTENER = ("listener",)
_L = "collectors.envoy.listener"
LISTENER = Scope(
    "listener",
    _LISTENER,
    {
        **counters(
            _L,
            _LISTENER,
            {
                "downstream_cx_total": "Connections.",
                "downstream_cx_destroy": "Connections ended.",
                "downstream_cx_overflow": "Connections refused by the listener's limit.",
                "downstream_cx_overload_reject": "Connections refused because Envoy is overloaded.",
                "downstream_cx_transport_socket_connect_timeout": "Connections whose handshake took too long.",
                "downstream_global_cx_overflow": "Connections refused by the limit over all listeners.",
                "downstream_listener_filter_error": "Errors of listener filters.",
                "downstream_listener_filter_remote_close": "Connections that clients closed in listener filters.",
                "downstream_pre_cx_timeout": "Connections that listener filters kept too long.",
                "extension_config_missing": "Connections closed for a missing extension configuration.",
                "network_extension_config_missing": "Connections closed for a missing network filter configuration.",
                "no_filter_chain_match": "Connections that match no filter chain.",
                **TLS,
            },
            _EVENTS,
        ),
        **gauges(
            _L,
            _LISTENER,
            {
                "downstream_cx_active": "Connections at present.",
                "downstream_pre_cx_active": "Connections in listener filters.",
            },
            _COUNT,
        ),
    },
)
_HTTP = ("connection_manager",)
_H = "collectors.envoy.http"
_VERSIONS = ("http1", "http2", "http3")
HTTP = Scope(
    "http",
    _HTTP,
    {
        **counters(
            _H,
            _HTTP,
            {
                "downstream_cx_total": "Connections.",
                "downstream_cx_ssl_total": "TLS connections.",
                **{f"downstream_cx_{v}_total": f"Connections of {v}." for v in _VERSIONS},
                "downstream_cx_destroy": "Connections ended.",
                "downstream_cx_destroy_local": "Connections ended by Envoy.",
                "downstream_cx_destroy_remote": "Connections ended by clients.",
                "downstream_cx_destroy_active_rq": "Connections ended with a request under way.",
                "downstream_cx_destroy_local_active_rq": "Connections ended by Envoy with a request under way.",
                "downstream_cx_destroy_remote_active_rq": "Connections ended by clients with a request under way.",
                "downstream_cx_delayed_close_timeout": "Connections that had to be closed without waiting longer.",
                "downstream_cx_drain_close": "Connections closed for draining.",
                "downstream_cx_idle_timeout": "Connections closed for being idle.",
                "downstream_cx_max_duration_reached": "Connections closed for their age.",
                "downstream_cx_max_requests_reached": "Connections closed for their number of requests.",
                "downstream_cx_overload_disable_keepalive": "Connections not kept because Envoy is overloaded.",
                "downstream_cx_protocol_error": "Errors of protocol.",
                "downstream_cx_upgrades_total": "Connections that were upgraded.",
                "downstream_flow_control_paused_reading_total": "Times reading was paused.",
                "downstream_flow_control_resumed_reading_total": "Times reading was resumed.",
                "downstream_rq_total": "Requests.",
                **{f"downstream_rq_{v}_total": f"Requests of {v}." for v in _VERSIONS},
                "downstream_rq_completed": "Requests with a response.",
                "downstream_rq_failed_path_normalization": "Requests whose path can't be normalised.",
                "downstream_rq_header_timeout": "Requests whose header took too long.",
                "downstream_rq_idle_timeout": "Requests that were idle too long.",
                "downstream_rq_max_duration_reached": "Requests ended for their age.",
                "downstream_rq_non_relative_path": "Requests with a path that is not relative.",
                "downstream_rq_overload_close": "Requests refused because Envoy is overloaded.",
                "downstream_rq_redirected_with_normalized_path": "Requests redirected to the normalised path.",
                "downstream_rq_rejected_via_ip_detection": "Requests rejected for their address.",
                "downstream_rq_response_before_rq_complete": "Responses before the request was complete.",
                "downstream_rq_rx_reset": "Requests that clients reset.",
                "downstream_rq_tx_reset": "Requests that Envoy reset.",
                "downstream_rq_timeout": "Requests that timed out.",
                "downstream_rq_too_large": "Requests that were too large.",
                "downstream_rq_too_many_premature_resets": "Connections ended for too many resets.",
                "downstream_rq_ws_on_non_ws_route": "Upgrades where no route allows them.",
                "no_cluster": "Requests whose cluster does not exist.",
                "no_route": "Requests without a route.",
                "rq_direct_response": "Requests answered by the route itself.",
                "rq_overload_local_reply": "Requests answered so because Envoy is overloaded.",
                "rq_redirect": "Requests redirected.",
                "rq_reset_after_downstream_response_started": "Requests reset after the response began.",
                "rq_total": "Requests routed.",
                "rs_too_large": "Responses that were too large.",
            },
            _EVENTS,
        ),
        **counters(
            _H,
            _HTTP,
            {
                "downstream_cx_rx_bytes_total": "Bytes received from clients.",
                "downstream_cx_tx_bytes_total": "Bytes sent to clients.",
            },
            _BYTES,
        ),
        **gauges(
            _H,
            _HTTP,
            {
                "downstream_cx_active": "Connections at present.",
                "downstream_cx_ssl_active": "TLS connections at present.",
                **{f"downstream_cx_{v}_active": f"Connections of {v} at present." for v in _VERSIONS},
                "downstream_cx_upgrades_active": "Upgraded connections at present.",
                "downstream_rq_active": "Requests at present.",
            },
            _COUNT,
        ),
        **gauges(
            _H,
            _HTTP,
            {
                "downstream_cx_rx_bytes_buffered": "Bytes received and buffered.",
                "downstream_cx_tx_bytes_buffered": "Bytes to be sent and buffered.",
            },
            _BYTES,
        ),
    },
)
SERVER = Scope(
    "server",
    (),
    {
        **gauges(
            "collectors.envoy.server",
            (),
            {
                "concurrency": "Worker threads.",
                "days_until_first_cert_expiring": "Days until the first certificate expires.",
                "live": "1 if it is live.",
                "state": "0 live, 1 draining, 2 before and 3 while initialising.",
                "parent_connections": "Connections of the process it replaced.",
                "total_connections": "Connections, those of the process it replaced too.",
                "hot_restart_epoch": "Times it was restarted in place.",
            },
            _COUNT,
        ),
        **gauges(
            "collectors.envoy.server",
            (),
            {
                "memory_allocated": "Memory allocated.",
                "memory_heap_size": "Memory reserved.",
                "memory_physical_size": "Physical memory, estimated.",
            },
            _BYTES,
        ),
        **gauges("collectors.envoy.server", (), {"uptime": "Time since it started."}, Unit.SECONDS),
        **counters(
            "collectors.envoy.server",
            (),
            {
                "envoy_bug_failures": "Assertions that failed.",
                "dropped_stat_flushes": "Flushes of statistics left out.",
                "dynamic_unknown_fields": "Unknown fields in configuration received.",
                "static_unknown_fields": "Unknown fields in its own configuration.",
                "wip_protos": "Uses of configuration that is not finished.",
            },
            _EVENTS,
        ),
    },
)
MANAGERS = (
    Scope(
        "cluster_manager",
        (),
        {
            **counters(
                "collectors.envoy.cluster_manager",
                (),
                {
                    "cluster_added": "Clusters added.",
                    "cluster_modified": "Clusters changed.",
                    "cluster_removed": "Clusters removed.",
                    "cluster_updated": "Clusters updated.",
                },
                _EVENTS,
            ),
            **gauges(
                "collectors.envoy.cluster_manager",
                (),
                {"active_clusters": "Clusters.", "warming_clusters": "Clusters that warm up."},
                _COUNT,
            ),
        },
    ),
    Scope(
        "listener_manager",
        (),
        {
            **counters(
                "collectors.envoy.listener_manager",
                (),
                {
                    "listener_added": "Listeners added.",
                    "listener_create_failure": "Listeners that could not be created.",
                    "listener_create_success": "Listeners created.",
                    "listener_in_place_updated": "Listeners updated in place.",
                    "listener_modified": "Listeners changed.",
                    "listener_removed": "Listeners removed.",
                    "listener_stopped": "Listeners stopped.",
                },
                _EVENTS,
            ),
            **gauges(
                "collectors.envoy.listener_manager",
                (),
                {
                    "total_listeners_active": "Listeners.",
                    "total_listeners_draining": "Listeners that drain.",
                    "total_listeners_warming": "Listeners that warm up.",
                    "total_filter_chains_draining": "Filter chains that drain.",
                    "workers_started": "1 once its workers run.",
                },
                _COUNT,
            ),
        },
    ),
)
_TCP = ("proxy",)
TCP = Scope(
    "tcp",
    _TCP,
    {
        **counters(
            "collectors.envoy.tcp",
            _TCP,
            {
                "downstream_cx_total": "Connections.",
                "downstream_cx_no_route": "Connections without a route.",
                "idle_timeout": "Connections closed for being idle.",
                "max_downstream_connection_duration": "Connections closed for their age.",
                "upstream_flush_total": "Connections whose last bytes were still flushed to the host.",
            },
            _EVENTS,
        ),
        **counters(
            "collectors.envoy.tcp",
            _TCP,
            {
                "downstream_cx_rx_bytes_total": "Bytes received from clients.",
                "downstream_cx_tx_bytes_total": "Bytes sent to clients.",
            },
            _BYTES,
        ),
    },
)
_RESPONSE_CODES = "Responses by class."
CLUSTER_RESPONSES = MetricSpec(
    f"{_CLUSTER}.upstream_rq_xx", Kind.COUNTER, _EVENTS, _RESPONSE_CODES, ("cluster", "status_class")
)
CLUSTER_CODES = MetricSpec(
    f"{_CLUSTER}.upstream_rq_status", Kind.COUNTER, _EVENTS, "Responses by status.", ("cluster", "status")
)
HTTP_RESPONSES = MetricSpec(f"{_H}.downstream_rq_xx", Kind.COUNTER, _EVENTS, _RESPONSE_CODES, (*_HTTP, "status_class"))
TLS_VERSIONS = MetricSpec(
    f"{_L}.tls_versions", Kind.COUNTER, _EVENTS, "TLS connections by version.", ("listener", "version")
)
TLS_CIPHERS = MetricSpec(
    f"{_L}.tls_ciphers", Kind.COUNTER, _EVENTS, "TLS connections by cipher.", ("listener", "cipher")
)
_HISTOGRAMS = {
    ("cluster", "upstream_rq_time"): ("Time to the response, by quantile.", 0.001),
    ("cluster", "upstream_cx_connect_ms"): ("Time to connect, by quantile.", 0.001),
    ("cluster", "upstream_cx_length_ms"): ("Age of connections at their end, by quantile.", 0.001),
    ("http", "downstream_rq_time"): ("Time to the response, by quantile.", 0.001),
    ("http", "downstream_cx_length_ms"): ("Age of connections at their end, by quantile.", 0.001),
    ("listener", "downstream_cx_length_ms"): ("Age of connections at their end, by quantile.", 0.001),
}
HISTOGRAMS: dict[tuple[str, str], tuple[MetricSpec, float]] = {
    (first, name): (
        MetricSpec(
            f"collectors.envoy.{first}.{name.removesuffix('_ms')}_quantile",
            Kind.GAUGE,
            Unit.SECONDS,
            meaning,
            (*scope.labels, "quantile"),
        ),
        scale,
    )
    for (first, name), (meaning, scale) in _HISTOGRAMS.items()
    for scope in (CLUSTER, HTTP, LISTENER)
    if scope.first == first
}
_HOST = ("cluster", "host")
_B = "collectors.envoy.host"
HOST = {
    **counters(
        _B,
        _HOST,
        {
            "cx_total": "Connections.",
            "cx_connect_fail": "Connections that failed.",
            "rq_total": "Requests.",
            "rq_success": "Requests that succeeded.",
            "rq_error": "Requests that failed.",
            "rq_timeout": "Requests that timed out.",
        },
        _EVENTS,
    ),
    **gauges(
        _B,
        _HOST,
        {
            "cx_active": "Connections at present.",
            "rq_active": "Requests at present.",
            "rq_pending_active": "Requests that wait for a connection.",
        },
        _COUNT,
    ),
}
HOST_FLAG = MetricSpec(f"{_B}.flag", Kind.GAUGE, _COUNT, "1 for each thing that is wrong with it.", (*_HOST, "flag"))
HOST_SUCCESS = MetricSpec(f"{_B}.success_rate", Kind.GAUGE, Unit.RATIO, "Success as outlier detection sees it.", _HOST)
SUCCESS_THRESHOLD = MetricSpec(
    f"{_CLUSTER}.outlier_success_rate_threshold",
    Kind.GAUGE,
    Unit.RATIO,
    "Success below which a host is ejected.",
    ("cluster",),
)
CERTIFICATE = MetricSpec(
    "collectors.envoy.certificate.expires",
    Kind.GAUGE,
    Unit.SECONDS,
    "When a certificate expires, since the Unix epoch.",
    ("path", "serial", "use"),
)
SCOPES: dict[str, Scope] = {s.first: s for s in (CLUSTER, LISTENER, HTTP, SERVER, TCP, *MANAGERS)}
EMITS: tuple[MetricSpec, ...] = (
    *(spec for scope in SCOPES.values() for spec in scope.specs.values()),
    *BREAKER.values(), *BREAKER_LIMIT.values(), *HOST.values(), HOST_FLAG, HOST_SUCCESS, SUCCESS_THRESHOLD,
    CLUSTER_RESPONSES, CLUSTER_CODES, HTTP_RESPONSES, TLS_VERSIONS, TLS_CIPHERS, CERTIFICATE,
    *(spec for spec, _ in HISTOGRAMS.values()),
)  # fmt: skip
