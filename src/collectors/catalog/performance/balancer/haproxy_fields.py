"""HAProxy's statistics as declared metrics: every column of ``show stat`` and line of ``show info`` that is a number.

A field has the column's name in HAProxy's CSV, the name HAProxy's Prometheus page gives it (without ``haproxy_`` and
the object), and the objects that have it: F(rontend), B(ackend), S(erver), L(istener). Source: the management guide of
HAProxy, chapters 9.1 and 9.3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from collectors.model.metric import Kind, MetricSpec, Unit

OBJECTS = {"F": "frontend", "B": "backend", "S": "server", "L": "listener"}
LABELS = {
    "frontend": ("proxy",),
    "backend": ("proxy",),
    "server": ("proxy", "server"),
    "listener": ("proxy", "listener"),
}
_SUFFIX = re.compile(r"(_total|_seconds|_bytes|_percent)+$")
_COUNTER, _GAUGE = Kind.COUNTER, Kind.GAUGE
_COUNT, _EVENTS, _BYTES, _SECONDS = Unit.COUNT, Unit.EVENTS, Unit.BYTES, Unit.SECONDS


@dataclass(frozen=True, slots=True)
class Field:
    """One column; ``scale`` turns what HAProxy writes into the unit."""

    column: str
    page: str
    objects: str
    kind: Kind
    unit: Unit
    meaning: str
    scale: float = 1.0

    def spec(self, what: str, labels: tuple[str, ...]) -> MetricSpec:
        """Declare it for one kind of object."""
        return MetricSpec(
            f"collectors.haproxy.{what}.{metric_name(self.page)}", self.kind, self.unit, self.meaning, labels
        )


def metric_name(page: str) -> str:
    """Return a name without the unit, which the declaration holds."""
    return _SUFFIX.sub("", page)


def _c(column: str, page: str, objects: str, meaning: str, unit: Unit = _EVENTS) -> Field:
    return Field(column, page, objects, _COUNTER, unit, meaning)


def _g(column: str, page: str, objects: str, meaning: str, unit: Unit = _COUNT, scale: float = 1.0) -> Field:
    return Field(column, page, objects, _GAUGE, unit, meaning, scale)


FIELDS: tuple[Field, ...] = (
    _g("qcur", "current_queue", "BS", "Requests that wait for a server."),
    _g("qmax", "max_queue", "BS", "Most requests that waited at once."),
    _g("scur", "current_sessions", "FLBS", "Sessions under way."),
    _g("smax", "max_sessions", "FLBS", "Most sessions at once."),
    _g("slim", "limit_sessions", "FLBS", "Most sessions that are allowed."),
    _c("stot", "sessions_total", "FLBS", "Sessions so far."),
    _c("bin", "bytes_in_total", "FLBS", "Bytes from clients.", _BYTES),
    _c("bout", "bytes_out_total", "FLBS", "Bytes to clients.", _BYTES),
    _c("dreq", "requests_denied_total", "FLB", "Requests that a rule denied."),
    _c("dresp", "responses_denied_total", "FLBS", "Responses that a rule denied."),
    _c("ereq", "request_errors_total", "FL", "Requests that were no valid ones, or that the client broke off."),
    _c("econ", "connection_errors_total", "BS", "Connections to servers that failed."),
    _c("eresp", "response_errors_total", "BS", "Responses that were no valid ones, or broken off."),
    _c("wretr", "retry_warnings_total", "BS", "Connections to servers that were tried again."),
    _c("wredis", "redispatch_warnings_total", "BS", "Requests that were given to another server."),
    _g("weight", "weight", "BS", "Weight in balancing, after slow start."),
    _g("uweight", "uweight", "BS", "Weight in balancing, as configured."),
    _g("act", "active_servers", "B", "Active servers that are up."),
    _g("bck", "backup_servers", "B", "Backup servers that are up."),
    _g("act", "active", "S", "1 if it is an active server."),
    _g("bck", "backup", "S", "1 if it is a backup server."),
    _c("chkfail", "check_failures_total", "S", "Health checks that failed while it was up."),
    _c("chkdown", "check_up_down_total", "BS", "Times it went from up to down."),
    _g("lastchg", "check_last_change_seconds", "BS", "Time since it last went up or down.", _SECONDS),
    _c("downtime", "downtime_seconds_total", "BS", "Time it has been down.", _SECONDS),
    _g("qlimit", "queue_limit", "S", "Most requests that may wait for it; 0 is no limit."),
    _g("throttle", "current_throttle", "S", "Share of its weight it gets in slow start.", Unit.RATIO, 0.01),
    _c("lbtot", "loadbalanced_total", "BS", "Times it was chosen by balancing."),
    _g("rate", "current_session_rate", "FBS", "Sessions in the last second."),
    _g("rate_lim", "limit_session_rate", "F", "Most sessions a second that are allowed."),
    _g("rate_max", "max_session_rate", "FBS", "Most sessions in a second."),
    _g("check_code", "check_code", "S", "Code of the last health check's answer, such as the HTTP status."),
    _g("check_duration", "check_duration_seconds", "S", "Time the last health check took.", _SECONDS, 0.001),
    _c("hanafail", "health_analysis_failures_total", "S", "Failed analyses of live traffic."),
    _g("check_rise", "check_rise", "S", "Checks in a row that make it up."),
    _g("check_fall", "check_fall", "S", "Checks in a row that make it down."),
    _g("check_health", "check_health", "S", "How well it is: up from check_rise to rise plus fall less one."),
    _g("agent_code", "agent_code", "S", "Code of the agent's last answer."),
    _g("agent_duration", "agent_duration_seconds", "S", "Time the agent's last check took.", _SECONDS, 0.001),
    _g("agent_rise", "agent_rise", "S", "The agent's answers in a row that make it up."),
    _g("agent_fall", "agent_fall", "S", "The agent's answers in a row that make it down."),
    _g("agent_health", "agent_health", "S", "How well the agent says it is."),
    _g("req_rate", "current_http_request_rate", "F", "HTTP requests in the last second."),
    _g("req_rate_max", "http_requests_rate_max", "F", "Most HTTP requests in a second."),
    _c("req_tot", "http_requests_total", "FBS", "HTTP requests so far."),
    _c("cli_abrt", "client_aborts_total", "BS", "Transfers that the client broke off."),
    _c("srv_abrt", "server_aborts_total", "BS", "Transfers that the server broke off."),
    _c("comp_in", "http_comp_bytes_in_total", "FB", "Bytes given to compression.", _BYTES),
    _c("comp_out", "http_comp_bytes_out_total", "FB", "Bytes that compression gave.", _BYTES),
    _c("comp_byp", "http_comp_bytes_bypassed_total", "FB", "Bytes that were not compressed for want of CPU.", _BYTES),
    _c("comp_rsp", "http_comp_responses_total", "FB", "Responses that were compressed."),
    _g("lastsess", "last_session_seconds", "BS", "Time since it last got a session.", _SECONDS),
    _g("qtime", "queue_time_average_seconds", "BS", "Queue time of the last 1,024 requests.", _SECONDS, 0.001),
    _g("ctime", "connect_time_average_seconds", "BS", "Connect time of the last 1,024 requests.", _SECONDS, 0.001),
    _g("rtime", "response_time_average_seconds", "BS", "Response time of the last 1,024 requests.", _SECONDS, 0.001),
    _g("ttime", "total_time_average_seconds", "BS", "Whole time of the last 1,024 sessions.", _SECONDS, 0.001),
    _g("qtime_max", "max_queue_time_seconds", "BS", "Longest queue time.", _SECONDS, 0.001),
    _g("ctime_max", "max_connect_time_seconds", "BS", "Longest connect time.", _SECONDS, 0.001),
    _g("rtime_max", "max_response_time_seconds", "BS", "Longest response time.", _SECONDS, 0.001),
    _g("ttime_max", "max_total_time_seconds", "BS", "Longest whole time.", _SECONDS, 0.001),
    _g("conn_rate", "current_connection_rate", "F", "Connections in the last second."),
    _g("conn_rate_max", "connections_rate_max", "F", "Most connections in a second."),
    _c("conn_tot", "connections_total", "F", "Connections so far."),
    _c("intercepted", "intercepted_requests_total", "F", "Requests that HAProxy answered itself."),
    _c("dcon", "denied_connections_total", "FL", "Connections that a rule denied."),
    _c("dses", "denied_sessions_total", "FL", "Sessions that a rule denied."),
    _c("wrew", "failed_header_rewriting_total", "FLBS", "Headers that could not be rewritten."),
    _c("connect", "connection_attempts_total", "BS", "Connections to servers that were begun."),
    _c("reuse", "connection_reuses_total", "BS", "Connections to servers that were used again."),
    _c("cache_lookups", "http_cache_lookups_total", "FB", "Requests looked up in the cache."),
    _c("cache_hits", "http_cache_hits_total", "FB", "Requests answered from the cache."),
    _c("cache_hint_hits", "http_cache_hint_hits_total", "FB", "Requests answered from what the cache holds in part."),
    _g("srv_icur", "idle_connections_current", "S", "Idle connections to it."),
    _g("src_ilim", "idle_connections_limit", "S", "Most idle connections to it that are allowed."),
    _g("idle_conn_cur", "unsafe_idle_connections_current", "S", "Idle connections that may not be used again safely."),
    _g("safe_conn_cur", "safe_idle_connections_current", "S", "Idle connections that may be used again safely."),
    _g("used_conn_cur", "used_connections_current", "S", "Connections to it in use."),
    _g("need_conn_est", "need_connections_current", "S", "Connections to it that are estimated to be needed."),
    _c("eint", "internal_errors_total", "FLBS", "Errors inside HAProxy."),
)  # fmt: skip
"""All columns with a number; those that hold a text or are part of a group are read in ``haproxy``."""

SPECS: dict[tuple[str, str], tuple[MetricSpec, float]] = {
    (OBJECTS[letter], field.column): (field.spec(OBJECTS[letter], LABELS[OBJECTS[letter]]), field.scale)
    for field in FIELDS
    for letter in field.objects
}
"""What becomes of a column, by object and column: the metric, and the scale."""

COLUMNS: dict[tuple[str, str], tuple[str, float]] = {
    (OBJECTS[letter], field.page): (field.column, field.scale if field.unit is Unit.SECONDS else 1.0)
    for field in FIELDS
    for letter in field.objects
}
"""The column behind a name of the Prometheus page, by object and name, and what the page's value is divided by."""

