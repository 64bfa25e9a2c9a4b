"""The command ``collectors``: its commands, and how errors reach the person."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from collectors.cli import (
    alerts,
    catalogue,
    check,
    keys,
    ledger,
    replay,
    serve,
    simulate,
    tap,
    tenants,
    top,
)
from collectors.cli.importing import command
from collectors.errors import BadInput, CollectorsError, ConfigError

app = typer.Typer(
    name="collectors",
    help="The truth about a music-streaming platform, per tenant and in real time.",
    epilog="Begin with: collectors serve --demo",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # plain help comes three times as fast
    pretty_exceptions_enable=False,
)
app.command(epilog=serve.EXAMPLES)(serve.serve)
app.command(epilog=check.EXAMPLES)(check.check)
app.command(epilog=simulate.EXAMPLES)(simulate.simulate)
app.command("import", epilog=command.EXAMPLES)(command.import_file)
app.command(epilog=tap.EXAMPLES)(tap.tap)
app.command(epilog=top.EXAMPLES)(top.top)
app.command(epilog=ledger.EXAMPLES)(ledger.ledger)
app.command(epilog=replay.EXAMPLES)(replay.replay)
app.add_typer(tenants.app, name="tenants")
app.add_typer(keys.app, name="keys")
app.add_typer(alerts.app, name="alerts")
app.command(epilog=catalogue.COLLECTORS_EXAMPLES)(catalogue.collectors)
app.command(epilog=catalogue.EVENTS_EXAMPLES)(catalogue.events)


@app.callback(invoke_without_command=True)
def options(
    *,
    version: bool = typer.Option(False, "--version", help="Print the version."),
) -> None:
    """Handle what is not about one command."""
    if version:
        from importlib.metadata import version as installed

        print(installed("collectors"))
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors of ours become a message instead of a traceback."""
    try:
        app(arguments, prog_name="collectors", standalone_mode=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except (CollectorsError, OSError) as error:  # a file that can't be written is no bug either
        if os.environ.get("COLLECTORS_DEBUG") == "1":
            raise
        # Problems of a configuration each begin with their file and line, as tools that jump there expect.
        print(error if hasattr(error, "problems") else f"collectors: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError | BadInput) else 1
    return 0
