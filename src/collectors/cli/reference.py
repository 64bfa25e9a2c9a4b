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
    for words, shown in _helps(get_command(app), ("collectors",)):
        parts += [f"## {' '.join(words)}", "", "```text", shown.strip(), "```", ""]
    return "\n".join(parts)


def _helps(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each command's words and help, a group before its commands."""
    context = command.context_class(command, info_name=" ".join(words), terminal_width=_WIDTH)
    yield words, command.get_help(context)
    for name, inner in getattr(command, "commands", {}).items():
        yield from _helps(inner, (*words, name))