TEXT_COLUMNS = frozenset({
    "pxname", "svname", "status", "pid", "iid", "sid", "tracked", "type", "check_status", "last_chk", "last_agt",
    "agent_status", "check_desc", "agent_desc", "addr", "cookie", "mode", "algo", "srid", "proto",
    "hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other",
    "agg_server_status", "agg_server_check_status", "agg_check_status",
    "sess_other", "h1sess", "h2sess", "h3sess", "req_other", "h1req", "h2req", "h3req", "-", "",
})  # fmt: skip
"""Columns that are read by name: states, texts and groups."""


@dataclass(frozen=True, slots=True)
class Info:
    """One line of ``show info``; the page's name is without ``haproxy_process_``."""

    key: str
    page: str
    kind: Kind
    unit: Unit
    meaning: str
    scale: float = 1.0

    @property
    def spec(self) -> MetricSpec:
        """Declare it."""
        return MetricSpec(f"collectors.haproxy.process.{metric_name(self.page)}", self.kind, self.unit, self.meaning)


def _ic(key: str, page: str, meaning: str, unit: Unit = _EVENTS) -> Info:
    return Info(key, page, _COUNTER, unit, meaning)


def _ig(key: str, page: str, meaning: str, unit: Unit = _COUNT, scale: float = 1.0) -> Info:
    return Info(key, page, _GAUGE, unit, meaning, scale)


