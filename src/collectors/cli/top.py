"""``collectors top``: all tenants at a glance, live on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from collectors.cli import options
from collectors.cli.show import console, number, print_json, short, table, utc
from collectors.clock import SYSTEM_CLOCK
from collectors.errors import RetryableError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from collectors.cli.connect import Api

_MOST_ALERTS = 10
_CPU = "collectors.system.cpu.utilization"
_MEMORY = "collectors.system.memory.utilization"
_STYLES = {"info": "cyan", "warning": "yellow", "critical": "bold red"}


EXAMPLES = options.examples(
    "collectors top",
    "collectors top --once --url http://collectors.internal:8080",
)


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
    refresh: Annotated[float, typer.Option(help="Seconds between frames.", min=0.2, max=60)] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one frame as JSON, for programs.")] = False,
    url: options.Url = None,
    key: options.Key = None,
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """Show all tenants live on the terminal.

    Rate, ledger, freshness, collectors and alerts, until Ctrl-C.
    """
    from collectors.cli.connect import Api, find_server

    with Api(find_server(url, key, data)) as api:
        if as_json:
            print_json(look(api))
        elif once:
            console().print(frame(look(api)))
        else:
            _watch(api, refresh)


def look(api: Api) -> dict[str, Any]:
    """Read what a frame shows."""
    from collectors.config.tenant import PLATFORM_TENANT

    overview: dict[str, Any] = api.get("/v1/overview")
    alerts = []
    for tenant in overview["tenants"]:
        if tenant["alerts"]["firing"]:
            found = api.get(f"/v1/tenants/{tenant['id']}/alerts", state="firing", limit=_MOST_ALERTS)
            alerts += [{"tenant": tenant["id"], **alert} for alert in found]
    machine: dict[str, float | None] = {}
    if any(tenant["id"] == PLATFORM_TENANT for tenant in overview["tenants"]):
        latest = api.get(f"/v1/tenants/{PLATFORM_TENANT}/latest")
        machine = {s["metric"]: s["value"] for s in latest if s["metric"] in {_CPU, _MEMORY}}
    return {**overview, "alerts": alerts, "machine": machine}


def frame(seen: dict[str, Any]) -> RenderableType:
    """Lay a frame out."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_head(seen), _tenants(seen["tenants"])]
    alerts = sorted(seen["alerts"], key=lambda alert: -int(alert["started"]))
    for alert in alerts[:_MOST_ALERTS]:
        line = Text(f"{alert['severity']:<8} ", style=_STYLES.get(alert["severity"], ""))
        parts.append(line.append(f"{alert['tenant']}: {alert['summary']} (since {utc(alert['started'])})", style=""))
    if len(alerts) > _MOST_ALERTS:
        parts.append(Text(f"and {len(alerts) - _MOST_ALERTS} more alerts"))
    return Group(*parts)


def _head(seen: dict[str, Any]) -> RenderableType:
    from rich.text import Text

    gateway, worker = seen["server"]["gateway"], seen["server"]["worker"]
    line = Text(utc(seen["time"]))
    line.append(f"   gateway up {_span(gateway['uptime_seconds'])}" if gateway["up"] else "   gateway down")
    line.append("   worker ")
    line.append("up" if worker["up"] else "down", style="" if worker["up"] else "bold red")
    line.append(f", {number(worker['behind_records'])} records behind")
    for label, metric in (("CPU", _CPU), ("memory", _MEMORY)):
        share = seen["machine"].get(metric)
        if share is not None:
            line.append(f"   {label} {share:.0%}")
    return line


def _tenants(tenants: list[dict[str, Any]]) -> RenderableType:
    rows = []
    for tenant in sorted(tenants, key=lambda t: -(t["events_per_second"] or 0.0)):
        counts, collectors, fresh = tenant["ledger"], tenant["collectors"], tenant["freshness_seconds"]
        rate = tenant["events_per_second"]  # unknown until the worker first reports
        rows.append(
            (
                tenant["id"],
                "-" if rate is None else short(rate),
                *(number(counts[c]) for c in ("offered", "stored", "duplicate", "rejected", "dropped", "in_flight")),
                "yes" if counts["balance"] == 0 else f"{number(counts['balance'])} missing",
                "-" if fresh is None else f"{fresh:.1f} s",
                f"{collectors['running']}" + (f", {collectors['failing']} failing" if collectors["failing"] else ""),
                number(tenant["alerts"]["firing"]),
            )
        )
    columns = ("tenant", ">events/s", ">offered", ">stored", ">duplicate", ">rejected", ">dropped", ">in flight")
    return table((*columns, "balances", ">freshness", ">collectors", ">alerts"), rows)


def _watch(api: Api, refresh: float) -> None:
    from rich.live import Live
    from rich.text import Text

    last: RenderableType = Text("")
    with Live(console=console(), screen=True, auto_refresh=False) as live:
        while True:
            try:
                last = frame(look(api))
                live.update(last, refresh=True)
            except RetryableError as error:  # a server that restarts is still worth watching
                from rich.console import Group

                live.update(Group(Text(str(error), style="bold red"), last), refresh=True)
            SYSTEM_CLOCK.block(refresh)


def _span(seconds: float) -> str:
    """Write a time span in its two largest units."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86_400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {int(seconds) % 60} s" if minutes else f"{seconds:.0f} s"
