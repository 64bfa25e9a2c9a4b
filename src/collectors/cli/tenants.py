"""``collectors tenants``: create, list and change tenants, directly in the data folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collectors.cli import options
from collectors.cli.show import note, print_json, print_table, utc
from collectors.errors import ConfigError, UnknownName

if TYPE_CHECKING:
    from collectors.app.folder import DataFolder

app = typer.Typer(help="Create, list and change tenants.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Id of the tenant: lower-case letters, digits, - and _.", metavar="TENANT")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file with the tenant's settings; replaces what was set before.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting, repeatable: key=value, or table.key=value.", metavar="KEY=VALUE"),
]


@app.command(
    epilog=options.examples(
        "collectors tenants create acme --set time_zone=Europe/Stockholm --set currency=SEK",
        "export COLLECTORS_KEY=$(collectors tenants create acme)",
    )
)
def create(
    tenant: Name,
    *,
    config: ConfigFile = None,
    settings: Set = None,
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """Create a tenant, with encryption keys and one API key that may write and read its data.

    The API key alone is printed to stdout, so that a script can take it; it can't be had again.
    """
    from collectors.app.folder import DataFolder
    from collectors.config.loading import load_tenant_config
    from collectors.config.tenant import TenantConfig
    from collectors.drivers.control_store import Scope

    wanted = load_tenant_config(TenantConfig(), config, pairs(settings, "--set"))
    folder = DataFolder(data)
    if any(known.id == tenant for known in folder.control.tenants()):
        raise ConfigError(f"there is a tenant {tenant!r} already", fix="change it with: collectors tenants set.")
    folder.control.put_tenant(tenant, wanted)
    folder.keys.create(tenant)
    note(f"Tenant {tenant} is there. Its API key, which is shown only now:")
    print(folder.control.create_key(tenant, [Scope.WRITE, Scope.READ], label="first key"))


@app.command(
    "set",
    epilog=options.examples(
        "collectors tenants set acme --set compliance_mode=strict",
        "collectors tenants set acme --set policies.auth.ip=drop --set 'dropped_types=[\"log\"]'",
    ),
)
def set_(
    tenant: Name,
    *,
    config: ConfigFile = None,
    settings: Set = None,
    sample: Annotated[bool, typer.Option("--sample", help="Print a file with every setting, and change nothing.")] = (
        False
    ),
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """Change a tenant's settings; a running server follows within seconds."""
    from collectors.config.loading import load_tenant_config
    from collectors.config.settings import sample_toml
    from collectors.config.tenant import TenantConfig
    from collectors.privacy.policy import preset

    if sample:
        print(sample_toml(TenantConfig), end="")
        return
    folder = existing(data)
    before = folder.control.tenant(tenant).config if config is None else TenantConfig()
    wanted = load_tenant_config(before, config, pairs(settings, "--set"))
    preset(wanted.compliance_mode).override(wanted.policies, where="policies")
    folder.control.put_tenant(tenant, wanted)
    note(f"Tenant {tenant} is changed.")


@app.command("list", epilog=options.examples("collectors tenants list --json"))
def list_(*, as_json: options.AsJson = False, data: options.Data = options.DEFAULT_DATA) -> None:
    """List the tenants and their settings."""
    found = existing(data).control.tenants()
    if as_json:
        print_json([{"id": t.id, "created": t.created_us, "config": t.config.model_dump(mode="json")} for t in found])
        return
    rows = [
        (t.id, c.profile, c.monitoring_level, c.compliance_mode, c.time_zone, c.currency, utc(t.created_us))
        for t, c in ((t, t.config) for t in found)
    ]
    columns = ("tenant", "profile", "monitoring", "compliance", "time zone", "currency", "created")
    print_table(columns, rows)


def pairs(texts: list[str] | None, option: str) -> dict[str, Any]:
    """Split ``key=value`` texts."""
    found: dict[str, Any] = {}
    for text in texts or ():
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise ConfigError(f"{text!r} is no pair", where=option, fix="write KEY=VALUE.")
        found[key.strip()] = value
    return found


def existing(data: Path) -> DataFolder:
    """Return a data folder that a server or command has used before, else UnknownName."""
    from collectors.app.folder import DataFolder

    if not (data / "control.db").exists():
        raise UnknownName(f"{data} is no data folder of a server; name one by --data, or start: collectors serve")
    return DataFolder(data)
