"""The documents say what is so: generated pages are fresh, links lead somewhere, examples run."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from tools.docs import PAGES

ROOT = Path(__file__).parent.parent
WRITTEN = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]


@pytest.mark.parametrize("name", [name for name in PAGES if name != "THIRD_PARTY_NOTICES.md"])
def test_a_generated_page_is_what_the_code_declares(name: str) -> None:
    assert (ROOT / name).read_text() == PAGES[name](), f"run `make docs`: {name} is out of date"


def test_every_package_of_the_product_has_a_notice_and_a_free_licence() -> None:
    rows = [line for line in PAGES["THIRD_PARTY_NOTICES.md"]().splitlines() if line.startswith("| ")]
    assert len(rows) > 60
    assert not [row for row in rows if re.search(r"\bA?GPL|BUSL|SSPL", row)]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_readmes_collector_example_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    example = next(b for b in blocks if "SystemPerformanceCollector" in b)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert "collector" in names


def test_the_architecture_names_files_that_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for name in re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", text):
        assert (ROOT / "src" / "collectors" / name).exists(), name


def test_the_scaffold_makes_a_collector_that_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tools import new_collector

    (tmp_path / "pyproject.toml").write_text('[project.entry-points."collectors.collectors"]\n')
    monkeypatch.setattr(new_collector, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["new_collector", "disk_latency", "performance"])
    assert new_collector.main() == 0
    assert new_collector.main() == 2, "an existing file is not overwritten"
    source = tmp_path / "src/collectors/catalog/performance/disk_latency.py"
    names: dict[str, object] = {"__name__": "scaffolded"}
    exec(compile(source.read_text(), str(source), "exec"), names)
    assert names["DiskLatencyCollector"].name == "disk_latency"  # type: ignore[attr-defined]
    assert "disk_latency = " in (tmp_path / "pyproject.toml").read_text()
    monkeypatch.setattr(sys, "argv", ["new_collector", "Bad-Name", "performance"])
    assert new_collector.main() == 2
