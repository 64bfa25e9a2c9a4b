"""Locks held and awaited, and the trees of sessions that block each other.

Sources: ``pg_locks`` and ``pg_blocking_pids``. The latter is asked only for sessions that wait for a lock, because it
stops the lock manager for a moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from collectors.catalog.performance.database.probe import (
    Database,
    Facts,
    Outcome,
    Probe,
    Row,
    Table,
    gauge,
    label,
    to_number,
)
from collectors.model.metric import Finding, Kind, MetricSpec, Sample, Severity, Unit

_LOCKS = Table(
    "locks",
    {
        13: """
        SELECT d.datname, lower(l.mode) AS mode, CASE WHEN l.granted THEN 'granted' ELSE 'waiting' END AS state,
               count(*) AS locks
        FROM pg_locks l LEFT JOIN pg_database d ON d.oid = l.database
        GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 10 * {top}"""
    },
    (gauge("locks", "postgresql.database.locks", Unit.COUNT, "Locks by database, mode and whether they are held."),),
    by={"db.namespace": "datname", "mode": "mode", "state": "state"},
)

_ROOM = Table(
    "locks_room",
    {
        13: """
        SELECT count(*)::float8 / (current_setting('max_locks_per_transaction')::int * (
                 current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int)) AS share
        FROM pg_locks WHERE NOT fastpath"""
    },
    (gauge("share", "postgresql.locks.utilization", Unit.RATIO, "Share of the shared lock table in use."),),
)

_BLOCKED = MetricSpec("postgresql.blocking.blocked", Kind.GAUGE, Unit.COUNT, "Sessions that wait for another's lock.")
_ROOTS = MetricSpec(
    "postgresql.blocking.roots", Kind.GAUGE, Unit.COUNT, "Sessions that block others and wait for none."
)
_DEPTH = MetricSpec(
    "postgresql.blocking.depth", Kind.GAUGE, Unit.COUNT, "Longest chain of sessions that wait for each other."
)
_LONGEST = MetricSpec("postgresql.blocking.longest_wait", Kind.GAUGE, Unit.SECONDS, "Longest wait for a lock.")
_LARGEST = MetricSpec("postgresql.blocking.largest_tree", Kind.GAUGE, Unit.COUNT, "Sessions behind the worst blocker.")


@dataclass(frozen=True, slots=True)
class Tree:
    """A session that others wait for, directly or not: ``depth`` counts waits on the longest way."""

    root: int
    blocked: frozenset[int]
    depth: int


def blocking_trees(waits: Mapping[int, Iterable[int]]) -> tuple[Tree, ...]:
    """Return the trees behind each session that waits for none, largest first.

    ``waits`` are the blockers of each waiting session. A deadlock has no root: until the server breaks it, the
    smallest pid of the circle stands for one.
    """
    behind: dict[int, set[int]] = {}
    for waiting, blockers in waits.items():
        for blocker in blockers:
            behind.setdefault(blocker, set()).add(waiting)
    trees = [_tree(root, behind) for root in sorted(behind.keys() - waits.keys())]
    left = set(waits) - {pid for tree in trees for pid in tree.blocked}
    while left:
        found = _tree(min(left), behind)
        trees.append(found)
        left -= {found.root, *found.blocked}
    return tuple(sorted((t for t in trees if t.blocked), key=lambda tree: (-len(tree.blocked), tree.root)))


def _tree(root: int, behind: Mapping[int, set[int]]) -> Tree:
    level, seen, depth = {root}, {root}, 0
    while level:
        level = {pid for blocker in level for pid in behind.get(blocker, ())} - seen
        seen |= level
        depth += bool(level)
    return Tree(root, frozenset(seen - {root}), depth)


@dataclass(frozen=True)
class Blocking:
    """Asks who waits for whom."""

    name: str = "blocking"
    emits: tuple[MetricSpec, ...] = (_BLOCKED, _ROOTS, _DEPTH, _LONGEST, _LARGEST)

    def applies(self, facts: Facts) -> bool:
        return facts.major >= 13

    async def read(self, database: Database, facts: Facts) -> Outcome:
        started = "(SELECT min(waitstart) FROM pg_locks WHERE pid = a.pid AND NOT granted)"
        begun = f"coalesce({started}, a.state_change)" if facts.major >= 14 else "a.state_change"
        rows = await database.fetch(
            self.name,
            f"""
            WITH waiting AS MATERIALIZED (
              SELECT a.pid, pg_blocking_pids(a.pid) AS blockers,
                     greatest(0, extract(epoch FROM clock_timestamp() - {begun})) AS waited
              FROM pg_stat_activity a WHERE a.wait_event_type = 'Lock' LIMIT 500)
            SELECT pid, blockers, waited, NULL AS state, NULL AS application FROM waiting
            UNION ALL
            SELECT a.pid, NULL, NULL, a.state, a.application_name FROM pg_stat_activity a
            WHERE a.pid IN (SELECT unnest(blockers) FROM waiting) AND a.pid NOT IN (SELECT pid FROM waiting)""",  # noqa: S608  # both texts stand above
        )
        return self.derive(rows)

    def derive(self, rows: Sequence[Row]) -> Outcome:
        """Build the trees; pure."""
        waits = {int(row["pid"]): [int(pid) for pid in row["blockers"]] for row in rows if row["blockers"]}
        waited = {int(row["pid"]): to_number(row["waited"]) or 0.0 for row in rows if row["blockers"]}
        trees = blocking_trees(waits)
        who = {int(row["pid"]): row for row in rows}
        samples = (
            Sample(_BLOCKED.name, len(waits)),
            Sample(_ROOTS.name, len(trees)),
            Sample(_DEPTH.name, max((tree.depth for tree in trees), default=0)),
            Sample(_LONGEST.name, max(waited.values(), default=0.0)),
            Sample(_LARGEST.name, max((len(tree.blocked) for tree in trees), default=0)),
        )
        return Outcome(samples, tuple(_finding(tree, who.get(tree.root, {}), waited) for tree in trees[:10]))


def _finding(tree: Tree, root: Row, waited: Mapping[int, float]) -> Finding:
    longest = max(waited[pid] for pid in tree.blocked)
    state = label(root.get("state")) or "prepared or hidden"
    return Finding(
        rule="postgresql.blocking",
        key=str(tree.root),
        severity=Severity.CRITICAL if longest >= 60 else Severity.WARNING,
        summary=(
            f"Session {tree.root} ({state}) blocks {len(tree.blocked)} others, {tree.depth} deep, "
            f"for up to {longest:.0f} s."
        ),
        labels=(("pid", str(tree.root)), ("application", label(root.get("application"))[:64]), ("state", state)),
    )


PROBES: tuple[Probe, ...] = (_LOCKS, _ROOM, Blocking())
