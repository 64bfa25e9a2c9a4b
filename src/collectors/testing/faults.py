"""Sources that fail on purpose: a stand-in before a real driver or lake that answers, refuses, or says nothing."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from collectors.contract.collector import TenantLake
from collectors.errors import CollectorsError, PermanentError, SourceRefused, SourceUnavailable, StorageUnavailable

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa


class Fault(StrEnum):
    """How a source fails."""

    UNAVAILABLE = "unavailable"
    REFUSED = "refused"
    HANGING = "hanging"


Plan = Callable[[], Fault | None]
"""Says of each call how it fails, None if it is answered."""


def always(fault: Fault) -> Plan:
    """Fail every call."""
    return lambda: fault


def sometimes(*faults: Fault, seed: int) -> Plan:
    """Fail about every second call, the same ones each time."""
    chance = random.Random(seed)  # noqa: S311  # which call fails is no secret
    return lambda: chance.choice(faults) if faults and chance.random() < 0.5 else None


class FaultyDriver:
    """A driver whose calls fail by plan; ``close`` never does. A call that does not wait can't hang, so it answers."""

    def __init__(self, driver: Any, plan: Plan) -> None:
        self._driver = driver
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if name == "close" or not callable(found):
            return found
        if not inspect.iscoroutinefunction(found):

            def call(*args: Any, **named: Any) -> Any:
                _raise(self._plan(), SourceUnavailable, SourceRefused)
                return found(*args, **named)

            return call

        async def wait(*args: Any, **named: Any) -> Any:
            await _fail(self._plan(), SourceUnavailable, SourceRefused)
            return await found(*args, **named)

        return wait


class FaultyLake:
    """A lake whose queries fail by plan."""

    def __init__(self, lake: TenantLake, plan: Plan) -> None:
        self._lake = lake
        self._plan = plan

    async def query(self, expression: ir.Table) -> pa.Table:
        """Run an Ibis expression over ``contract.tables`` and return its rows, unless the plan says otherwise."""
        await _fail(self._plan(), StorageUnavailable, PermanentError)
        return await self._lake.query(expression)


async def _fail(fault: Fault | None, unavailable: type[CollectorsError], refused: type[CollectorsError]) -> None:
    if fault is Fault.HANGING:
        await asyncio.get_running_loop().create_future()
    _raise(fault, unavailable, refused)


def _raise(fault: Fault | None, unavailable: type[CollectorsError], refused: type[CollectorsError]) -> None:
    if fault is Fault.UNAVAILABLE:
        raise unavailable("the source does not answer; look whether it runs")
    if fault is Fault.REFUSED:
        raise refused("the source said no; give it an account that may read")
