"""``collectors replay``: mend rejected events and send them in again."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collectors.cli import options
from collectors.cli.show import number, print_json, print_table, progress, utc
from collectors.cli.tenants import pairs
from collectors.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from collectors.cli.connect import Api

_PAGE = 200
_COUNTS = ("accepted", "duplicate", "rejected", "dropped")


EXAMPLES = options.examples(
    "collectors replay --list",
    "collectors replay --tenant acme --position 4711 --rename uid=user_id",
    "collectors replay --tenant acme --all --set currency=EUR",
)


def replay(
    *,
    tenant: options.Tenant = None,
    list_: Annotated[
        bool, typer.Option("--list", help="List the dead letters and their reasons; replay none.")
    ] = False,
    position: Annotated[list[int] | None, typer.Option(help="Position of a dead letter, repeatable.", min=1)] = None,
    every: Annotated[bool, typer.Option("--all", help="Replay all dead letters of the tenant.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Give a field a value, JSON or else text; repeatable.", metavar="FIELD=VALUE"),
    ] = None,
    rename: Annotated[
        list[str] | None, typer.Option(help="Move a field's value to another; repeatable.", metavar="OLD=NEW")
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Leave a field out; repeatable.", metavar="FIELD")] = None,
    as_json: options.AsJson = False,
    url: options.Url = None,
    key: options.Key = None,
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """Mend rejected events and send them in again.

    Fields are first removed, then renamed, then set. What is rejected again becomes a new dead letter; exits with 1
    if anything was.
    """
    from collectors.cli.connect import Api, find_server

    with Api(find_server(url, key, data)) as api:
        if list_:
            _list(api, tenant, as_json=as_json)
            return
        if tenant is None or (not position) == (not every):
            raise ConfigError(
                "it is not said what to replay",
                fix="give --tenant, and --position or --all; --list shows what there is.",
            )
        edit = {
            "set": {name: _value(text) for name, text in pairs(set_, "--set").items()},
            "rename": pairs(rename, "--rename"),
            "remove": remove or [],
        }
        # All positions are read first: replaying makes new dead letters, which are not to be replayed as well.
        wanted = [int(letter["position"]) for letter in _letters(api, tenant)] if every else position or []
        _replay(api, tenant, wanted, edit, as_json=as_json)


def _replay(api: Api, tenant: str, positions: list[int], edit: dict[str, Any], *, as_json: bool) -> None:
    answers = []
    with progress("replaying", len(positions), hidden=as_json) as advance:
        for position in positions:
            answers.append(
                {"position": position, **api.post(f"/v1/tenants/{tenant}/dead-letters/{position}/replay", edit)}
            )
            advance(1)
    total: Counter[str] = Counter()
    for answer in answers:
        total.update({name: answer[name] for name in _COUNTS})
    if as_json:
        print_json({"replayed": answers, "total": dict(total)})
    else:
        print(f"{len(answers)} dead letters replayed: {', '.join(f'{number(total[c])} {c}' for c in _COUNTS)}")
        for answer in answers:
            for reason in answer["reasons"]:
                print(f"again rejected, {reason['reason']}: {reason['detail']}")
    if total["rejected"]:
        raise typer.Exit(1)


def _list(api: Api, tenant: str | None, *, as_json: bool) -> None:
    found = {name: list(_letters(api, name)) for name in api.tenants(tenant)}
    if as_json:
        print_json(found)
        return
    rows = [
        (name, str(letter["position"]), letter["type"], utc(letter["time"]), number(letter["rows"]), _reasons(letter))
        for name, letters in found.items()
        for letter in letters
    ]
    if rows:
        print_table(("tenant", ">position", "type", "time", ">events", "reasons"), rows)
    else:
        print("No dead letters.")


def _letters(api: Api, tenant: str) -> Iterator[dict[str, Any]]:
    """Yield all dead letters of a tenant, page by page."""
    after = 0
    while page := api.get(f"/v1/tenants/{tenant}/dead-letters", after=after, limit=_PAGE):
        yield from page
        after = int(page[-1]["position"])


def _reasons(letter: dict[str, Any]) -> str:
    reasons = letter["reasons"]
    if reasons is None:
        return "unreadable: its encryption key was destroyed"
    return ", ".join(f"{reason} {number(n)}" for reason, n in sorted(reasons.items(), key=lambda item: -item[1]))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
