"""A source that does not answer, says no, hangs, answers rubbish, or does all of it in turn."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from structlog.testing import capture_logs

from collectors.config.collector import CollectorConfig
from collectors.errors import CollectorsError, RetryableError
from collectors.model.metric import Collection
from collectors.model.status import State
from collectors.testing.check import check, collects, has_source
from collectors.testing.clock import settle
from collectors.testing.compare import difference
from collectors.testing.faults import Fault, Plan, always, sometimes
from collectors.testing.subject import CheckFailed, RecordingEmit, Subject, expect, quietly

_RUNS = 3
_DEADLINE = 0.05
_UNTIL_ANY_BREAKER_TRIES = 3600.0
_SCENARIOS: Mapping[str, tuple[Fault, ...]] = {
    "always answers": (),
    "now and then does not answer": (Fault.UNAVAILABLE,),
    "now and then says no": (Fault.REFUSED,),
    "does either": (Fault.UNAVAILABLE, Fault.REFUSED),
}


@check(has_source)
async def an_unavailable_source_is_retryable(subject: Subject) -> None:
    """If the source does not answer, the run fails with a retryable error or tells issues."""
    error, collection = await _outcome(subject, always(Fault.UNAVAILABLE))
    if error is None:
        expect(collection.issues, "the source did not answer, and it says nothing of it; raise, or return an Issue")
    else:
        expect(
            isinstance(error, RetryableError),
            f"the source did not answer, and it raised {error!r}; let SourceUnavailable pass, to be tried again",
        )


@check(has_source)
async def a_source_that_says_no_is_told(subject: Subject) -> None:
    """If the source refuses, the run fails with an error of the tree or tells issues."""
    error, collection = await _outcome(subject, always(Fault.REFUSED))
    if error is None:
        expect(collection.issues, "the source said no, and it says nothing of it; raise, or return an Issue")
    else:
        expect(
            isinstance(error, CollectorsError),
            f"the source said no, and it raised {error!r}; let SourceRefused pass, so that a person reads why",
        )


@check(has_source)
async def a_hanging_source_is_cut_off(subject: Subject) -> None:
    """If the source says nothing, the runner's deadline ends the run, and the collector goes along."""
    usual = await subject.collected()
    config = _quick(subject)
    emit = RecordingEmit()
    async with subject.bench() as bench:
        collector = bench.make(config=config, plan=always(Fault.HANGING))
        runner = bench.runner(collector, emit)
        with capture_logs():
            run = asyncio.ensure_future(runner.run_once())
            await asyncio.wait({run}, timeout=20 * _DEADLINE)
            late = not run.done()
            while not run.done():  # it may swallow more than one
                run.cancel()
                await settle()
            expect(not late, "the source hung, and the run did not end at its deadline; let CancelledError pass")
        status = runner.status()
        if status.failures == 0 and difference(usual, emit.collections[0]):  # else no call waited, so none hung
            expect(status.issues, "the source hung, and it says nothing of it; let CancelledError pass")


@check(has_source)
async def every_run_is_accounted_for(subject: Subject) -> None:
    """Runs are collections plus failures, no result comes twice, and it recovers when the source does."""
    usual = 0
    for number, (scenario, faults) in enumerate(_SCENARIOS.items()):
        plan = _Switch(sometimes(*faults, seed=number))
        emit = RecordingEmit()
        async with subject.bench() as bench:
            collector = bench.make(plan=plan)
            runner = bench.runner(collector, emit)
            with capture_logs():
                for _ in range(_RUNS):
                    await runner.run_once()
                plan.on = False
                bench.clock.jump(_UNTIL_ANY_BREAKER_TRIES)
                await runner.run_once()
            status = runner.status()
        where = f"on a source that {scenario}"
        told = status.failures + len(emit.collections)
        expect(status.runs == told, f"{where}, {status.runs} runs led to {told} outcomes")
        most = max((len(collection.samples) for collection in emit.collections), default=0)
        usual = usual if faults else most
        expect(most <= usual, f"{where}, a run brings more samples than otherwise; forget what a failed run found")
        expect(
            status.state is State.RUNNING,
            f"{where}, it does not recover ({status.last_error}); keep nothing of a failed run",
        )


@check(lambda subject: collects(subject) and bool(subject.example.files))
async def rubbish_is_told(subject: Subject) -> None:
    """Whatever a recorded text is replaced by, the run ends in a collection or an error of the tree."""
    chance = random.Random(7)  # noqa: S311  # rubbish is no secret
    async with subject.bench() as bench:
        folder = bench.folder()
        for name, text in subject.example.files.items():
            for what, rubbish in _rubbish(text, chance).items():
                (folder / name).write_text(rubbish)
                collector = bench.make(folder=folder)
                error = await quietly(lambda c=collector: bench.run(c))  # type: ignore[misc]
                expect(
                    error is None or isinstance(error, CollectorsError),
                    f"with {name} {what} it raised {error!r}; make it an Issue, or raise SourceUnavailable",
                )
                await collector.close()
            (folder / name).write_text(text)


@check(lambda subject: has_source(subject) and bool(subject.secrets))
async def errors_tell_no_secret(subject: Subject) -> None:
    """No secret setting is in an error or in the log, whatever fails."""
    for fault in (Fault.UNAVAILABLE, Fault.REFUSED):
        async with subject.bench() as bench:
            runner = bench.runner(bench.make(plan=always(fault)), RecordingEmit())
            with capture_logs() as logs:
                await runner.run_once()
            shown = f"{logs} {runner.status()}"
        told = [key for key, value in subject.secrets.items() if value in shown]
        expect(not told, f"{', '.join(told)} can be read in an error or the log; say what to do without quoting it")


class _Switch:
    """A plan that can be ended."""

    def __init__(self, plan: Plan) -> None:
        self.on = True
        self._plan = plan

    def __call__(self) -> Fault | None:
        return self._plan() if self.on else None


async def _outcome(subject: Subject, plan: Plan) -> tuple[BaseException | None, Collection]:
    """Return what a run raised, or its collection."""
    async with subject.bench() as bench:
        collector = bench.make(plan=plan)
        got: list[Collection] = []

        async def run() -> None:
            got.append(await bench.run(collector))

        error = await quietly(run)
        if isinstance(error, CheckFailed):
            raise error
        return error, got[0] if got else Collection()


def _quick(subject: Subject) -> CollectorConfig:
    return subject.config.model_copy(update={"timeout_seconds": _DEADLINE})


def _rubbish(text: str, chance: random.Random) -> dict[str, Any]:
    printable = "".join(chance.choice("0123456789 abcXYZ\n:-/.\t\x00é") for _ in range(len(text) or 10))
    return {
        "empty": "",
        "cut in half": text[: len(text) // 2],
        "full of noise": printable,
        "with negative numbers": text.replace(" ", " -"),
    }
