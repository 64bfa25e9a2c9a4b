from __future__ import annotations

import re

import pytest

from collectors.cli.reference import command_reference


def test_the_page_has_every_command_with_its_options_and_examples() -> None:
    page = command_reference()
    titles = re.findall("^## (.+)$", page, re.MULTILINE)
    assert titles[:2] == ["collectors", "collectors serve"]
    assert {"collectors import", "collectors keys shred", "collectors tenants set"} <= set(titles)
    assert len(titles) == len(set(titles)) == page.count("```text")
    assert "--map MAPPING" in page
    assert "  collectors serve --demo\n" in page


def test_the_page_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    before = command_reference()
    monkeypatch.setenv("COLUMNS", "40")
    assert command_reference() == before
