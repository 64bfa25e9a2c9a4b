"""``collectors keys``: API keys, and the keys that protect personal data, directly in the data folder."""

from __future__ import annotations

from typing import Annotated

import typer

from collectors.cli import options
from collectors.cli.show import note, print_json, print_table, utc
from collectors.cli.tenants import existing
from collectors.errors import ConfigError

app = typer.Typer(help="Manage API keys, and the keys that protect personal data.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The tenant.", metavar="TENANT")]


@app.command(
    epilog=options.examples(
        'collectors keys create acme --scope write --label "ios app"',
        "collectors keys create --all --scope read --label prometheus",
    )
)
def create(
    *,
    tenant: Annotated[str | None, typer.Argument(help="The tenant; none with --all.", metavar="TENANT")] = None,
    every: Annotated[bool, typer.Option("--all", help="Make a key that holds for all tenants.")] = False,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it allows, repeatable: write, read, admin. By default write and read."),
    ] = None,
    label: Annotated[str, typer.Option(help="What it is for, for the list.")] = "",
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """Make an API key and print it; it can't be had again."""
    from collectors.drivers.control_store import Scope

    if (tenant is None) != every:
        raise ConfigError("a key is for one tenant or for all", fix="give TENANT, or --all.")
    known = {str(s): s for s in Scope}
    unknown = [s for s in scope or () if s not in known]
    if unknown:
        raise ConfigError(f"there is no scope {unknown[0]!r}", where="--scope", fix=f"use {', '.join(known)}.")
    wanted = [known[s] for s in scope or (Scope.WRITE, Scope.READ)]
    key = existing(data).control.create_key(tenant, wanted, label=label)
    note("The key, which is shown only now:")
    print(key)


@app.command("list", epilog=options.examples("collectors keys list --tenant acme"))
def list_(
    *,
    tenant: options.Tenant = None,
    as_json: options.AsJson = False,
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """List the API keys, without their secrets."""
    found = existing(data).control.keys(tenant)
    if as_json:
        print_json(
            [
                {
                    "id": k.id,
                    "tenant": k.tenant,
                    "scopes": sorted(k.scopes),
                    "label": k.label,
                    "created": k.created_us,
                    "revoked": k.revoked_us,
                }
                for k in found
            ]
        )
        return
    rows = [
        (k.id, k.tenant or "(all)", ", ".join(sorted(k.scopes)), k.label, utc(k.created_us), utc(k.revoked_us))
        for k in found
    ]
    print_table(("key", "tenant", "scopes", "label", "created", "revoked"), rows)


@app.command(epilog=options.examples("collectors keys revoke 3f9a61c07be2"))
def revoke(
    key: Annotated[str, typer.Argument(help="The key's id, as listed, or the whole key.", metavar="KEY")],
    *,
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """Make an API key worthless."""
    parts = key.split("_")
    existing(data).control.revoke_key(parts[1] if len(parts) > 1 else key)
    note("The key is revoked.")


@app.command(epilog=options.examples("collectors keys rotate acme"))
def rotate(
    tenant: Name,
    *,
    pseudonyms: Annotated[
        bool, typer.Option(help="Also the key of pseudonyms: from then on a person has another pseudonym.")
    ] = False,
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """Give a tenant a new encryption key; what is stored stays readable."""
    from collectors.privacy.keys import Purpose

    keys = existing(data).keys
    keys.rotate(tenant, Purpose.AEAD)
    if pseudonyms:
        keys.rotate(tenant, Purpose.PSEUDONYM)
    note(f"Tenant {tenant} has a new encryption key{' and a new pseudonym key' if pseudonyms else ''}.")


@app.command(epilog=options.examples("collectors keys shred acme"))
def shred(
    tenant: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """Destroy a tenant's encryption keys: its protected personal data is gone for good.

    Nothing else is deleted, but no more events of the tenant are accepted.
    """
    folder = existing(data)
    folder.control.tenant(tenant)
    if not yes and typer.prompt(f"This can't be undone. Type the tenant's name, {tenant}, to go on") != tenant:
        raise typer.Abort
    folder.keys.shred(tenant)
    note(f"The keys of tenant {tenant} are destroyed.")
