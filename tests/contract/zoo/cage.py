"""Where bad collectors are kept: each by the check that it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from collectors.contract.collector import BaseCollector

Bad = type[BaseCollector[Any]]
B = TypeVar("B", bound=Bad)

ZOO: dict[str, Bad] = {}
"""The bad collector by the check that it fails."""


def breaks(check: str) -> Callable[[B], B]:
    """Put a class in the zoo; it passes for one that stands in the module of the tame one it comes from."""

    def put(cls: B) -> B:
        assert check not in ZOO, f"one collector is enough to break {check}"
        ZOO[check] = cls
        cls.__module__ = next(c.__module__ for c in cls.__mro__ if c.__module__ != cls.__module__)
        return cls

    return put