INFO: tuple[Info, ...] = (
    _ig("Nbthread", "nbthread", "Threads.", Unit.THREADS),
    _ig("Nbproc", "nbproc", "Processes.", Unit.PROCESSES),
    _ig("Process_num", "relative_process_id", "Number of this process."),
    _ig("Uptime_sec", "uptime_seconds", "Time since it started.", _SECONDS),
    _ig("Start_time_sec", "start_time_seconds", "When it started, since the Unix epoch.", _SECONDS),
    _ig("Memmax_bytes", "max_memory_bytes", "Most memory it may use; 0 is no limit.", _BYTES),
    _ig("PoolAlloc_bytes", "pool_allocated_bytes", "Memory of its pools.", _BYTES),
    _ig("PoolUsed_bytes", "pool_used_bytes", "Memory of its pools in use.", _BYTES),
    _ic("PoolFailed", "pool_failures_total", "Allocations that failed."),
    _ig("Ulimit-n", "max_fds", "Most open file descriptors."),
    _ig("Maxsock", "max_sockets", "Most open sockets."),
    _ig("Maxconn", "max_connections", "Most connections at once."),
    _ig("Hard_maxconn", "hard_max_connections", "Most connections at once, as configured."),
    _ig("CurrConns", "current_connections", "Connections at present."),
    _ic("CumConns", "connections_total", "Connections so far."),
    _ic("CumReq", "requests_total", "Requests so far."),
    _ig("MaxSslConns", "max_ssl_connections", "Most TLS connections at once; 0 is no limit."),
    _ig("CurrSslConns", "current_ssl_connections", "TLS connections at present."),
    _ic("CumSslConns", "ssl_connections_total", "TLS connections so far."),
    _ig("Maxpipes", "max_pipes", "Most pipes for splicing; 0 is no limit."),
    _ig("PipesUsed", "pipes_used_total", "Pipes in use."),
    _ig("PipesFree", "pipes_free_total", "Pipes that are free."),
    _ig("ConnRate", "current_connection_rate", "Connections in the last second."),
    _ig("ConnRateLimit", "limit_connection_rate", "Most connections a second; 0 is no limit."),
    _ig("MaxConnRate", "max_connection_rate", "Most connections in a second so far."),
    _ig("SessRate", "current_session_rate", "Sessions in the last second."),
    _ig("SessRateLimit", "limit_session_rate", "Most sessions a second; 0 is no limit."),
    _ig("MaxSessRate", "max_session_rate", "Most sessions in a second so far."),
    _ig("SslRate", "current_ssl_rate", "TLS connections in the last second."),
    _ig("SslRateLimit", "limit_ssl_rate", "Most TLS connections a second; 0 is no limit."),
    _ig("MaxSslRate", "max_ssl_rate", "Most TLS connections in a second so far."),
    _ig("SslFrontendKeyRate", "current_frontend_ssl_key_rate", "TLS keys made for clients in the last second."),
    _ig("SslFrontendMaxKeyRate", "max_frontend_ssl_key_rate", "Most TLS keys made for clients in a second."),
    _ig("SslFrontendSessionReuse_pct", "frontend_ssl_reuse", "TLS sessions used again.", Unit.RATIO, 0.01),
    _ig("SslBackendKeyRate", "current_backend_ssl_key_rate", "TLS keys made for servers in the last second."),
    _ig("SslBackendMaxKeyRate", "max_backend_ssl_key_rate", "Most TLS keys made for servers in a second."),
    _ic("SslCacheLookups", "ssl_cache_lookups_total", "TLS sessions looked up."),
    _ic("SslCacheMisses", "ssl_cache_misses_total", "TLS sessions that were not found."),
    _ig("CompressBpsIn", "http_comp_bytes_in_total", "Bytes given to compression in the last second.", _BYTES),
    _ig("CompressBpsOut", "http_comp_bytes_out_total", "Bytes that compression gave in the last second.", _BYTES),
    _ig("CompressBpsRateLim", "limit_http_comp", "Most bytes a second that compression may give.", _BYTES),
    _ig("ZlibMemUsage", "current_zlib_memory", "Memory of zlib.", _BYTES),
    _ig("MaxZlibMemUsage", "max_zlib_memory", "Most memory zlib may use.", _BYTES),
    _ig("Tasks", "current_tasks", "Tasks of its scheduler."),
    _ig("Run_queue", "current_run_queue", "Tasks that wait to run."),
    _ig("Idle_pct", "idle_time_percent", "Share of time in which it had nothing to do.", Unit.RATIO, 0.01),
    _ig("Stopping", "stopping", "1 if it is stopping."),
    _ig("Jobs", "jobs", "Connections, listeners and peers that keep it running."),
    _ig("Unstoppable Jobs", "unstoppable_jobs", "Jobs that can't be stopped."),
    _ig("Listeners", "listeners", "Listeners that are open."),
    _ig("ActivePeers", "active_peers", "Peers it tries to reach."),
    _ig("ConnectedPeers", "connected_peers", "Peers it is connected to."),
    _ic("DroppedLogs", "dropped_logs_total", "Log lines that were lost."),
    _ig("BusyPolling", "busy_polling_enabled", "1 if it polls busily."),
    _ic("FailedResolutions", "failed_resolutions", "Names that could not be resolved."),
    _ic("TotalBytesOut", "bytes_out_total", "Bytes it sent.", _BYTES),
    _ic("TotalSplicedBytesOut", "spliced_bytes_out_total", "Bytes it sent by splicing.", _BYTES),
    _ig("BytesOutRate", "bytes_out_rate", "Bytes sent in the last second.", _BYTES),
    _ic("DebugCommandsIssued", "debug_commands_total", "Debug commands that were given."),
    _ic("CumRecvLogs", "recv_logs_total", "Log lines that it received."),
    _ig("Tainted", "tainted", "Flags of what makes support doubtful; 0 is nothing."),
    _ic("TotalWarnings", "warnings_total", "Warnings since it started."),
    _ic("MaxconnReached", "maxconn_reached_total", "Times the limit of connections was reached."),
    _ig("BootTime_ms", "boot_time_seconds", "Time it took to start.", _SECONDS, 0.001),
    _ig("Niced_tasks", "niced_tasks", "Tasks with a priority of their own."),
)  # fmt: skip
INFO_TEXTS = frozenset({
    "Name", "Version", "Release_date", "Pid", "Uptime", "node", "description", "Build info",
    "Memmax_MB", "PoolAlloc_MB", "PoolUsed_MB", "TotalSplicdedBytesOut",
})  # fmt: skip
"""Lines that are texts, or say again in megabytes what another says in bytes."""
INFO_SPECS: dict[str, tuple[MetricSpec, float]] = {field.key: (field.spec, field.scale) for field in INFO}
INFO_KEYS: dict[str, str] = {field.page: field.key for field in INFO}

RESOLVER = {
    "sent": "Queries sent.", "snd_error": "Queries that could not be sent.", "valid": "Valid answers.",
    "update": "Answers that changed an address.", "cname": "Answers with an alias.",
    "cname_error": "Aliases that could not be followed.", "any_err": "Empty answers to a query for any type.",
    "nx": "Names that do not exist.", "timeout": "Queries without an answer in time.", "refused": "Queries refused.",
    "other": "Answers with any other error.", "invalid": "Answers that can't be read.",
    "too_big": "Answers that were too big.", "truncated": "Answers that were cut.",
    "outdated": "Answers that came late.",
}  # fmt: skip
"""Counters of a name server by HAProxy's name for each; the page calls ``snd_error`` ``send_error``."""
