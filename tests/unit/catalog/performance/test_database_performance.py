"""The PostgreSQL collector without a server: normal forms, blocking trees, its budget, and answers gone wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.catalog.performance.database.locks import Blocking, blocking_trees
from collectors.catalog.performance.database.probe import Facts, Role, Table, gauge, to_number, version_key
from collectors.catalog.performance.database.statements import Statements, normalise, query_id
from collectors.catalog.performance.database_performance import (
    DatabasePerformanceCollector,
    DatabasePerformanceConfig,
)
from collectors.contract.collector import CollectorContext
from collectors.drivers.postgres import TooSlow
from collectors.errors import LifecycleError, SourceRefused, SourceUnavailable
from collectors.model.metric import Collection, Severity, Unit, Window
from collectors.testing import check_golden

GOLDEN = Path(__file__).parents[3] / "golden"
RECORDED = GOLDEN / "database_performance" / "primary_15" / "answers.json"
WINDOW = Window(0, 10_000_000)
FACTS = Facts(15, standby=False, started=0, database="app", extensions={"pg_stat_statements": ("1.10", 'odd"schema')})


class SteppingClock:
    """Monotonic time that moves only when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


class Recorded:
    """Answers of a real server; each takes as long as ``takes`` says, or fails as ``fails`` says."""

    def __init__(self, clock: SteppingClock, takes: Mapping[str, float], fails: Mapping[str, Exception]) -> None:
        self.clock, self.takes, self.fails = clock, takes, dict(fails)
        self.answers = json.loads(RECORDED.read_text())
        self.asked: list[str] = []

    async def fetch(self, name: str, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        self.asked.append(name)
        self.clock.seconds += self.takes.get(name, 0.001)
        if name in self.fails:
            raise self.fails[name]
        return self.answers.get(name, [])

    async def close(self) -> None:
        return


def collector_on(
    takes: Mapping[str, float] | None = None, fails: Mapping[str, Exception] | None = None, **config: Any
) -> tuple[DatabasePerformanceCollector, Recorded]:
    clock = SteppingClock()
    server = Recorded(clock, takes or {}, fails or {})
    context = CollectorContext(clock=clock, drivers={"postgres": server})  # type: ignore[arg-type]
    return DatabasePerformanceCollector(DatabasePerformanceConfig.model_validate(config), context), server


def ages(collection: Collection) -> dict[str, float | None]:
    return {s.labels[0]: s.value for s in collection.samples if s.metric == "collectors.postgresql.probe.age"}


def test_recordings_of_real_servers_lead_to_what_is_written_down() -> None:
    check_golden(DatabasePerformanceCollector, GOLDEN)


def test_nothing_that_is_told_holds_a_password_from_a_statement() -> None:
    for file in (GOLDEN / "database_performance").glob("*/expected.jsonl"):
        assert "s3cret" not in file.read_text()
    assert "m0nit0r-s3cret" in RECORDED.read_text()  # the server did tell it


async def test_a_dear_question_is_asked_less_often_and_its_answer_stands_with_its_age() -> None:
    collector, server = collector_on({"indexes": 0.5}, share=0.5)
    await collector.open()
    first = await collector.collect(WINDOW)
    server.clock.seconds += 10
    server.asked.clear()
    second = await collector.collect(WINDOW)
    assert "indexes" not in server.asked
    assert "connections" in server.asked
    assert {s.metric for s in second.samples} == {s.metric for s in first.samples}
    age = ages(second)["indexes"]
    assert age is not None
    assert 10 < age < 11
    server.clock.seconds += len(ages(second)) - 10  # 0.5 s are the share of one question in as many seconds
    server.asked.clear()
    await collector.collect(WINDOW)
    assert "indexes" in server.asked


async def test_a_run_stops_asking_when_its_budget_is_spent_and_the_next_goes_on() -> None:
    collector, server = collector_on({"waits": 5.0}, budget_seconds=1)
    await collector.open()
    first = await collector.collect(WINDOW)
    assert [issue.code for issue in first.issues] == ["postponed"]
    assert server.asked[-1] == "waits"
    server.clock.seconds += 10
    second = await collector.collect(WINDOW)
    assert second.issues == ()
    assert "tables" in ages(second)


@settings(max_examples=10)
@given(st.lists(st.floats(0.001, 3), min_size=3, max_size=3), st.floats(0.02, 0.5))
async def test_whatever_questions_cost_all_together_take_at_most_their_share(costs: list[float], share: float) -> None:
    names = ("tables", "indexes", "statements")
    collector, server = collector_on(dict(zip(names, costs, strict=True)), share=share, budget_seconds=5)
    await collector.open()
    begun, busy = server.clock.seconds, 0.0
    while server.clock.seconds - begun < 600:
        before = server.clock.seconds
        await collector.collect(WINDOW)
        busy += server.clock.seconds - before - 0.001  # what it is, is asked each time
        server.clock.seconds += 10
    once = sum(costs) + 0.001 * len(ages(await collector.collect(WINDOW)))
    assert busy <= share * (server.clock.seconds - begun) + once


async def test_answers_of_a_server_that_was_restarted_are_forgotten() -> None:
    collector, server = collector_on({"indexes": 0.5}, share=0.01)
    await collector.open()
    await collector.collect(WINDOW)
    server.answers["facts"][0]["started"] += 1
    server.asked.clear()
    await collector.collect(WINDOW)
    assert "indexes" in server.asked


@pytest.mark.parametrize(
    ("error", "code"),
    [(TooSlow("took too long"), "too_slow"), (SourceRefused("the right is missing"), "source_refused")],
)
async def test_a_question_that_fails_is_an_issue_and_its_old_answer_goes(error: Exception, code: str) -> None:
    collector, server = collector_on(share=1)
    await collector.open()
    assert "wal_files" in ages(await collector.collect(WINDOW))
    server.fails["wal_files"] = error
    server.clock.seconds += 1_000
    collection = await collector.collect(WINDOW)
    assert [(issue.code, issue.item) for issue in collection.issues] == [(code, "wal_files")]
    assert not any(s.metric == "postgresql.wal.segments" for s in collection.samples)
    assert any(s.metric == "postgresql.commits" for s in collection.samples)


async def test_a_lost_connection_fails_the_run() -> None:
    collector, _ = collector_on(fails={"tables": SourceUnavailable("lost")})
    await collector.open()
    with pytest.raises(SourceUnavailable):
        await collector.collect(WINDOW)


@pytest.mark.parametrize(
    ("facts", "error", "issue"),
    [
        ({"version": 120_010}, SourceRefused, ""),
        ({"version": 190_000}, None, "version"),
        ({"monitor": False}, None, "rights"),
        ({"version": None}, SourceUnavailable, ""),
        ({"extensions": {"odd": 3}}, SourceUnavailable, ""),
    ],
)
async def test_what_the_server_is_decides(facts: dict[str, Any], error: type[Exception] | None, issue: str) -> None:
    collector, server = collector_on()
    server.answers["facts"][0] |= facts
    if error is not None:
        with pytest.raises(error):
            await collector.open()
        return
    await collector.open()
    assert [i.code for i in (await collector.collect(WINDOW)).issues] == [issue]


async def test_answers_without_the_expected_columns_are_issues() -> None:
    collector, server = collector_on()
    server.answers["connections"] = [{"other": 1}]
    server.answers["waits"] = [{"backend": "a", "type": "b", "event": "c", "waiting": "many"}]
    await collector.open()
    issues = {issue.item: issue.code for issue in (await collector.collect(WINDOW)).issues}
    assert issues == {"connections": "malformed", "waits": "source_refused"}


async def test_it_has_to_be_opened_first() -> None:
    with pytest.raises(LifecycleError):
        await DatabasePerformanceCollector().collect(WINDOW)


def test_the_connection_string_is_masked() -> None:
    config = DatabasePerformanceConfig.model_validate({"dsn": "postgresql://u:hunter2@h/d"})
    assert "hunter2" not in f"{config!r} {config} {config.model_dump_json()}"


def test_to_number_keeps_what_is_a_number() -> None:
    assert [to_number(x) for x in (None, "Infinity", float("nan"), True, "1.5")] == [None, None, None, 1.0, 1.5]
    with pytest.raises(SourceRefused):
        to_number("many")


def test_a_probe_applies_by_version_role_extension_and_relation() -> None:
    column = gauge("a", "postgresql.a", Unit.COUNT, "A.")
    plain = Table("p", {14: "old", 17: "new"}, (column,))
    assert [plain.text(major) for major in (13, 14, 16, 17, 18)] == ["", "old", "old", "new", "new"]
    standby = Facts(15, standby=True, started=0, database="d", extensions={"timescaledb": ("2.17.2", "public")})
    assert not Table("p", {13: "x"}, (column,), role=Role.PRIMARY).applies(standby)
    assert Table("p", {13: "x"}, (column,), role=Role.STANDBY).applies(standby)
    assert not Table("p", {13: "x"}, (column,), extension="other").applies(standby)
    assert not Table("p", {13: "x"}, (column,), needs="a.view").applies(standby)
    for versions, applies in ((("2.0", "2.18"), True), (("2.18", "9999"), False), (("2.17.2", "2.17.3"), True)):
        probe = Table("p", {13: "x"}, (column,), extension="timescaledb", extension_versions=versions)
        assert probe.applies(standby) is applies
    assert version_key("2.23.0-dev") == (2, 23, 0)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("SELECT * FROM t WHERE a = 'it''s' AND b = 12.5e3", "SELECT * FROM t WHERE a = ? AND b = ?"),
        ("SELECT $1,\n  $2 -- remark\n FROM t2", "SELECT ?, ? FROM t2"),
        ("SELECT 1 /* secret */ WHERE x IN ($1, $2 , $3)", "SELECT ? WHERE x IN (?)"),
        ("INSERT INTO t VALUES ($1, $2), ($3, $4)", "INSERT INTO t VALUES (?)"),
        ("SELECT $tag$ pass'word $tag$, E'a\\'b', \"Col 1\" FROM t", 'SELECT ?, ?, "Col 1" FROM t'),
        ("ALTER ROLE ada PASSWORD 'hunter2'", "alter role …"),
        ("create user mapping for u server s options (password 'x')", "create user …"),
        ("SELECT 'cut in the mid", "SELECT ?"),
        ("SELECT 'cut \\", "SELECT ?"),
        ("SELECT E'cut \\", "SELECT ?"),
        ("SELECT 'a backslash\\', 'pass word'", "SELECT ?, ?"),
        ("SELECT '" + "a" * 50 + "' , " + "b, " * 200, None),
    ],
)
def test_normal_forms(text: str, normal: str | None) -> None:
    assert normal is None or normalise(text) == normal
    assert len(normalise(text)) <= 200


