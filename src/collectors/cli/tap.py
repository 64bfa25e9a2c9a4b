"""``collectors tap``: watch what goes by."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collectors.cli import options
from collectors.cli.show import utc
from collectors.cli.tenants import pairs
from collectors.clock import SYSTEM_CLOCK
from collectors.errors import ConfigError

if TYPE_CHECKING:
    from collectors.drivers.event_log import LogReader

_POLL_SECONDS = 0.1


EXAMPLES = options.examples(
    "collectors tap --samples 'system.*' --tenant platform",
    "collectors tap --alerts --json",
    "collectors tap --events payment --where currency=SEK --limit 10",
)


def tap(
    *,
    samples: Annotated[
        str | None, typer.Option(help="Samples of metrics that match, such as 'system.cpu.*'.", metavar="PATTERN")
    ] = None,
    alerts: Annotated[bool, typer.Option("--alerts", help="Alerts as they fire and end.")] = False,
    events: Annotated[
        str | None,
        typer.Option(
            help="Events of this type, or all, from the log of a data folder on this machine.", metavar="TYPE"
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only with this label or field value, repeatable.", metavar="NAME=VALUE"),
    ] = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Events: begin with the oldest in the log instead of new ones.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Stop after so many lines.", min=1)] = None,
    tenant: options.Tenant = None,
    as_json: options.AsJson = False,
    url: options.Url = None,
    key: options.Key = None,
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """Watch samples, alerts or events live.

    Prints one line for each, until Ctrl-C. Events are shown as they are stored: personal fields are pseudonyms, in
    hexadecimal.
    """
    if (samples is not None) + alerts + (events is not None) != 1:
        raise ConfigError("it is not said what to watch", fix="give one of --samples PATTERN, --alerts, --events TYPE.")
    lines = _Lines(limit)
    wanted = {name: str(value) for name, value in pairs(where, "--where").items()}
    if events is not None:
        _tap_events(data, events, tenant, wanted, lines, from_start=from_start)
        return
    from collectors.cli.connect import Api, find_server
    from collectors.cli.live import Listener

    target = find_server(url, key, data)
    with Api(target) as api:
        tenants = api.tenants(tenant)

    def take(owner: str, event: str, frame: Any) -> bool:
        if alerts and event == "alert":
            found: Sequence[Any] = [frame]
        elif samples is not None and event == "samples":
            found = [s for s in frame["samples"] if fnmatchcase(s["metric"], samples)]
        else:
            found = ()
        write = _alert_line if alerts else _sample_line
        for item in found:
            if all(item["labels"].get(name) == value for name, value in wanted.items()):
                lines.print(json.dumps({"tenant": owner, **item}) if as_json else write(owner, item))
        return not lines.full

    asyncio.run(Listener(target).run(tenants, take))


class _Lines:
    """Prints lines until there are enough."""

    def __init__(self, limit: int | None) -> None:
        self._left = limit

    @property
    def full(self) -> bool:
        return self._left == 0

    def print(self, line: str) -> None:
        if not self.full:
            print(line)
            sys.stdout.flush()
            self._left = self._left - 1 if self._left is not None else None


def _sample_line(tenant: str, sample: Any) -> str:
    labels = ",".join(f"{name}={value}" for name, value in sample["labels"].items())
    value = sample["value"]
    text = f"undefined: {sample.get('reason', '')}" if value is None else f"{value:.12g}"
    return f"{utc(sample['time'])} {tenant} {sample['metric']}{{{labels}}} {text}"


def _alert_line(tenant: str, alert: Any) -> str:
    labels = ",".join(f"{name}={value}" for name, value in alert["labels"].items())
    time = alert["ended"] or alert["started"]
    return f"{utc(time)} {tenant} {alert['state']} {alert['severity']} {alert['rule']}{{{labels}}} {alert['summary']}"


def _tap_events(
    data: Path, kind: str, tenant: str | None, wanted: dict[str, str], lines: _Lines, *, from_start: bool
) -> None:
    from collectors.cli.tenants import existing
    from collectors.drivers.event_log import LogReader, recent_records
    from collectors.model.event_types import event_type

    types = None if kind == "all" else frozenset({event_type(kind).name})
    folder = existing(data).log
    newest = None if from_start else next(recent_records(folder, max_bytes=0), None)
    reader = LogReader(folder, after=newest.position if newest else 0)
    try:
        for event in _events(reader, types, tenant):
            if all(name in event and as_text(event[name]) == value for name, value in wanted.items()):
                lines.print(json.dumps(event, default=as_text, ensure_ascii=False))
            if lines.full:
                return
    finally:
        reader.close()


def _events(reader: LogReader, types: frozenset[str] | None, tenant: str | None) -> Iterator[dict[str, Any]]:
    """Yield stored events as they come, for ever; nulls are left out."""
    import pyarrow as pa

    while True:
        records = reader.read(max_records=16, bodies=types)
        for record in records:
            if record.body is not None and tenant in {None, record.tenant}:
                envelope = {"tenant": record.tenant, "type": record.type, "position": record.position}
                for row in pa.ipc.open_stream(record.body).read_all().to_pylist():
                    yield {**envelope, **{name: value for name, value in row.items() if value is not None}}
        if not records:
            SYSTEM_CLOCK.block(_POLL_SECONDS)


def as_text(value: Any) -> str:
    """Write a stored value: bytes in hexadecimal, times as RFC 3339, the rest as JSON would without quotes."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool):
        return str(value).lower()
    isoformat = getattr(value, "isoformat", None)
    return str(isoformat()) if isoformat else str(value)
