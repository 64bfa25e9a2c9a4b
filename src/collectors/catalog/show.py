"""Show one real collection of a sampling collector, for its module's ``__main__``."""

from __future__ import annotations

import asyncio
from typing import Any

from rich.console import Console
from rich.table import Table

from collectors.contract.collector import Sampling
from collectors.model.metric import Collection, Window


async def collect_once(collector: Sampling[Any], seconds: float = 1.0) -> Collection:
    """Open, let ``seconds`` pass so that there is something to measure, collect, close."""
    clock = collector.context.clock
    try:
        await collector.open()
        start = clock.now_us()
        await clock.sleep(seconds)
        return await collector.collect(Window(start, clock.now_us()))
    finally:
        await collector.close()


def table(collector: Sampling[Any], collection: Collection) -> Table:
    """Lay a collection out as a table: metric, labels, value or why there is none, unit."""
    specs = {spec.name: spec for spec in collector.emits}
    rows = Table("metric", "labels", "value", "unit", title=f"{collector.name}: {len(collection.samples)} samples")
    rows.columns[2].justify = "right"
    for s in collection.samples:
        keys = (key.rpartition(".")[2] for key in specs[s.metric].labels)
        labels = " ".join(f"{key}={value}" for key, value in zip(keys, s.labels, strict=True))
        rows.add_row(s.metric, labels, s.reason if s.value is None else f"{s.value:,.6g}", specs[s.metric].unit)
    for issue in collection.issues:
        rows.add_row(f"issue: {issue.code}", issue.item, issue.message, "", style="yellow")
    return rows


def show(collector: Sampling[Any]) -> None:
    """Print one collection."""
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table(collector, asyncio.run(collect_once(collector))))
