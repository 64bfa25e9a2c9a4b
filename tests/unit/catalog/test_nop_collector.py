"""The shortest collector, and the table that shows a collection."""

from __future__ import annotations

import runpy
import sys

import pytest
from rich.console import Console

from collectors.catalog.nop import NopCollector
from collectors.catalog.performance.system_performance import SystemPerformanceCollector
from collectors.catalog.show import collect_once, table
from collectors.contract.collector import CollectorContext
from collectors.drivers.procfs import Procfs
from collectors.model.metric import Collection, Issue, Sample, Window


async def test_nop_keeps_the_contract():
    collector = NopCollector()
    await collector.close()
    await collector.open()
    assert await collector.collect(Window(0, 1)) == Collection(samples=(Sample("collectors.nop.up", 1.0),))
    await collector.close()
    await collector.close()


@pytest.mark.parametrize(
    ("module", "metric"),
    [
        ("collectors.catalog.nop", "collectors.nop.up"),
        ("collectors.catalog.performance.system_performance", "system.memory.limit"),
    ],
)
def test_running_a_module_prints_a_collection(module, metric, capsys, monkeypatch):
    monkeypatch.setattr("collectors.clock.SystemClock.sleep", _no_time)
    monkeypatch.delitem(sys.modules, module)
    runpy.run_module(module, run_name="__main__")
    assert metric in capsys.readouterr().out


async def _no_time(*_: object) -> None:
    return


def test_table_shows_labels_reasons_and_issues():
    collector = SystemPerformanceCollector()
    collection = Collection(
        samples=(
            Sample("system.cpu.time", 1.5, ("user", "0")),
            Sample("container.cpu.usage", None, reason="no baseline"),
        ),
        issues=(Issue("absent", "gone", "memory"),),
    )
    console = Console(width=160, record=True, quiet=True)
    console.print(table(collector, collection))
    with console.capture() as capture:
        console.quiet = False
        console.print(table(collector, collection))
    text = capture.get()
    assert "mode=user logical_number=0" in text
    assert "no baseline" in text
    assert "issue: absent" in text


async def test_collect_once_closes_also_when_collecting_fails(tmp_path, monkeypatch):
    monkeypatch.setattr("collectors.clock.SystemClock.sleep", _no_time)
    files = Procfs(str(tmp_path), str(tmp_path), str(tmp_path))
    closed = []

    async def close() -> None:
        closed.append(True)

    monkeypatch.setattr(files, "close", close)
    with pytest.raises(Exception, match="needs a Linux host"):
        await collect_once(SystemPerformanceCollector(None, CollectorContext(drivers={"procfs": files})))
    assert closed == [True]
