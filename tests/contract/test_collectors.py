"""Every collector in the registry, on every example, passes every check that applies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collectors.catalog import __path__ as catalog
from collectors.contract.registry import collector_class, collector_names
from collectors.testing import BoundCheck, check_golden, collector_checks
from tests.contract.known_gaps import KNOWN_GAPS

GOLDEN = Path(__file__).parents[1] / "golden"
UPDATE = os.environ.get("UPDATE_GOLDEN", "") not in ("", "0")
CLASSES = [collector_class(name) for name in collector_names()]


@collector_checks(CLASSES, golden=GOLDEN, gaps=KNOWN_GAPS)
def test_collector(check: BoundCheck) -> None:
    check()


@pytest.mark.parametrize("name", collector_names())
def test_examples_lead_to_what_is_expected(name: str) -> None:
    check_golden(collector_class(name), GOLDEN, update=UPDATE)


def test_expectations_are_not_rewritten_where_they_are_checked() -> None:
    assert not (UPDATE and os.environ.get("CI")), "UPDATE_GOLDEN is set; unset it where expectations are to be checked"


def test_golden_cases_are_of_collectors_that_exist() -> None:
    assert {folder.name for folder in GOLDEN.iterdir() if folder.is_dir()} <= set(collector_names())


def test_every_collector_class_of_the_catalogue_is_registered() -> None:
    registered = {cls.__name__ for cls in CLASSES}
    missing = [
        f'{path.stem} = "collectors.catalog.{path.parent.name}.{path.stem}:{line.split("(")[0].removeprefix("class ")}"'
        for path in sorted(Path(catalog[0]).rglob("*.py"))
        for line in path.read_text().splitlines()
        if line.startswith("class ")
        and any(f"({kind}[" in line for kind in ("Sampling", "Analytical", "Streaming"))
        and line.split("(")[0].removeprefix("class ") not in registered
    ]
    told = "\n".join(missing)
    assert not missing, (
        f'add to pyproject.toml under [project.entry-points."collectors.collectors"], and install:\n{told}'
    )
