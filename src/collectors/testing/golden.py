"""Golden cases: recorded input in a folder, and beside it what must come of it.

A case is a folder ``<collector>/<case>/``. ``config.toml`` may set ``end``, ``time_zone``, ``currency`` and, in
``[config]``, settings. ``<event type>.ndjson`` holds events, every other file is a text for drivers.
``expected.jsonl`` is the collection, one sample, finding or issue a line; ``expected.error`` the code of the error.
A case without ``config.toml`` holds only what is expected of the class's own example of that name.
"""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from collectors.contract.collector import BaseCollector
from collectors.contract.example import Example, Rows
from collectors.errors import CollectorsError
from collectors.model.event_types import EVENT_TYPES
from collectors.model.metric import Collection
from collectors.testing.subject import CheckFailed, Subject

_CONFIG = "config.toml"
_EXPECTED = "expected.jsonl"
_ERROR = "expected.error"
_DIGITS = 12


def golden_cases(cls: type[BaseCollector[Any]], root: Path) -> tuple[Example, ...]:
    """Return the cases of ``cls`` under ``root`` that bring their own input."""
    folders = sorted(path.parent for path in (root / cls.name).glob(f"*/{_CONFIG}"))
    return tuple(_example(folder) for folder in folders)


def check_golden(cls: type[BaseCollector[Any]], root: Path, *, update: bool = False) -> None:
    """Compare what each example and case leads to with what is expected; ``update`` rewrites that instead.

    Raises ``CheckFailed`` with the first line that differs.
    """
    examples = (*cls.examples(), *golden_cases(cls, root))
    for example in examples:
        outcome = asyncio.run(_outcome(Subject(cls, example, examples)))
        folder = root / cls.name / example.name
        for name in (_EXPECTED, _ERROR):
            path, text = folder / name, outcome.get(name)
            if update:
                _rewrite(path, text)
            else:
                _compare(path, text)
    strangers = sorted({p.parent.name for p in (root / cls.name).glob("*/expected.*")} - {e.name for e in examples})
    if strangers:
        raise CheckFailed(f"{cls.name}/{strangers[0]} expects something of an example that does not exist; remove it")


def render(collection: Collection) -> str:
    """Return a collection as JSON lines; numbers are cut to 12 digits, which every machine computes alike."""
    lines: list[dict[str, Any]] = []
    for sample in collection.samples:
        line: dict[str, Any] = {"metric": sample.metric, "labels": list(sample.labels)}
        line |= {"reason": sample.reason} if sample.value is None else {"value": _number(sample.value)}
        lines.append(line)
    lines += [{"finding": finding.rule, **asdict(finding)} for finding in collection.findings]
    lines += [{"issue": issue.code, "item": issue.item, "message": issue.message} for issue in collection.issues]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


async def _outcome(subject: Subject) -> dict[str, str]:
    """Return what is expected, by the name of its file."""
    async with subject.bench() as bench:
        try:
            return {_EXPECTED: render(await bench.run(bench.make()))}
        except CollectorsError as error:
            return {_ERROR: f"{error.code}\n"}


def _rewrite(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink(missing_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _compare(path: Path, text: str | None) -> None:
    where = f"{path.parent.parent.name}/{path.parent.name}"
    wanted = path.read_text() if path.exists() else None
    if wanted is None and text is not None:
        raise CheckFailed(f"{where} has no {path.name}; write it with `make golden UPDATE=1`, and read what it says")
    if wanted != text:
        old, new = (wanted or "").splitlines(), (text or "").splitlines()
        at = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        was, now = (lines[at] if at < len(lines) else "nothing" for lines in (old, new))
        raise CheckFailed(
            f"{where}/{path.name} says in line {at + 1}: {was}; it is now: {now}. "
            "Mend the collector, or rewrite with `make golden UPDATE=1`"
        )


def _example(folder: Path) -> Example:
    settings = tomllib.loads((folder / _CONFIG).read_text())
    events: dict[str, Rows] = {}
    files: dict[str, str] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if name.removesuffix(".ndjson") in EVENT_TYPES:
            events[name.removesuffix(".ndjson")] = [_row(json.loads(line)) for line in path.read_text().splitlines()]
        elif name not in (_CONFIG, _EXPECTED, _ERROR):
            files[name] = path.read_text()
    expected = folder / _ERROR
    fails = _error(expected.read_text().strip()) if expected.exists() else None
    return Example(folder.name, settings.pop("config", {}), events, files, fails=fails, **settings)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    times = {key: datetime.fromisoformat(row[key]) for key in row if key.endswith("_time") and row[key]}
    return {**row, **times}


def _error(code: str) -> type[CollectorsError]:
    return next(error for error in _tree(CollectorsError) if error.code == code)


def _tree(error: type[CollectorsError]) -> Iterator[type[CollectorsError]]:
    yield error
    for leaf in error.__subclasses__():
        yield from _tree(leaf)


def _number(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.{_DIGITS}g}")
