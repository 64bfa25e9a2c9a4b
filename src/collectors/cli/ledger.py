"""``collectors ledger``: what became of every offered event."""

from __future__ import annotations

from pathlib import Path

import typer

from collectors.cli import options
from collectors.cli.show import number, print_json, print_table

_COLUMNS = ("offered", "stored", "duplicate", "rejected", "dropped", "in_flight", "balance")

Ledger = dict[str, dict[str, dict[str, int]]]
"""Tenant to event type to counts."""


EXAMPLES = options.examples(
    "collectors ledger",
    "collectors ledger --tenant acme --json",
)


def ledger(
    *,
    tenant: options.Tenant = None,
    as_json: options.AsJson = False,
    url: options.Url = None,
    key: options.Key = None,
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """Print what became of every offered event.

    Offered = stored + duplicate + rejected + dropped + in flight, to the event. Reads the data folder, also while no
    server runs; with --url it asks a server. Exits with 1 if any event is unaccounted for.
    """
    found = _from_server(url, key, data, tenant) if url else _from_folder(data, tenant)
    if as_json:
        print_json(found)
    else:
        _print(found)
    if any(counts["balance"] for types in found.values() for counts in types.values()):
        raise typer.Exit(1)


def _from_folder(data: Path, tenant: str | None) -> Ledger:
    from collectors.cli.tenants import existing
    from collectors.monitoring.frames import counts_dict

    folder = existing(data)
    if tenant is not None:
        folder.control.tenant(tenant)
    found: Ledger = {tenant: {}} if tenant else {}
    for (owner, kind), counts in sorted(folder.ledger.counts(tenant).items()):
        found.setdefault(owner, {})[kind] = counts_dict(counts)
    return found


def _from_server(url: str, key: str | None, data: Path, tenant: str | None) -> Ledger:
    from collectors.cli.connect import Api, find_server

    with Api(find_server(url, key, data)) as api:
        return {name: api.get(f"/v1/tenants/{name}/ledger")["types"] for name in api.tenants(tenant)}


def _print(found: Ledger) -> None:
    rows: list[list[str]] = []
    total: dict[str, int] = dict.fromkeys(_COLUMNS, 0)
    for tenant, types in found.items():
        for kind, counts in types.items():
            rows.append([tenant, kind, *(number(counts[c]) for c in _COLUMNS)])
            total = {c: total[c] + counts[c] for c in _COLUMNS}
    rows.append(["all", "", *(number(total[c]) for c in _COLUMNS)])
    print_table(("tenant", "type", *(f">{c.replace('_', ' ')}" for c in _COLUMNS)), rows)
    unbalanced = [f"{t} {k}" for t, types in found.items() for k, c in types.items() if c["balance"]]
    print(f"Unaccounted for: {', '.join(unbalanced)}." if unbalanced else "Every event is accounted for.")
