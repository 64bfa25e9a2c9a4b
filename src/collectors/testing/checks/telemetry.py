"""What the runner tells of a collector: which one it is, how often it ran, what came of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from structlog.testing import capture_logs

from collectors.model.status import State
from collectors.testing.check import check
from collectors.testing.faults import Fault, always
from collectors.testing.subject import TENANT, RecordingEmit, Subject, expect, observe


@check()
async def a_success_is_told(subject: Subject) -> None:
    """After a good run its status says so, with everything that was emitted."""
    config = subject.config.model_copy(update={"name": "of_a_user"})
    async with subject.bench() as bench:
        collector = bench.make(config=config)
        emit = RecordingEmit()
        runner = bench.runner(collector, emit)
        with capture_logs() as logs:
            observe(collector, bench.feed())
            await runner.run_once()
        emitted = sum(len(c.samples) for c in emit.collections)
        wanted: dict[str, Any] = {
            "name": "of_a_user",
            "tenant": TENANT,
            "state": State.RUNNING,
            "runs": 1,
            "failures": 0,
            "samples": emitted,
            "last_success_us": bench.clock.now_us(),
        }
        _agree(asdict(runner.status()), wanted, "a good run", logs)


@check(lambda subject: subject.has_source or subject.example.fails is not None)
async def a_failure_is_told(subject: Subject) -> None:
    """After a failed run its status says so, and the error is one that says what to do."""
    plan = always(Fault.UNAVAILABLE) if subject.example.fails is None else None
    async with subject.bench() as bench:
        collector = bench.make(plan=plan)
        runner = bench.runner(collector, RecordingEmit())
        with capture_logs() as logs:
            observe(collector, bench.feed())
            await runner.run_once()
        status = asdict(runner.status())
    if status["failures"] == 0:
        expect(status["issues"], f"after a failed source neither failures nor issues are counted: {_near(status)}")
    else:
        wanted = {"name": collector.instance_name, "tenant": TENANT, "state": State.FAILING, "runs": 1, "samples": 0}
        _agree(status, wanted, "a failed run", logs)
    expect(
        len(status["last_error"].split()) > 2, f"last_error says too little: {status['last_error']!r}; say what to do"
    )


def _agree(status: dict[str, Any], wanted: dict[str, Any], after: str, logs: list[Any]) -> None:
    """Compare a status with what it should say; a field of the right value under another name is a near miss."""
    for key, value in wanted.items():
        if status[key] != value:
            near = [k for k, v in status.items() if v == value and k not in wanted]
            hint = f"; {' or '.join(near)} says that" if near and value not in (0, "") else ""
            told = f"; the log says {[log.get('event') for log in logs][:3]}" if logs else ""
            expect(False, f"after {after}, {key} is {status[key]!r} and not {value!r}{hint}{told}")


def _near(status: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in status.items() if value)
