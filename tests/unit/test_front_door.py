"""``import collectors``: the names it promises."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import collectors


def test_every_promised_name_is_there_and_the_list_is_sorted() -> None:
    assert list(collectors.__all__) == sorted(collectors.__all__)
    for name in collectors.__all__:
        assert getattr(collectors, name) is not None
        assert name in dir(collectors)


def test_type_checkers_are_told_of_every_name() -> None:
    tree = ast.parse(Path(collectors.__file__).read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    told = {a.name for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    told |= {n.target.id for n in block.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    assert told - {"EmbeddedOrchestrator", "HealthChecker"} == set(collectors.__all__)


def test_other_names_are_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="NoSuchCollector"):
        _ = collectors.NoSuchCollector
