"""Load log records into the lake: every acknowledged event once, and the ledger to match.

For each event type a load decodes the records, drops the repeats the gateway could not have seen, writes Parquet and
commits it with the log position. Then the ledger is folded up to that position. After a crash in between, a type
whose table already holds the position is not loaded again; what was stored of it is counted from the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from collectors.drivers.event_log import Record
from collectors.drivers.ledger_store import DeadLetter, Fold, LedgerStore
from collectors.lake.delta import LakeTable
from collectors.lake.rollup import Zone, add_up, partial_rows
from collectors.model.batch import LedgerCounts
from collectors.model.event_type import EventType
from collectors.model.event_types import EVENT_TYPES
from collectors.model.rollups import ROLLUPS, Rollup

_EARLY_US = 1_000_000
_SKEW_US = 300 * 10**6
_READ_OPTIONS = pa.ipc.IpcReadOptions(use_threads=False)


@dataclass
class _RollupState:
    rollup: Rollup
    table: LakeTable
    pending: list[pa.Table] = field(default_factory=list)
    position: int = 0


class Lake:
    """The lake's tables under one folder, for the one process that loads them. Not thread-safe."""

    def __init__(self, folder: Path, ledger: LedgerStore, zone: Zone) -> None:
        self.folder = folder
        self._ledger = ledger
        self._zone = zone
        self.tables: dict[str, LakeTable] = {}
        self._rollups: dict[str, _RollupState] = {}
        self.position = ledger.position()
        # Types whose clients stamp events ahead of time: until when their rows count as late (see ``_late``).
        notes = ledger.notes().get("early_until", {})
        self._early_until: dict[str, int] = dict(notes) if isinstance(notes, dict) else {}
        for name in EVENT_TYPES:
            if (folder / name / "_delta_log").exists():
                self.table(EVENT_TYPES[name])
        for rollup in ROLLUPS.values():
            self._open_rollup(rollup)

    def table(self, event_type: EventType) -> LakeTable:
        """Return the table of ``event_type``, created when first asked for."""
        table = self.tables.get(event_type.name)
        if table is None:
            table = LakeTable(self.folder / event_type.name, event_type.lake_schema)
            self.tables[event_type.name] = table
        return table

    def load(self, records: Sequence[Record]) -> dict[tuple[str, str], int]:
        """Load ``records``, consecutive in the log, and return the rows stored by (tenant, type)."""
        through = records[-1].position
        by_type: dict[str, list[Record]] = {}
        for record in records:
            if record.rows:
                by_type.setdefault(record.type, []).append(record)
        stored: dict[tuple[str, str], int] = {}
        for name, mine in by_type.items():
            event_type = EVENT_TYPES[name]
            table = self.table(event_type)
            fresh = [r for r in mine if r.position > table.position]
            if len(fresh) < len(mine):
                stored |= self._already_stored(event_type, table)
                self._note_early(event_type, _join(event_type, mine))
            if fresh:
                rows = self._load_type(event_type, table, fresh, through)
                counts = rows.column("tenant_id").combine_chunks().value_counts()
                for tenant, count in zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True):
                    stored[tenant, name] = stored.get((tenant, name), 0) + count
        self._fold(records, stored, through)
        self.position = through
        return stored

    def flush_rollups(self) -> None:
        """Commit what rollups gathered since the last flush."""
        for state in self._rollups.values():
            if not state.pending:
                continue
            rows = add_up(state.rollup, pa.concat_tables(state.pending))
            state.table.commit(state.table.write(rows, state.position), state.position)
            state.pending.clear()

    def rebuild_rollup(self, name: str) -> None:
        """Compute the rollup anew from its source table and put it in the place of the old rows."""
        state = self._rollups[name]
        source = self.tables.get(state.rollup.source)
        parts = list(self._source_partials(state.rollup, source, after=0)) if source else []
        position = source.position if source else 0
        files = state.table.write(add_up(state.rollup, pa.concat_tables(parts)), position) if parts else []
        state.table.commit(files, position, remove=list(state.table.files))
        state.pending.clear()
        state.position = position

    def rollup_table(self, name: str) -> LakeTable:
        """Return the table of the rollup ``name``."""
        return self._rollups[name].table

    @property
    def rollup_names(self) -> Iterable[str]:
        """Names of the rollups."""
        return self._rollups.keys()

    def _open_rollup(self, rollup: Rollup) -> None:
        """Open a rollup and catch up with what its source loaded since the last flush before a crash."""
        table = LakeTable(
            self.folder / "rollups" / rollup.name, rollup.lake_schema, period=rollup.period, unique_columns=()
        )
        state = self._rollups[rollup.name] = _RollupState(rollup, table, position=table.position)
        source = self.tables.get(rollup.source)
        if source is not None and source.position > table.position:
            state.pending.extend(self._source_partials(rollup, source, after=table.position))
            state.position = source.position

    def _source_partials(self, rollup: Rollup, source: LakeTable, *, after: int) -> Iterable[pa.Table]:
        for file in list(source.files.values()):
            if file.max_position > after:
                rows = ds.dataset(source.folder / file.path, format="parquet").to_table(
                    filter=ds.field("log_position") > after
                )
                if rows.num_rows:
                    yield partial_rows(rollup, rows, self._zone)

    def _load_type(self, event_type: EventType, table: LakeTable, records: list[Record], through: int) -> pa.Table:
        records.sort(key=lambda r: (r.tenant, r.position))
        rows = self._without_repeats(event_type, table, _join(event_type, records), records)
        files = table.write(rows, through) if rows.num_rows else []
        table.commit(files, through)
        for state in self._rollups.values():
            if state.rollup.source == event_type.name:
                if rows.num_rows:
                    state.pending.append(partial_rows(state.rollup, rows, self._zone))
                state.position = through
        return rows

    def _without_repeats(
        self, event_type: EventType, table: LakeTable, rows: pa.Table, records: Sequence[Record]
    ) -> pa.Table:
        """Drop rows whose event is in the lake already, or earlier in ``rows``.

        The gateway has seen every id since ``covered_since``. An event can't have arrived before it happened, give or
        take the clocks, so a row whose event_time is after that has been compared with all it could repeat. Only the
        other, late rows are looked up.
        """
        late = self._late(event_type, rows, records)
        self._note_early(event_type, rows)
        if not late.any():
            return rows
        suspects = rows.filter(pa.array(late)).select(["tenant_id", "event_id", "day"])
        ids = suspects.column("event_id").combine_chunks()
        # Rows with a suspect id, in log order; the first of each (tenant, id) stays unless the lake has it.
        concerned = np.flatnonzero(pc.is_in(rows.column("event_id"), value_set=ids).to_numpy())
        known = _ids_in_lake(table, suspects)
        tenants = rows.column("tenant_id").take(concerned).to_pylist()
        keys = rows.column("event_id").take(concerned).to_pylist()
        positions = rows.column("log_position").take(concerned).to_pylist()
        keep = np.ones(rows.num_rows, dtype=bool)
        for index, tenant, key, _ in sorted(
            zip(concerned.tolist(), tenants, keys, positions, strict=True), key=lambda item: (item[3], item[0])
        ):
            if (tenant, key) in known:
                keep[index] = False
            known.add((tenant, key))
        return rows.filter(pa.array(keep))

    def _late(self, event_type: EventType, rows: pa.Table, records: Sequence[Record]) -> npt.NDArray[np.bool_]:
        times = _micros(rows.column("event_time"))
        counts = [r.rows for r in records]
        covered = np.repeat(np.array([r.covered_since_us for r in records]), counts)
        until = self._early_until.get(event_type.name, 0)
        ahead = _SKEW_US if until and records[0].acked_us <= until else _EARLY_US
        late: npt.NDArray[np.bool_] = times - ahead < covered
        return late

    def _note_early(self, event_type: EventType, rows: pa.Table) -> None:
        """Remember that rows came ahead of their time: until it has passed, their repeats may look punctual."""
        times = _micros(rows.column("event_time"))
        early = times > _micros(rows.column("received_time")) + _EARLY_US
        if early.any():
            # A repeat is punctual by its event_time at the latest; one more skew covers the other clock.
            until = int(times[early].max()) + _SKEW_US
            self._early_until[event_type.name] = max(until, self._early_until.get(event_type.name, 0))

    def _already_stored(self, event_type: EventType, table: LakeTable) -> dict[tuple[str, str], int]:
        """Count by tenant what a load that was cut short has stored of the records it did not fold."""
        stored: dict[tuple[str, str], int] = {}
        for file in table.files.values():
            if file.max_position > self.position:
                rows = ds.dataset(table.folder / file.path, format="parquet").to_table(
                    columns=["tenant_id"], filter=ds.field("log_position") > self.position
                )
                counts = rows.column("tenant_id").combine_chunks().value_counts()
                for tenant, count in zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True):
                    stored[tenant, event_type.name] = stored.get((tenant, event_type.name), 0) + count
        return stored

    def _fold(self, records: Sequence[Record], stored: Mapping[tuple[str, str], int], through: int) -> None:
        counts: dict[tuple[str, str], LedgerCounts] = {}
        logged: dict[tuple[str, str], int] = {}
        for r in records:
            key = (r.tenant, r.type)
            counts[key] = counts.get(key, LedgerCounts()) + LedgerCounts(
                offered=r.offered, duplicate=r.duplicate, rejected=r.rejected, dropped=r.dropped
            )
            logged[key] = logged.get(key, 0) + r.rows
        for key, rows in logged.items():
            kept = stored.get(key, 0)
            counts[key] += LedgerCounts(stored=kept, duplicate=rows - kept)
        self._ledger.fold(
            Fold(
                counts,
                tuple(
                    DeadLetter(r.position, r.tenant, r.type, r.acked_us, max(r.rejected, 0), r.dead)
                    for r in records
                    if r.dead is not None
                ),
                tuple(r.replays for r in records if r.replays),
                through,
                {"early_until": self._early_until},
            )
        )


