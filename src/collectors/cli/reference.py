"""The command line as a page: made from the commands, so that it can't say anything else than they do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

_WIDTH = 100


def command_reference() -> str:
    """Return a Markdown page with the help of every command."""
    from collectors.cli.app import app

    parts = ["# The command line", ""]
    for context in _contexts(get_command(app), "collectors", None):
        parts += [f"## {context.command_path}", "", "```text", context.get_help().strip(), "```", ""]
    return "\n".join(parts)


def _contexts(command: Any, name: str, parent: Any) -> Iterator[Any]:
    """Yield the context of each command, a group's before those of its commands."""
    context = command.context_class(
        command, info_name=name, parent=parent, terminal_width=_WIDTH, **command.context_settings
    )
    yield context
    for inner_name, inner in getattr(command, "commands", {}).items():
        yield from _contexts(inner, inner_name, context)
