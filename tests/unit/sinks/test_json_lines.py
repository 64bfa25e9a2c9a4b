from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path

import pytest
from tests.support.sinks import START_US, inline, sample, samples, span

from collectors.config import sinks as config
from collectors.contract.sink import SinkBatch, SinkContext
from collectors.errors import LifecycleError, StorageUnavailable
from collectors.sinks.json_lines import JsonLinesSink
from collectors.testing import ManualClock


def made(folder: Path, clock: ManualClock | None = None, **given) -> JsonLinesSink:
    settings = config.JsonLinesSink(folder=folder, **given)
    return JsonLinesSink(settings, SinkContext(clock or ManualClock(START_US), {}, inline))


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def only(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


async def test_lines_say_everything_and_undefined_values_say_why(tmp_path: Path) -> None:
    sink = made(tmp_path)
    await sink.open()
    receipt = await sink.write(SinkBatch("b1", (sample(1), sample(2, value=None)), (span(3, error="no"),)))
    await sink.close()
    assert receipt.delivered == 3
    file = only(tmp_path)
    first, second, third = map(json.loads, file.read_text().splitlines())
    assert first == {
        "batch": "b1",
        "item": 0,
        "tenant": "acme",
        "metric": "zoo.level",
        "kind": "gauge",
        "unit": "1",
        "labels": {"tank": "north"},
        "time": START_US + 1000,
        "value": 0.5,
    }
    assert (second["value"], second["reason"], second["item"]) == (None, "the tank is gone", 1)
    assert (third["name"], third["trace"], third["error"], third["item"]) == ("load", f"{3:032x}", "no", 2)


async def test_files_are_closed_when_large_or_the_day_ends_and_the_oldest_go(tmp_path: Path) -> None:
    clock = ManualClock(START_US)
    (tmp_path / "samples-mine.jsonl").write_text("keep me")
    sink = made(tmp_path, clock, file_bytes=1024, files=3)
    await sink.open()
    for n in range(3):
        await sink.write(SinkBatch(str(n), samples(n, 10)))
    assert names(tmp_path)[:-1] == [f"samples-20231114-{n:06d}.jsonl" for n in (1, 2, 3)]
    clock.jump(86_400)
    await sink.write(SinkBatch("next", samples(0, 1)))
    await sink.close()
    assert names(tmp_path) == [
        "samples-20231114-000002.jsonl",
        "samples-20231114-000003.jsonl",
        "samples-20231115-000004.jsonl",
        "samples-mine.jsonl",
    ]


@pytest.mark.parametrize("torn", [b'{"batch": "to', b"x" * 200_000])
async def test_after_a_crash_it_goes_on_behind_the_last_whole_line(torn: bytes, tmp_path: Path) -> None:
    sink = made(tmp_path)
    await sink.open()
    await sink.write(SinkBatch("a", samples(0, 1)))
    await sink.close()
    file = only(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole + torn)
    again = made(tmp_path)
    await again.open()
    assert file.read_bytes() == whole
    await again.write(SinkBatch("b", samples(1, 1)))
    await again.close()
    assert [json.loads(line)["batch"] for line in file.read_text().splitlines()] == ["a", "b"]
    file.write_bytes(torn)
    await again.open()
    await again.close()
    assert file.read_bytes() == b""


async def test_of_a_batch_that_does_not_fit_nothing_stays(tmp_path: Path, monkeypatch) -> None:
    sink = made(tmp_path)
    await sink.open()
    await sink.write(SinkBatch("a", samples(0, 1)))
    file = only(tmp_path)
    before = file.read_bytes()

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageUnavailable, match="No space left"):
        await sink.write(SinkBatch("b", samples(1, 5)))
    assert file.read_bytes() == before
    await sink.close()


async def test_a_file_that_takes_little_at_a_time_gets_everything(tmp_path: Path) -> None:
    class Narrow(io.FileIO):
        def write(self, content) -> int:
            return super().write(bytes(content[:100]))

    sink = made(tmp_path)
    await sink.open()
    path = Path(sink._file.name)
    sink._file.close()
    sink._file = Narrow(path, "a+")
    await sink.write(SinkBatch("a", samples(0, 20)))
    await sink.close()
    assert len(lines_of(path)) == 20


async def test_a_write_that_was_given_up_does_not_write_into_another_file(tmp_path: Path) -> None:
    sink = made(tmp_path)
    await sink.open()
    await sink.close()
    with pytest.raises(LifecycleError, match="closed while it wrote"):
        sink._append(SinkBatch("late", samples(0, 1)))
