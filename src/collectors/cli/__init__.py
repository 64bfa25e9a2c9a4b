"""The command line; the processes of a server start here too, so nothing is imported before it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collectors.cli.app import main

__all__ = ["main"]


def __getattr__(name: str) -> Any:
    if name == "main":
        from collectors.cli.app import main

        return main
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
