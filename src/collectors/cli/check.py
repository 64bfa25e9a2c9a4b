"""``collectors check``: is the configuration right, and what would run with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collectors.cli import options

if TYPE_CHECKING:
    from collectors.config.server import ServerConfig


EXAMPLES = options.examples(
    "collectors check --sample > collectors.toml",
    "collectors check collectors.toml",
    "COLLECTORS_LAKE__LOAD_SECONDS=2 collectors check",
)


def check(
    *,
    file: Annotated[Path | None, typer.Argument(help="Configuration file of a server, TOML.", metavar="FILE")] = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Print a file with every setting, explained and commented out.")
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the file, for editors.")] = False,
) -> None:
    """Check a server's configuration without starting anything.

    Looks at the file and at variables such as COLLECTORS_INTAKE__MAX_ROWS; prints every problem with its line and its
    fix and exits with 2, or tells what would run.
    """
    from collectors.config.loading import load_server_config
    from collectors.config.settings import config_schema, sample_toml

    if sample:
        from collectors.config.server import ServerConfig

        print(sample_toml(ServerConfig), end="")
    elif schema:
        from collectors.cli.show import print_json

        print_json(config_schema())
    else:
        _print_summary(load_server_config(file, os.environ, {}))


def _print_summary(config: ServerConfig) -> None:
    from collectors.cli.show import print_table
    from collectors.config.settings import Setting, toml_value

    changed = config.model_dump(mode="json", exclude_defaults=True)
    rows = []
    for path, setting in Setting.of(type(config)).leaves():
        value: object = changed
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            rows.append((".".join(path), toml_value(value), toml_value(setting.default)))
    print("The configuration is right.")
    if rows:
        print_table(("setting", "value", "default"), rows)
    host = f"[{config.host}]" if ":" in config.host else config.host
    port = config.port or "a free port"
    print(f"A server would listen on {host}:{port} and keep everything in {config.data.absolute()}.")
    print(_tenants(config))


def _tenants(config: ServerConfig) -> str:
    if not (config.data / "control.db").exists():
        return "The folder is new: the server would begin with the operator's own tenant and make an admin key."
    from collectors.app.folder import DataFolder
    from collectors.app.profiles import plan

    lines = [
        f"  {tenant.id}: {', '.join(sorted(plan(tenant.id, tenant.config).collectors))}"
        for tenant in DataFolder(config.data).control.tenants()
    ]
    return "\n".join(["It would run the collectors of these tenants:", *lines])
