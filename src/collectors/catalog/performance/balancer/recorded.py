"""A balancer and targets that answer from files, for examples."""

from __future__ import annotations

from pathlib import Path

import orjson

from collectors.catalog.performance.balancer.model import Texts
from collectors.drivers.health_check import Outcome, Probe
from collectors.errors import SourceUnavailable

_CHECKS = "checks.json"


class RecordedBalancer:
    """Answers with the files of a folder, by path without ``.json`` and ``.txt``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def read(self) -> Texts:
        """Return all texts; ``SourceUnavailable`` if there is none."""
        files = sorted(path for path in self._folder.rglob("*") if path.is_file() and path.name != _CHECKS)
        if not files:
            raise SourceUnavailable("nothing was recorded of this balancer")
        return {str(path.relative_to(self._folder).with_suffix("")): path.read_text() for path in files}

    async def close(self) -> None:
        """Do nothing."""


class RecordedChecker:
    """Passes the targets whose URL ``checks.json`` gives seconds for, and fails the others."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / _CHECKS

    async def check(self, probe: Probe) -> Outcome:
        """Return what was recorded."""
        try:
            seconds = orjson.loads(self._file.read_bytes())[probe.url] if self._file.exists() else None
        except (orjson.JSONDecodeError, LookupError, TypeError):
            seconds = None
        return Outcome(passed=True, seconds=seconds) if isinstance(seconds, float) else Outcome(False, 0.0, "recorded")

    async def close(self) -> None:
        """Do nothing."""
