"""Fields of INFO about snapshots (RDB), the append-only file (AOF) and loading."""

from __future__ import annotations

from collectors.catalog.performance.redis.info_field import OWN, Field, area, counter, gauge
from collectors.model.metric import Unit

_B, _S, _N = Unit.BYTES, Unit.SECONDS, Unit.COUNT
_NONE_RUNS = "none is being made"
_NONE_YET = "none has been made since the start"

FIELDS: tuple[Field, ...] = (
    gauge("loading", f"{OWN}loading", _N, "Whether a dataset is being loaded."),
    gauge("async_loading", f"{OWN}loading.async", _N, "Whether a dataset is loaded while the old one is served."),
    gauge("loading_total_bytes", f"{OWN}loading.size", _B, "Size of the file that is being loaded."),
    gauge("loading_loaded_bytes", f"{OWN}loading.loaded", _B, "Bytes loaded so far."),
    gauge("loading_eta_seconds", f"{OWN}loading.eta", _S, "Estimated time until loading ends."),
    gauge("current_cow_peak", f"{OWN}fork.cow_peak", _B, "Most copy-on-write memory of the child that runs."),
    gauge("current_cow_size", f"{OWN}fork.cow", _B, "Copy-on-write memory of the child that runs."),
    gauge("current_fork_perc", f"{OWN}fork.progress", Unit.RATIO, "Progress of the child that runs.", scale=0.01),
    gauge("current_save_keys_processed", f"{OWN}fork.keys_done", _N, "Keys the running save has done."),
    gauge("current_save_keys_total", f"{OWN}fork.keys", _N, "Keys the running save began with."),
    gauge("rdb_changes_since_last_save", "redis.rdb.changes_since_last_save", _N, "Changes since the last snapshot."),
    gauge("rdb_bgsave_in_progress", f"{OWN}rdb.saving", _N, "Whether a snapshot is being made."),
    gauge(
        "rdb_last_save_time", f"{OWN}rdb.last_save_time", _S, "When the last good snapshot was made, since the epoch."
    ),
    gauge("rdb_last_bgsave_status", f"{OWN}rdb.last_save_ok", _N, "Whether the last snapshot was a good one."),
    gauge(
        "rdb_last_bgsave_time_sec", f"{OWN}rdb.last_save_duration", _S, "Time the last snapshot took.", never=_NONE_YET
    ),
    gauge(
        "rdb_current_bgsave_time_sec",
        f"{OWN}rdb.current_save_duration",
        _S,
        "Time of the snapshot being made.",
        never=_NONE_RUNS,
    ),
    counter("rdb_saves", f"{OWN}rdb.saves", Unit.EVENTS, "Snapshots since the start."),
    gauge("rdb_last_cow_size", f"{OWN}rdb.last_cow", _B, "Copy-on-write memory of the last snapshot."),
    gauge(
        "rdb_last_load_keys_expired", f"{OWN}rdb.last_load_expired_keys", _N, "Expired keys dropped at the last load."
    ),
    gauge("rdb_last_load_keys_loaded", f"{OWN}rdb.last_load_keys", _N, "Keys loaded at the last load."),
    gauge("rdb_current_size", f"{OWN}rdb.size", _B, "Size of the snapshot file, of servers that tell."),
    gauge("aof_enabled", f"{OWN}aof.enabled", _N, "Whether changes are appended to a file."),
    gauge("aof_rewrite_in_progress", f"{OWN}aof.rewriting", _N, "Whether the file is being rewritten."),
    gauge("aof_rewrite_scheduled", f"{OWN}aof.rewrite_scheduled", _N, "Whether a rewrite waits for a snapshot to end."),
    gauge(
        "aof_last_rewrite_time_sec",
        f"{OWN}aof.last_rewrite_duration",
        _S,
        "Time the last rewrite took.",
        never=_NONE_YET,
    ),
    gauge(
        "aof_current_rewrite_time_sec",
        f"{OWN}aof.current_rewrite_duration",
        _S,
        "Time of the rewrite that runs.",
        never=_NONE_RUNS,
    ),
    gauge("aof_last_bgrewrite_status", f"{OWN}aof.last_rewrite_ok", _N, "Whether the last rewrite was a good one."),
    gauge("aof_last_write_status", f"{OWN}aof.last_write_ok", _N, "Whether the last write to the file succeeded."),
    gauge("aof_last_cow_size", f"{OWN}aof.last_cow", _B, "Copy-on-write memory of the last rewrite."),
    counter("aof_rewrites", f"{OWN}aof.rewrites", Unit.EVENTS, "Rewrites since the start."),
    gauge("aof_rewrites_consecutive_failures", f"{OWN}aof.failed_rewrites", _N, "Rewrites in a row that failed."),
    gauge("aof_current_size", f"{OWN}aof.size", _B, "Size of the file."),
    gauge("aof_base_size", f"{OWN}aof.base_size", _B, "Size of the file at the last start or rewrite."),
    gauge("aof_pending_rewrite", f"{OWN}aof.rewrite_pending", _N, "Whether a rewrite waits."),
    gauge("aof_buffer_length", f"{OWN}aof.buffer", _B, "Bytes that wait to be written."),
    gauge(
        "aof_rewrite_buffer_length", f"{OWN}aof.rewrite_buffer", _B, "Changes since the rewrite began, before Redis 7."
    ),
    gauge("aof_pending_bio_fsync", f"{OWN}aof.pending_fsyncs", _N, "Calls of fsync that wait."),
    counter("aof_delayed_fsync", f"{OWN}aof.delayed_fsyncs", Unit.EVENTS, "Writes that had to wait for a fsync."),
    gauge("module_fork_in_progress", f"{OWN}module_fork.running", _N, "Whether a child of a module runs."),
    gauge(
        "module_fork_last_cow_size", f"{OWN}module_fork.last_cow", _B, "Copy-on-write memory of a module's last child."
    ),
)

AREA = area("persistence", FIELDS)
