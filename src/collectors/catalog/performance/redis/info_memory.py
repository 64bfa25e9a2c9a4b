"""Fields of INFO about memory."""

from __future__ import annotations

from collectors.catalog.performance.redis.info_field import OWN, Field, area, counter, family, gauge
from collectors.model.metric import Kind, MetricSpec, Unit

_SCRIPTS = MetricSpec(
    f"{OWN}memory.scripting",
    Kind.GAUGE,
    Unit.BYTES,
    "Memory of scripts and functions by part; the virtual machines' own is not part of the memory used.",
    labels=("part",),
)
_ALLOCATOR = MetricSpec(
    f"{OWN}memory.allocator",
    Kind.GAUGE,
    Unit.BYTES,
    "Memory as the allocator sees it, by state.",
    labels=("state",),
)
_BUFFERS = MetricSpec(
    f"{OWN}memory.buffers", Kind.GAUGE, Unit.BYTES, "Memory of buffers, by what they are for.", labels=("buffer",)
)
_WASTE = MetricSpec(
    f"{OWN}memory.waste", Kind.GAUGE, Unit.BYTES, "Memory held beyond what is used, by kind.", labels=("kind",)
)
_WASTE_RATIO = MetricSpec(
    f"{OWN}memory.waste_ratio", Kind.GAUGE, Unit.RATIO, "Memory held for a byte used, by kind.", labels=("kind",)
)
_RESERVED = MetricSpec(
    f"{OWN}memory.reservation",
    Kind.GAUGE,
    Unit.BYTES,
    "Memory a hosted server keeps free, by kind.",
    labels=("kind",),
)
_DEFRAGMENTED = MetricSpec(
    f"{OWN}defragmentation.operations",
    Kind.COUNTER,
    Unit.OPERATIONS,
    "Decisions of active defragmentation: values and keys that were moved, and that were let be.",
    labels=("outcome",),
)

_B, _S, _N, _R = Unit.BYTES, Unit.SECONDS, Unit.COUNT, Unit.RATIO

FIELDS: tuple[Field, ...] = (
    gauge("used_memory", "redis.memory.used", _B, "Memory the server allocated."),
    gauge("used_memory_rss", "redis.memory.rss", _B, "Memory the operating system gave the server."),
    gauge("used_memory_peak", "redis.memory.peak", _B, "Most memory the server ever allocated."),
    gauge("used_memory_overhead", "redis.memory.used_memory_overhead", _B, "Memory of what is no data."),
    gauge("used_memory_startup", "redis.memory.used_memory_startup", _B, "Memory used right after the start."),
    gauge("used_memory_dataset", f"{OWN}memory.dataset", _B, "Memory of the data themselves."),
    gauge(
        "used_memory_dataset_perc", f"{OWN}memory.dataset_ratio", _R, "Share of net memory that is data.", scale=0.01
    ),
    gauge("used_memory_peak_perc", f"{OWN}memory.peak_ratio", _R, "Memory used for a byte of the peak.", scale=0.01),
    gauge("used_memory_lua", "redis.memory.lua", _B, "Memory of the Lua engine."),
    gauge("maxmemory", "redis.maxmemory", _B, "Memory the server may use; 0 is no limit."),
    gauge("total_system_memory", f"{OWN}memory.system", _B, "Memory of the host."),
    gauge("mem_fragmentation_ratio", "redis.memory.fragmentation_ratio", _R, "Resident memory for a byte allocated."),
    *family(
        _SCRIPTS,
        {
            "eval": "used_memory_vm_eval",
            "functions": "used_memory_vm_functions",
            "total": "used_memory_vm_total",
            "eval_overhead": "used_memory_scripts_eval",
            "functions_overhead": "used_memory_functions",
            "overhead": "used_memory_scripts",
        },
    ),
    *family(
        _ALLOCATOR,
        {
            "allocated": "allocator_allocated",
            "active": "allocator_active",
            "resident": "allocator_resident",
            "muzzy": "allocator_muzzy",
        },
    ),
    *family(
        _WASTE,
        {
            "fragmentation": "mem_fragmentation_bytes",
            "allocator_fragmentation": "allocator_frag_bytes",
            "allocator_resident": "allocator_rss_bytes",
            "process": "rss_overhead_bytes",
        },
    ),
    *family(
        _WASTE_RATIO,
        {
            "allocator_fragmentation": "allocator_frag_ratio",
            "allocator_resident": "allocator_rss_ratio",
            "process": "rss_overhead_ratio",
        },
    ),
    *family(
        _BUFFERS,
        {
            "normal_clients": "mem_clients_normal",
            "replicas": "mem_clients_slaves",
            "replication_backlog": "mem_replication_backlog",
            "replication_total": "mem_total_replication_buffers",
            "replica_streams": "mem_replicas_repl_buffer",
            "cluster_links": "mem_cluster_links",
            "slot_import": "mem_cluster_slot_import",
            "slot_export": "mem_cluster_slot_export",
            "aof": "mem_aof_buffer",
            "not_evictable": "mem_not_counted_for_evict",
            "rehashing": "mem_overhead_db_hashtable_rehashing",
        },
    ),
    *family(
        _RESERVED,
        {
            "memory": "maxmemory_reservation",
            "memory_desired": "maxmemory_desired_reservation",
            "fragmentation": "maxfragmentationmemory_reservation",
            "fragmentation_desired": "maxfragmentationmemory_desired_reservation",
        },
    ),
    gauge("number_of_cached_scripts", f"{OWN}scripts.cached", _N, "Scripts in the cache of EVAL."),
    gauge("number_of_functions", f"{OWN}functions", _N, "Functions that are loaded."),
    gauge("number_of_libraries", f"{OWN}function_libraries", _N, "Libraries of functions that are loaded."),
    counter("evicted_scripts", f"{OWN}scripts.evicted", Unit.EVENTS, "Scripts evicted from the cache of EVAL."),
    gauge("lazyfree_pending_objects", f"{OWN}lazyfree.pending", _N, "Objects that wait to be freed."),
    counter("lazyfreed_objects", f"{OWN}lazyfree.freed", _N, "Objects freed in the background."),
    gauge(
        "active_defrag_running",
        f"{OWN}defragmentation.running",
        Unit.PERCENT,
        "CPU active defragmentation may use; 0 if it rests.",
    ),
    counter(
        "total_active_defrag_time", f"{OWN}defragmentation.time", _S, "Time with too much fragmentation.", scale=1e-3
    ),
    gauge(
        "current_active_defrag_time",
        f"{OWN}defragmentation.current_time",
        _S,
        "Time since there is too much fragmentation.",
        scale=1e-3,
    ),
    *family(
        _DEFRAGMENTED,
        {
            "values_moved": "active_defrag_hits",
            "values_let_be": "active_defrag_misses",
            "keys_moved": "active_defrag_key_hits",
            "keys_let_be": "active_defrag_key_misses",
        },
    ),
    counter("total_eviction_exceeded_time", f"{OWN}eviction.over_limit_time", _S, "Time above maxmemory.", scale=1e-3),
    gauge(
        "current_eviction_exceeded_time",
        f"{OWN}eviction.current_over_limit_time",
        _S,
        "Time since memory is above maxmemory.",
        scale=1e-3,
    ),
)

AREA = area("memory", FIELDS)
