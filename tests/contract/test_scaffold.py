"""What ``make new-collector`` writes works and keeps the contract before a line of it is changed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from tools import new_collector

from collectors.testing import CheckFailed, check_golden, yield_checks


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "x"\n\n{new_collector.ENTRY_POINTS}nop = "a:B"\n')
    monkeypatch.setattr(new_collector, "ROOT", tmp_path)
    return tmp_path


def scaffold(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["new_collector", *arguments])
    return new_collector.main()


@pytest.mark.parametrize("family", new_collector.KINDS)
def test_a_scaffolded_collector_passes_every_check(family, project, monkeypatch) -> None:
    name = f"brand_new_{family}"
    assert scaffold(monkeypatch, name, family) == 0
    source = project / "src" / "collectors" / "catalog" / family / f"{name}.py"
    monkeypatch.syspath_prepend(str(source.parent))
    module = importlib.import_module(name)
    monkeypatch.setitem(sys.modules, name, module)  # so that it is gone after the test
    cls = getattr(module, f"BrandNew{family.capitalize()}Collector")
    golden = project / "tests" / "golden"
    for check in yield_checks(cls, golden=golden, lookup=lambda _: cls):
        check()
    check_golden(cls, golden)
    line = f'{name} = "collectors.catalog.{family}.{name}:{cls.__name__}"\n'
    assert f'{new_collector.ENTRY_POINTS}{line}nop = "a:B"\n' in (project / "pyproject.toml").read_text()


def test_nothing_is_overwritten(project, monkeypatch, capsys) -> None:
    assert scaffold(monkeypatch, "disk_latency", "performance") == 0
    before = (project / "pyproject.toml").read_text()
    assert scaffold(monkeypatch, "disk_latency", "performance") == 2
    assert "exists already" in capsys.readouterr().out
    assert (project / "pyproject.toml").read_text() == before


@pytest.mark.parametrize(
    "arguments", [(), ("disk_latency",), ("disk_latency", "poetry"), ("Disk-Latency", "ml"), ("class", "ml")]
)
def test_what_cannot_be_a_collector_is_refused(arguments, project, monkeypatch, capsys) -> None:
    assert scaffold(monkeypatch, *arguments) == 2
    assert "disk_latency" in capsys.readouterr().out
    assert not (project / "src").exists()


def test_a_golden_case_that_is_no_longer_true_says_which_line(project, monkeypatch) -> None:
    assert scaffold(monkeypatch, "watched", "security") == 0
    monkeypatch.syspath_prepend(str(project / "src" / "collectors" / "catalog" / "security"))
    module = importlib.import_module("watched")
    monkeypatch.setitem(sys.modules, "watched", module)
    golden = project / "tests" / "golden"
    expected = golden / "watched" / "typical" / "expected.jsonl"
    right = expected.read_text()
    expected.write_text(right.replace("3}", "4}"))
    with pytest.raises(CheckFailed, match=r"line 1: .*4\}; it is now: .*3\}.*make golden UPDATE=1"):
        check_golden(module.WatchedCollector, golden)
    check_golden(module.WatchedCollector, golden, update=True)
    assert expected.read_text() == right
    stranger = golden / "watched" / "gone"
    stranger.mkdir()
    (stranger / "expected.error").write_text("overloaded\n")
    with pytest.raises(CheckFailed, match="watched/gone expects something of an example that does not exist"):
        check_golden(module.WatchedCollector, golden)
    (golden / "watched" / "typical" / "expected.jsonl").unlink()
    with pytest.raises(CheckFailed, match=r"has no expected\.jsonl"):
        check_golden(module.WatchedCollector, golden)
