"""The kit itself: its clocks, its ledger of gaps, its faults, and what it costs to load."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collectors.contract import registry
from collectors.contract.example import Example
from collectors.errors import SourceRefused, SourceUnavailable
from collectors.model.metric import Collection, Finding, Issue, Sample, Severity, Window
from collectors.testing import (
    BoundCheck,
    CheckFailed,
    Fault,
    FaultyDriver,
    Gap,
    GapKind,
    JumpingClock,
    ManualClock,
    always,
    check_collector,
    check_gaps,
    collector_checks,
    golden_cases,
    render,
    settle,
    sometimes,
    yield_checks,
)
from collectors.testing.check import Check
from collectors.testing.compare import difference
from collectors.testing.guard import Holdings, touched
from collectors.testing.subject import Subject
from tests.contract.zoo import bad_shape  # noqa: F401  # fills the zoo
from tests.contract.zoo.bad_conduct import Translating
from tests.contract.zoo.cage import ZOO
from tests.contract.zoo.tame_sampler import TameSampler
from tests.contract.zoo.tame_streamer import TameStreamer

REASON = "It is this way for a good reason."


def test_loading_the_kit_loads_no_engine_and_no_pytest() -> None:
    code = (
        "import sys, collectors.testing; print(sorted({'ibis', 'duckdb', 'pytest', 'hypothesis'} & sys.modules.keys()))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


# --- one call for a stranger ------------------------------------------------------------------------------------------


def registered(cls: type, monkeypatch: pytest.MonkeyPatch) -> type:
    monkeypatch.setattr(registry, "_found", lambda: {cls.name: _Point(cls)})
    return cls


class _Point:
    def __init__(self, cls: type) -> None:
        self.value = f"{cls.__module__}:{cls.__name__}"
        self.load = lambda: cls


def test_one_call_is_silent_about_a_good_collector(monkeypatch) -> None:
    check_collector(registered(TameSampler, monkeypatch))


def test_one_call_lists_everything_that_is_wrong(monkeypatch) -> None:
    cls = registered(ZOO["series_are_distinct"], monkeypatch)
    with pytest.raises(CheckFailed) as told:
        check_collector(cls)
    lines = str(told.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"tame_sampler[{example}]-series_are_distinct" for example in ("two_tanks", "dry")
    ]
    assert "zoo.readings" in lines[0]


def test_a_known_gap_may_fail_but_must(monkeypatch) -> None:
    cls = registered(ZOO["series_are_distinct"], monkeypatch)
    gap = Gap(GapKind.NEVER, REASON)
    check_collector(cls, gaps={"tame_sampler": {"series_are_distinct": gap}})
    registered(TameStreamer, monkeypatch)
    with pytest.raises(CheckFailed, match="it passes now; take it from the known gaps"):
        check_collector(TameStreamer, gaps={"tame_streamer": {"series_are_distinct": gap}})


def test_a_gap_has_a_reason_and_if_it_can_be_closed_an_issue() -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        Gap(GapKind.NEVER, "because")
    with pytest.raises(ValueError, match="needs the issue"):
        Gap(GapKind.OURS, REASON)
    assert Gap(GapKind.UPSTREAM, REASON, "driver#12").issue == "driver#12"


def test_gaps_of_nobody_or_in_nothing_are_refused() -> None:
    gap = Gap(GapKind.NEVER, REASON)
    with pytest.raises(ValueError, match="a collector 'nobody'"):
        check_gaps({"nobody": {}}, ["nop"])
    with pytest.raises(ValueError, match="a check 'no_such_check'"):
        check_gaps({"nop": {"no_such_check": gap}}, ["nop"])


def test_the_decorator_names_tests_readably_and_marks_gaps_strict() -> None:
    gaps = {"tame_streamer": {"close_is_idempotent": Gap(GapKind.NEVER, REASON)}}
    mark = collector_checks([TameStreamer], gaps=gaps)
    parameters = mark.mark.args[1]
    found = next(p for p in parameters if p.id == "tame_streamer[evening]-close_is_idempotent")
    assert found.marks[0].kwargs == {"reason": f"never: {REASON}", "raises": CheckFailed, "strict": True}
    assert sum(bool(p.marks) for p in parameters) == 1


def test_checks_of_one_example_leave_the_others_out() -> None:
    two, dry, rusty = TameSampler.examples()
    assert {b.subject.example.name for b in yield_checks(TameSampler, dry)} == {"dry"}
    assert {b.check.name for b in yield_checks(TameSampler, rusty)} >= {"fails_as_the_example_says"}
    assert "rubbish_is_told" not in {b.check.name for b in yield_checks(TameSampler, rusty)}
    assert "config_is_frozen" in {b.check.name for b in yield_checks(TameSampler, two)}


def test_a_check_that_never_ends_is_ended(monkeypatch) -> None:
    monkeypatch.setattr("collectors.testing.contract.CHECK_SECONDS", 0.01)

    async def run(_: Subject) -> None:
        await asyncio.get_running_loop().create_future()

    example = next(iter(TameSampler.examples()))
    bound = BoundCheck(Check("waits", "", run, lambda _: True, once=False), Subject(TameSampler, example, (example,)))
    with pytest.raises(CheckFailed, match="did not end within"):
        bound()


def test_a_collector_without_input_is_told_what_to_paste(monkeypatch) -> None:
    cls = ZOO["brings_an_example_with_input"]
    check = next(b for b in yield_checks(cls, lookup=lambda _: cls) if b.check.name == "brings_an_example_with_input")
    with pytest.raises(CheckFailed) as told:
        check()
    assert "def examples(cls) -> Iterable[Example]:" in str(told.value)
    assert "def recorded(cls, folder: Path)" in str(told.value)


class Silent(Translating):
    """Report the levels of a few tanks."""

    async def collect(self, window: Window) -> Collection:
        try:
            return await super().collect(window)
        except (SourceUnavailable, SourceRefused):
            return Collection()


class Undying(TameSampler):
    """Report the levels of a few tanks."""

    async def collect(self, window: Window) -> Collection:
        for _ in range(5):
            try:
                return Collection((Sample("zoo.readings", len(await self._gauge.read())),))
            except asyncio.CancelledError:
                continue
        return Collection()


def told(cls: type, *checks: str) -> dict[str, str]:
    """Return what these checks say on the first example."""
    found = {}
    for bound in yield_checks(cls, next(iter(cls.examples()))):
        if bound.check.name in checks:
            with pytest.raises(CheckFailed) as failed:
                bound()
            found[bound.check.name] = str(failed.value)
    return found


def test_a_collector_that_hides_failures_is_told_so() -> None:
    found = told(Silent, "an_unavailable_source_is_retryable", "a_source_that_says_no_is_told", "a_failure_is_told")
    assert ["says nothing of it" in text or "neither failures nor issues" in text for text in found.values()] == [
        True
    ] * 3


def test_a_collector_that_outlives_its_deadline_is_told_so() -> None:
    found = told(Undying, "a_hanging_source_is_cut_off")
    assert "did not end at its deadline" in found["a_hanging_source_is_cut_off"]


# --- examples and golden cases ----------------------------------------------------------------------------------------


def test_an_example_needs_a_name_for_a_folder_and_a_time_zone() -> None:
    with pytest.raises(ValueError, match="lower_snake"):
        Example("Two Tanks")
    with pytest.raises(ValueError, match="time zone"):
        Example(end=datetime(2026, 1, 1))  # noqa: DTZ001  # that is what is refused
    assert not Example(events={"playback": ()}).has_input
    assert Example(files={"a": ""}).has_input


def test_a_recorded_case_has_config_events_files_and_an_error(tmp_path: Path) -> None:
    case = tmp_path / "tame_sampler" / "night"
    (case / "deep").mkdir(parents=True)
    (case / "config.toml").write_text('end = 2026-01-01T00:00:00Z\ntime_zone = "Asia/Tokyo"\n[config]\nlimit = 3\n')
    (case / "playback.ndjson").write_text('{"event_time": "2025-12-31T23:00:00Z", "track_id": "t", "ms_played": 1}\n')
    (case / "deep" / "tanks.txt").write_text("north 1")
    (case / "expected.error").write_text("source_unavailable\n")
    (found,) = golden_cases(TameSampler, tmp_path)
    assert found == Example(
        "night",
        {"limit": 3},
        {"playback": [{"event_time": datetime(2025, 12, 31, 23, tzinfo=UTC), "track_id": "t", "ms_played": 1}]},
        {"deep/tanks.txt": "north 1"},
        datetime(2026, 1, 1, tzinfo=UTC),
        "Asia/Tokyo",
        fails=SourceUnavailable,
    )


def test_expected_lines_are_cut_to_digits_that_all_machines_share() -> None:
    text = render(Collection((Sample("a.b", 0.1 + 0.2), Sample("a.c", None, ("x",), reason="none"))))
    assert (
        text == '{"metric": "a.b", "labels": [], "value": 0.3}\n{"metric": "a.c", "labels": ["x"], "reason": "none"}\n'
    )


# --- clocks, faults, guards -------------------------------------------------------------------------------------------


async def test_a_manual_clock_wakes_sleepers_in_order_and_forgets_cancelled_ones() -> None:
    clock, woken = ManualClock(0), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.now_us(), clock.monotonic()))

    tasks = [asyncio.create_task(sleeper(s)) for s in (3, 1, 2, 9)]
    await settle()
    tasks[2].cancel()
    await clock.advance(5)
    assert woken == [(1, 1_000_000, 1.0), (3, 3_000_000, 3.0)]
    assert (clock.now_us(), clock.monotonic()) == (5_000_000, 5.0)
    await clock.sleep(0)
    await clock.advance(5)
    assert [seconds for seconds, *_ in woken] == [1, 3, 9]


async def test_a_jumping_clock_never_waits() -> None:
    clock = JumpingClock(0)
    await clock.sleep(3600)
    await clock.sleep(-1)
    assert (clock.now_us(), clock.monotonic()) == (3_600_000_000, 3600.0)


class _Driver:
    size = 3

    async def ask(self, what: str) -> str:
        return what

    def look(self) -> int:
        return 1

    async def close(self) -> str:
        return "closed"


async def test_a_faulty_driver_fails_by_plan_but_always_closes() -> None:
    silent, stern = (FaultyDriver(_Driver(), always(f)) for f in (Fault.UNAVAILABLE, Fault.REFUSED))
    with pytest.raises(SourceUnavailable):
        await silent.ask("x")
    with pytest.raises(SourceRefused):
        stern.look()
    assert (silent.size, await stern.close()) == (3, "closed")
    hanging = FaultyDriver(_Driver(), always(Fault.HANGING))
    assert hanging.look() == 1
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(hanging.ask("x"), 0.001)
    well = FaultyDriver(_Driver(), sometimes(seed=1))
    assert (await well.ask("x"), well.look()) == ("x", 1)


def test_random_faults_are_the_same_each_time() -> None:
    one, other = (sometimes(Fault.UNAVAILABLE, Fault.REFUSED, seed=3) for _ in range(2))
    drawn = [one() for _ in range(40)]
    assert drawn == [other() for _ in range(40)]
    assert set(drawn) == {None, Fault.UNAVAILABLE, Fault.REFUSED}


async def test_what_is_touched_and_what_is_left_behind_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("")
    with touched() as seen:
        path.read_text()
    path.read_text()
    assert [line.split()[0] for line in seen] == ["open"]
    before = Holdings.now()
    assert await before.left() == []
    file = path.open()
    task = asyncio.create_task(asyncio.Event().wait(), name="forgotten")
    assert sorted(await before.left()) == [f"file {path}", "task forgotten"]
    task.cancel()
    file.close()


def test_two_collections_differ_where_it_matters() -> None:
    one = Collection((Sample("a.b", 1.0), Sample("a.c", None, reason="none")))
    assert difference(one, Collection(one.samples[::-1])) == ""
    assert difference(one, Collection((Sample("a.b", 1.0 + 1e-12), one.samples[1]))) == ""
    assert difference(one, Collection(one.samples[:1])) == "a.c is undefined (none) and missing"
    assert difference(one, Collection((*one.samples, one.samples[0]))) == "there are 2 samples and 3"
    found = Finding("skipped", "t", Severity.INFO, "It was skipped.")
    assert difference(Collection(findings=(found,)), Collection()).startswith("findings are [('skipped', 't')]")
    assert difference(Collection(issues=(Issue("odd", "It is odd."),)), Collection()) == "issues are ['odd'] and []"