@given(st.text(max_size=60), st.integers(0, 10**12), st.integers(1, 20))
def test_no_constant_survives_and_lists_of_any_length_are_one(secret: str, number: int, length: int) -> None:
    quoted = secret.replace("'", "''")
    values = ", ".join(["'" + quoted + "'"] * length)
    text = f"SELECT a FROM t WHERE a IN ({values}) AND b = {number}"
    assert normalise(text) == "SELECT a FROM t WHERE a IN (?) AND b = ?"
    assert re.fullmatch(r"[0-9a-f]{16}", query_id(text))


@given(st.text(max_size=300))
def test_normal_forms_are_short_and_final(text: str) -> None:
    once = normalise(text)
    assert len(once) <= 200
    assert "\n" not in once


async def test_statements_of_one_normal_form_are_added_up_and_texts_are_asked_for_once() -> None:
    numbers = dict.fromkeys(("plan_seconds", "hit", "read", "dirtied", "written", "temporary"), 0)
    numbers |= {"read_seconds": 0, "write_seconds": 0, "wal_bytes": None, "all_statements": 3, "all_calls": 9}
    numbers |= {"all_seconds": 4.0, "all_rows": 7, "datname": "app"}
    rows = [
        {**numbers, "queryid": 1, "calls": 2, "seconds": 1.0, "rows": 3},
        {**numbers, "queryid": 2, "calls": 5, "seconds": 2.0, "rows": 4},
        {**numbers, "queryid": 3, "calls": 1, "seconds": 0.5, "rows": 0},
    ]
    texts = [
        {"queryid": 1, "query": "SELECT a FROM t WHERE a IN ($1, $2)"},
        {"queryid": 2, "query": "SELECT a FROM t WHERE a IN ($1, $2, $3)"},
        {"queryid": 3, "query": "<insufficient privilege>"},
    ]

    class Answers:
        def __init__(self) -> None:
            self.asked: list[str] = []

        async def fetch(self, name: str, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
            assert '"odd""schema".pg_stat_statements' in sql
            self.asked.append(name)
            return rows if name == "statements" else texts

        async def close(self) -> None:
            return

    probe, server = Statements(), Answers()
    outcome = await probe.read(server, FACTS)
    assert await probe.read(server, FACTS) == outcome
    assert server.asked == ["statements", "statement_texts", "statements"]
    calls = {s.labels[2]: s.value for s in outcome.samples if s.metric == "postgresql.query.calls"}
    assert calls == {"SELECT a FROM t WHERE a IN (?)": 7, "<hidden>": 1}
    assert {s.value for s in outcome.samples if s.metric == "postgresql.queries.named_share"} == {3.5 / 4}
    rows.clear()
    empty = {s.metric: s for s in (await probe.read(server, FACTS)).samples}
    assert empty["postgresql.queries.named_share"].value is None
    assert empty["postgresql.queries.known"].value == 0


graphs = st.dictionaries(st.integers(1, 12), st.sets(st.integers(1, 12), min_size=1, max_size=3), max_size=10)


@given(graphs)
def test_every_waiting_session_is_behind_somebody_and_roots_wait_for_nobody(graph: dict[int, set[int]]) -> None:
    waits = {pid: others - {pid} for pid, others in graph.items() if others - {pid}}
    trees = blocking_trees(waits)
    assert {pid for tree in trees for pid in (*tree.blocked, tree.root)} >= waits.keys()
    for tree in trees:
        reached, level, depth = {tree.root}, {tree.root}, -1
        while level:  # sessions behind the root, by going through all waits again and again
            level = {pid for pid, others in waits.items() if others & level} - reached
            reached |= level
            depth += 1
        assert tree.blocked == reached - {tree.root}
        assert tree.depth == depth
        if tree.root in waits:  # only a circle, or what waits for one, has no root that runs
            assert tree.root in reached
    assert list(trees) == sorted(trees, key=lambda tree: (-len(tree.blocked), tree.root))


def test_a_chain_and_a_deadlock() -> None:
    (chain,) = blocking_trees({2: [1], 3: [2], 4: [2]})
    assert (chain.root, chain.depth, chain.blocked) == (1, 2, {2, 3, 4})
    (circle,) = blocking_trees({5: [6], 6: [5]})
    assert (circle.root, circle.depth) == (5, 1)


def test_a_long_wait_is_critical_and_names_who_blocks() -> None:
    rows = [
        {"pid": 7, "blockers": [5], "waited": 90, "state": None, "application": None},
        {"pid": 5, "blockers": None, "waited": None, "state": "idle in transaction", "application": "billing"},
    ]
    (finding,) = Blocking().derive(rows).findings
    assert finding.severity is Severity.CRITICAL
    assert dict(finding.labels) == {"pid": "5", "application": "billing", "state": "idle in transaction"}
    assert Blocking().derive([]).findings == ()