def _join(event_type: EventType, records: Sequence[Record]) -> pa.Table:
    """Decode ``records`` into one table of the type's lake schema, in the order given."""
    parts = [pa.ipc.open_stream(r.body, options=_READ_OPTIONS).read_all() for r in records]
    rows = pa.concat_tables(parts)
    counts = [p.num_rows for p in parts]
    tenants = sorted({r.tenant for r in records})
    codes = np.repeat(np.array([tenants.index(r.tenant) for r in records], dtype=np.int32), counts)
    tenant_ids = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(tenants, pa.string()))
    positions = np.repeat(np.array([r.position for r in records], dtype=np.int64), counts)
    days = pc.cast(rows.column("event_time"), pa.date32())
    columns = [tenant_ids, *rows.columns, pa.array(positions), days]
    return pa.table(columns, names=event_type.lake_schema.names)


def _ids_in_lake(table: LakeTable, suspects: pa.Table) -> set[tuple[str, bytes]]:
    """Return which (tenant, event_id) of ``suspects`` the table holds, reading only the files of their days."""
    days = set(pc.unique(suspects.column("day")).to_pylist())
    tenants = pc.unique(suspects.column("tenant_id").combine_chunks().cast(pa.string())).to_pylist()
    low, high = min(tenants), max(tenants)
    paths = [
        table.folder / f.path
        for f in table.files.values()
        if f.day in days and f.tenants[0] <= high and f.tenants[1] >= low
    ]
    if not paths:
        return set()
    ids = pc.unique(suspects.column("event_id"))
    wanted = ds.field("event_id").isin(ids) & ds.field("tenant_id").isin(tenants)
    found = ds.dataset(paths, format="parquet").to_table(columns=["tenant_id", "event_id"], filter=wanted)
    return set(zip(found.column("tenant_id").to_pylist(), found.column("event_id").to_pylist(), strict=True))


def _micros(times: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    values: npt.NDArray[np.int64] = pc.cast(times, pa.int64()).to_numpy()
    return values
