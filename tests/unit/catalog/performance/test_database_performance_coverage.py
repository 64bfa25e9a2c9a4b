"""The PostgreSQL collector tells all that the exporters named in the coverage list tell."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.support.database_coverage import PAGE, covered, page

from collectors.catalog.performance.database import configuration, statements
from collectors.catalog.performance.database.probe import Table
from collectors.catalog.performance.database.timescale_activity import ACTIVITY
from collectors.catalog.performance.database_performance import _FIXED, DatabasePerformanceCollector

NAMES = covered()


def test_the_list_is_whole_and_names_nothing_twice() -> None:
    counts = Counter(name.source for name in NAMES)
    assert counts == {
        "postgres_exporter": 129,
        "pgwatch": 78,
        "netdata": 70,
        "opentelemetry": 39,
        "timescaledb": 51,
        "timescaledb_activity": 45,
    }
    assert len({(name.source, name.name) for name in NAMES}) == len(NAMES)


def test_every_name_is_a_declared_metric_or_has_a_reason() -> None:
    declared = {spec.name for spec in DatabasePerformanceCollector.emits}
    for name in NAMES:
        assert set(name.metrics) <= declared, name
        assert bool(name.metrics) != bool(name.reason), name
        assert name.metrics or len(name.reason.split()) > 6, name


def test_the_page_is_what_the_list_says() -> None:
    assert PAGE.read_text() == page(), "write it anew: python -m tests.support.database_coverage"


def test_every_column_of_chunk_activity_is_asked_for() -> None:
    text = ACTIVITY.text(17)
    for name in NAMES:
        if name.source == "timescaledb_activity" and name.name not in ("chunk", "compressed_chunk", "chunk_id"):
            assert name.name in text, name


@pytest.mark.parametrize("major", [13, 14, 15, 16, 17, 18])
def test_each_version_is_asked_only_for_columns_it_has(major: int) -> None:
    since = {
        "pg_stat_io": 16,
        "pg_stat_checkpointer": 17,
        "pg_stat_wal ": 14,
        "pg_stat_replication_slots": 14,
        "pg_stat_subscription_stats": 15,
        "pg_stat_recovery_prefetch": 15,
        "pg_ls_replslotdir": 15,
        "sessions_abandoned": 14,
        "last_seq_scan": 16,
        "n_tup_newpage_upd": 16,
        "total_vacuum_time": 18,
        "inactive_since": 17,
        "invalidation_reason": 17,
        "confl_active_logicalslot": 16,
        "dead_tuple_bytes": 17,
        "delay_time": 18,
        "parallel_workers_launched": 18,
        "pg_buffercache_summary": 16,
        "read_bytes)": 18,
        "slru_written": 18,
        "num_done": 18,
        "pg_stat_statements_info": 14,
    }
    until = {
        "checkpoints_timed": 17,
        "buffers_backend_fsync,": 17,
        "max_dead_tuples": 17,
        "wal_sync_time": 18,
        "op_bytes)": 18,
    }
    texts = {probe.name: probe.text(major) for probe in (*_FIXED, *statements.probes()) if isinstance(probe, Table)}
    assert len([text for text in texts.values() if text]) > 50
    for word, first in since.items():
        assert major >= first or all(word not in text for text in texts.values()), word
    for word, end in until.items():
        assert major < end or all(word not in text for text in texts.values()), word


def test_questions_have_names_of_their_own_and_are_bounded() -> None:
    probes = (*_FIXED, *statements.probes(), configuration.Drift())
    names = [probe.name for probe in probes]
    assert len(set(names)) == len(names)
    for probe in probes:
        if isinstance(probe, Table) and set(probe.by) & {
            "table",
            "index",
            "hypertable",
            "db.namespace",
            "slot",
            "role",
        }:
            for text in probe.sql.values():
                assert "LIMIT" in text or probe.name == "wal_receiver", probe.name  # a standby has one receiver
