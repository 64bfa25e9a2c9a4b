"""What the operator of a server may set."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from collectors.config.alerting import AlertingConfig
from collectors.config.collector import Model
from collectors.config.sinks import Sinks

MIB = 2**20


class IntakeConfig(Model):
    """Limits of the event path."""

    max_body_bytes: int = Field(default=16 * MIB, ge=1024)
    """Largest request body, as sent and after decompression each."""

    max_rows: int = Field(default=100_000, ge=1)
    """Most events in one request."""

    max_depth: int = Field(default=32, ge=1, le=256)
    """Deepest nesting of a JSON value."""

    queue_bytes: int = Field(default=64 * MIB, ge=MIB)
    """Bodies that may wait in memory; beyond that senders are told to come back."""

    tenant_queue_bytes: int = Field(default=24 * MIB, ge=MIB)
    """One tenant's share of ``queue_bytes``."""

    dedupe_bytes: int = Field(default=256 * MIB, ge=MIB)
    """Memory of the window in which repeated event ids are recognised at once."""

    log_segment_bytes: int = Field(default=64 * MIB, ge=MIB)
    """Size at which a log segment is closed."""

    min_free_bytes: int = Field(default=256 * MIB, ge=0)
    """Free disk space below which events are refused with 503, so that accepted ones can still be loaded."""


class LakeConfig(Model):
    """How the log is loaded and kept."""

    load_seconds: float = Field(default=1.0, gt=0, le=60)
    """Seconds between two loads of the log into the lake."""

    rollup_seconds: float = Field(default=5.0, gt=0)
    """Seconds between two commits of the rollups."""

    compact_seconds: float = Field(default=60.0, gt=0)
    """Seconds between two looks for small files to merge and old ones to delete."""

    query_memory_bytes: int = Field(default=256 * MIB, ge=64 * MIB)
    """Memory for queries over the lake; what does not fit goes to the folder ``spill`` for a while."""

    query_threads: int = Field(default=1, ge=1)
    """Threads for queries over the lake."""

    query_timeout_seconds: float = Field(default=30.0, gt=0)
    """Longest a query may take."""


class ServerConfig(Model):
    """One server: its address, its data folder, and the limits of its parts."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""

    data: Path = Path("data")
    """Folder for everything that must survive: log, lake, keys, samples."""

    samples_days: int = Field(default=15, ge=1)
    """Days samples and ended alerts are kept for charts."""

    log_format: str = Field(default="console", pattern="^(console|json)$")
    """How the server's own log is written: for people or for machines."""

    intake: IntakeConfig = IntakeConfig()
    """Limits of the event path."""

    lake: LakeConfig = LakeConfig()
    """How the log is loaded and kept."""

    sinks: Sinks = Field(default_factory=dict)
    """Where samples are handed on to, by a name of your choice."""

    alerting: AlertingConfig = AlertingConfig()
    """Rules for all tenants, and who is told of alerts."""
