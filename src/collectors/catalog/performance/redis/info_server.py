"""Fields of INFO about the server, its clients and its CPU time."""

from __future__ import annotations

from collectors.catalog.performance.redis.info_field import OWN, Field, area, counter, family, gauge
from collectors.model.metric import Kind, MetricSpec, Unit

_CPU = MetricSpec(
    "redis.cpu.time",
    Kind.COUNTER,
    Unit.SECONDS,
    "CPU time of the server by state: of the process, of its main thread, of its ended children.",
    labels=("state",),
)
_DENIED = MetricSpec(
    f"{OWN}acl.denied", Kind.COUNTER, Unit.EVENTS, "Requests that access lists denied, by reason.", labels=("reason",)
)
_TRACKED = MetricSpec(
    f"{OWN}tracking.entries",
    Kind.GAUGE,
    Unit.COUNT,
    "What client-side caching keeps track of, by kind.",
    labels=("kind",),
)
_THREADED = MetricSpec(
    f"{OWN}io_threads.operations",
    Kind.COUNTER,
    Unit.OPERATIONS,
    "Work done by input/output threads, by kind.",
    labels=("kind",),
)
_BUFFER_LIMIT = MetricSpec(
    f"{OWN}clients.buffer_limit_disconnections",
    Kind.COUNTER,
    Unit.EVENTS,
    "Clients disconnected because a buffer of theirs grew too large, by buffer.",
    labels=("buffer",),
)
_CERTIFICATE = MetricSpec(
    f"{OWN}tls.certificate.expires_in",
    Kind.GAUGE,
    Unit.SECONDS,
    "Time until a certificate of the server expires, by certificate.",
    labels=("certificate",),
)

_B, _S, _N, _R = Unit.BYTES, Unit.SECONDS, Unit.COUNT, Unit.RATIO

FIELDS: tuple[Field, ...] = (
    gauge("uptime_in_seconds", "redis.uptime", _S, "Time since the server started."),
    gauge("process_id", f"{OWN}process.id", _N, "Process id of the server."),
    gauge("hz", f"{OWN}cycles.frequency", Unit.HERTZ, "How often background work is done."),
    gauge("io_threads_active", f"{OWN}io_threads.active", _N, "Whether input/output threads work."),
    gauge("server_threads", f"{OWN}threads", Unit.THREADS, "Threads that serve clients, of a KeyDB."),
    gauge("current_client_thread", f"{OWN}threads.current", _N, "Thread that answers INFO, of a KeyDB."),
    counter("long_lock_waits", f"{OWN}lock.long_waits", Unit.EVENTS, "Long waits for the global lock, of a KeyDB."),
    gauge("connected_clients", "redis.clients.connected", _N, "Connected clients without replicas."),
    gauge("maxclients", f"{OWN}clients.limit", _N, "Clients that may be connected at once."),
    gauge("cluster_connections", f"{OWN}cluster.connections", _N, "Estimated sockets of the cluster bus."),
    gauge("blocked_clients", "redis.clients.blocked", _N, "Clients that wait in a blocking command."),
    gauge("tracking_clients", f"{OWN}clients.tracking", _N, "Clients that cache and want to hear of changes."),
    gauge("pubsub_clients", f"{OWN}clients.pubsub", _N, "Clients in publish/subscribe mode."),
    gauge("watching_clients", f"{OWN}clients.watching", _N, "Clients that watch keys."),
    gauge("clients_in_timeout_table", f"{OWN}clients.in_timeout_table", _N, "Blocked clients with a timeout."),
    gauge("total_watched_keys", f"{OWN}keys.watched", _N, "Keys that are watched."),
    gauge("total_blocking_keys", f"{OWN}keys.blocking", _N, "Keys that clients wait for."),
    gauge(
        "total_blocking_keys_on_nokey",
        f"{OWN}keys.blocking_on_nokey",
        _N,
        "Keys that clients wait for and that must be told of when they are deleted.",
    ),
    gauge("client_recent_max_input_buffer", "redis.clients.max_input_buffer", _B, "Largest recent query buffer."),
    gauge("client_biggest_input_buf", "redis.clients.max_input_buffer", _B, "Largest recent query buffer."),
    gauge("client_recent_max_output_buffer", "redis.clients.max_output_buffer", _B, "Largest recent output buffer."),
    gauge(
        "client_longest_output_list", f"{OWN}clients.longest_output_list", _N, "Longest output list, before Redis 5."
    ),
    *family(
        _BUFFER_LIMIT,
        {
            "output": "client_output_buffer_limit_disconnections",
            "query": "client_query_buffer_limit_disconnections",
        },
    ),
    counter("evicted_clients", f"{OWN}clients.evicted", Unit.EVENTS, "Clients evicted because of maxmemory-clients."),
    *family(
        _CPU,
        {
            "sys": "used_cpu_sys",
            "user": "used_cpu_user",
            "sys_children": "used_cpu_sys_children",
            "user_children": "used_cpu_user_children",
            "sys_main_thread": "used_cpu_sys_main_thread",
            "user_main_thread": "used_cpu_user_main_thread",
        },
    ),
    counter("used_active_time_main_thread", f"{OWN}main_thread.active", _S, "Time the main thread was at work."),
    counter("eventloop_cycles", f"{OWN}event_loop.cycles", Unit.EVENTS, "Turns of the event loop."),
    counter("eventloop_duration_sum", f"{OWN}event_loop.time", _S, "Time in the event loop.", scale=1e-6),
    counter(
        "eventloop_duration_cmd_sum",
        f"{OWN}event_loop.command_time",
        _S,
        "Time in which the event loop executed commands.",
        scale=1e-6,
    ),
    gauge(
        "instantaneous_eventloop_cycles_per_sec",
        f"{OWN}event_loop.rate",
        Unit.HERTZ,
        "Turns of the event loop a second, just now.",
    ),
    gauge(
        "instantaneous_eventloop_duration_usec",
        f"{OWN}event_loop.duration",
        _S,
        "Mean time of a turn of the event loop, just now.",
        scale=1e-6,
    ),
    *family(
        _THREADED,
        {
            "read": "io_threaded_reads_processed",
            "write": "io_threaded_writes_processed",
            "accept": "io_threaded_accept_processed",
            "poll": "io_threaded_poll_processed",
            "free": "io_threaded_freed_objects",
            "prefetch": "io_threaded_total_prefetch_entries",
        },
    ),
    *family(_DENIED, {f: f"acl_access_denied_{f}" for f in ("auth", "cmd", "key", "channel", "db", "tls_cert")}),
    *family(
        _TRACKED,
        {"keys": "tracking_total_keys", "items": "tracking_total_items", "prefixes": "tracking_total_prefixes"},
    ),
    *family(_CERTIFICATE, {c: f"tls_{c}_cert_expires_in_seconds" for c in ("server", "client", "ca")}),
    gauge("pubsub_channels", f"{OWN}pubsub.channels", _N, "Channels with subscribers."),
    gauge("pubsub_patterns", f"{OWN}pubsub.patterns", _N, "Patterns with subscribers."),
    gauge("pubsubshard_channels", f"{OWN}pubsub.shard_channels", _N, "Shard channels with subscribers."),
    gauge("paused_timeout_milliseconds", f"{OWN}clients.paused", _S, "How long clients stay paused.", scale=1e-3),
    gauge("cluster_enabled", f"{OWN}cluster.enabled", _N, "Whether the server is a node of a cluster."),
)

AREA = area("server", FIELDS)
