"""``collectors collectors`` and ``collectors events``: what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from collectors.cli import options
from collectors.cli.show import print_json, print_table

if TYPE_CHECKING:
    from collectors.model.event_type import EventType


COLLECTORS_EXAMPLES = options.examples("collectors collectors", "collectors collectors system_performance")
EVENTS_EXAMPLES = options.examples("collectors events", "collectors events playback")


def collectors(
    *,
    name: Annotated[str | None, typer.Argument(help="One collector, with its metrics.", metavar="NAME")] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the installed collectors, or the metrics of one."""
    from collectors.contract.registry import collector_names

    if name is not None:
        _print_metrics(name, as_json=as_json)
        return
    found = [_describe(each) for each in collector_names()]
    if as_json:
        print_json(found)
    else:
        rows = [(c["name"], c["kind"], c["stability"], str(c["metrics"]), c["description"]) for c in found]
        print_table(("collector", "kind", "stability", ">metrics", "description"), rows)


def events(
    *,
    name: Annotated[str | None, typer.Argument(help="One event type, with its fields.", metavar="TYPE")] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the event types, or the fields of one."""
    from collectors.model.event_types import EVENT_TYPES, event_type

    if name is not None:
        _print_fields(event_type(name), as_json=as_json)
    elif as_json:
        print_json([{"type": t.name, "description": t.description} for t in EVENT_TYPES.values()])
    else:
        rows = [(t.name, str(len(t.fields)), _span(t.retention.days), t.description) for t in EVENT_TYPES.values()]
        print_table(("type", ">fields", ">kept", "description"), rows)


def _describe(name: str) -> dict[str, Any]:
    from collectors.contract.registry import collector_class

    try:
        cls = collector_class(name)
    except ImportError as error:  # one that lacks its extra must not hide the others
        missing = f"needs {error.name}, which is not installed"
        return {"name": name, "kind": "", "stability": "", "metrics": 0, "description": missing}
    return {
        "name": name,
        "kind": next(k.__name__.lower() for k in _kinds() if issubclass(cls, k)),
        "stability": str(cls.stability),
        "metrics": len(cls.emits),
        "description": (cls.__doc__ or "").strip().partition("\n")[0],
    }


def _kinds() -> tuple[type, ...]:
    from collectors.contract.collector import Analytical, Sampling, Streaming

    return Sampling, Analytical, Streaming


def _print_metrics(name: str, *, as_json: bool) -> None:
    from collectors.contract.registry import collector_class

    specs = collector_class(name).emits
    if as_json:
        print_json(
            [
                {
                    "name": spec.name,
                    "kind": spec.kind,
                    "unit": spec.unit,
                    "labels": list(spec.labels),
                    "aliases": list(spec.aliases),
                    "description": spec.description,
                }
                for spec in specs
            ]
        )
        return
    rows = [(spec.name, spec.kind, spec.unit, ", ".join(spec.labels), spec.description) for spec in specs]
    print_table(("metric", "kind", "unit", "labels", "description"), rows)


def _print_fields(event_type: EventType, *, as_json: bool) -> None:
    fields = [
        {
            "name": f.name,
            "type": str(f.type),
            "required": f.required,
            "personal": str(f.mark) if f.mark else "",
            "allowed": ", ".join(f.choices) or _bounds(f.minimum, f.maximum),
            "description": f.description,
        }
        for f in event_type.columns
    ]
    if as_json:
        print_json({"type": event_type.name, "description": event_type.description, "fields": fields})
        return
    rows = [
        (str(f["name"]), str(f["type"]), "yes" if f["required"] else "", f["personal"], f["allowed"], f["description"])
        for f in fields
    ]
    columns = ("field", "type", "required", "personal", "allowed", "description")
    print_table(columns, [tuple(map(str, row)) for row in rows], title=event_type.description)


def _bounds(low: float | None, high: float | None) -> str:
    parts = [f"{word} {bound:,.10g}" for word, bound in (("from", low), ("to", high)) if bound is not None]
    return " ".join(parts)


def _span(days: int) -> str:
    """Write how long events are kept."""
    years = days // 365
    return f"{years} years" if years > 1 else f"{days} days"
