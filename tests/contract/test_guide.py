"""The guide's code runs, and the collector in it keeps the contract."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from collectors.testing import COLLECTOR_CHECKS
from collectors.testing.contract import _GROUPS

GUIDE = (Path(__file__).parents[2] / "docs" / "writing-collectors.md").read_text()


def test_the_guides_collector_passes_the_checks_it_shows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "queue_depth.py"  # a file, from which pydantic reads what settings mean
    source.write_text("\n\n".join(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)))
    module = ModuleType("queue_depth")
    module.__file__ = str(source)
    monkeypatch.setitem(sys.modules, "queue_depth", module)
    exec(compile(source.read_text(), str(source), "exec"), vars(module))
    assert len(module.test_it_keeps_the_contract.pytestmark[0].args[1]) > 90


def test_the_guide_names_every_group_of_checks() -> None:
    groups = re.findall(r"^\| (\w+) \| ", GUIDE.partition("| group |")[2], re.MULTILINE)
    assert groups == [group.__name__.rpartition(".")[2] for group in _GROUPS]
    assert len(COLLECTOR_CHECKS) > 50
