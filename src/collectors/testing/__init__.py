"""The public test kit: whether a collector keeps the contract, and clocks and recorders for tests of your own."""

from collectors.contract.example import Example
from collectors.testing.clock import JumpingClock, ManualClock, settle
from collectors.testing.contract import (
    COLLECTOR_CHECKS,
    BoundCheck,
    Gap,
    GapKind,
    Gaps,
    check_collector,
    check_gaps,
    collector_checks,
    yield_checks,
)
from collectors.testing.faults import Fault, FaultyDriver, FaultyLake, always, sometimes
from collectors.testing.golden import check_golden, golden_cases, render
from collectors.testing.lake import ExampleLake
from collectors.testing.sink_contract import check_sink, sink_checks
from collectors.testing.sink_target import Arrival, HttpTarget, SinkTarget, Trouble
from collectors.testing.subject import CheckFailed, RecordingEmit

__all__ = [
    "COLLECTOR_CHECKS",
    "Arrival",
    "BoundCheck",
    "CheckFailed",
    "Example",
    "ExampleLake",
    "Fault",
    "FaultyDriver",
    "FaultyLake",
    "Gap",
    "GapKind",
    "Gaps",
    "HttpTarget",
    "JumpingClock",
    "ManualClock",
    "RecordingEmit",
    "SinkTarget",
    "Trouble",
    "always",
    "check_collector",
    "check_gaps",
    "check_golden",
    "check_sink",
    "collector_checks",
    "golden_cases",
    "render",
    "settle",
    "sink_checks",
    "sometimes",
    "yield_checks",
]
