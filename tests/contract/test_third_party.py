"""A stranger's collector: installed beside the platform, found by its entry point, and held to the same checks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "third_party_collector"


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """Lay the example out as an installer does, without a network; returns the environment that has it."""
    target = tmp_path / "site"
    shutil.copytree(EXAMPLE / "src", target, ignore=shutil.ignore_patterns("__pycache__"))
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    about = target / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir()
    about.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = (
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    )
    about.joinpath("entry_points.txt").write_text("\n".join(groups))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), *filter(None, sys.path)])}


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=EXAMPLE, capture_output=True, text=True, check=False
    )


def test_it_is_found_beside_the_others(installed: dict[str, str]) -> None:
    code = (
        "from collectors.contract.registry import *; print(collector_class('stall_ratio').name, *collector_names(), "
        "collector_class('nop').name)"
    )
    found = run(installed, "-c", code)
    assert found.returncode == 0, found.stderr
    assert {"stall_ratio", "nop", "system_performance"} <= set(found.stdout.split())


def test_its_own_tests_pass(installed: dict[str, str]) -> None:
    passed = run(installed, "-B", "-m", "pytest", "tests", "-q", "-p", "no:cacheprovider", "-W", "error")
    assert passed.returncode == 0, passed.stdout + passed.stderr


def test_without_being_installed_it_is_told_which_line_is_missing() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLE / "src"), *filter(None, sys.path)])}
    code = (
        "from acme_collectors.stall_ratio import *; from collectors.testing import *; "
        "check_collector(StallRatioCollector)"
    )
    failed = run(environment, "-B", "-c", code)
    assert failed.returncode == 1
    assert 'stall_ratio = "acme_collectors.stall_ratio:StallRatioCollector"' in failed.stderr
