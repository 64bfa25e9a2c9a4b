"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="COLLECTORS_URL", help="Address of the server, such as http://127.0.0.1:8080."),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="COLLECTORS_KEY",
        help="API key. Better set the variable: other users of this machine can see what a command is called with.",
    ),
]
Data = Annotated[
    Path,
    typer.Option(
        "--data",
        envvar="COLLECTORS_DATA",
        help="Data folder of a server on this machine; without --url and --key it tells both.",
    ),
]
Tenant = Annotated[str | None, typer.Option("--tenant", "-t", help="Only this tenant.")]
OneTenant = Annotated[str, typer.Option("--tenant", "-t", help="The tenant.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

DEFAULT_DATA = Path("data")


def examples(*commands: str) -> str:
    """Return the end of a command's help: how it is used. The first character keeps the lines as they are."""
    return "\n".join(("\b", "Examples:", *(f"  {command}" for command in commands)))
