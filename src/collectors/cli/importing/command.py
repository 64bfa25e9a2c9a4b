"""``collectors import``: the command."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collectors.cli import options
from collectors.cli.show import note, number, print_json, print_table, progress
from collectors.errors import BadInput, ConfigError

if TYPE_CHECKING:
    from collectors.cli.importing.files import Chunk
    from collectors.cli.importing.mapping import Mapped, Mapper
    from collectors.cli.sending import Parcel, Receipts
    from collectors.model.event_type import EventType

_SHOWN_ROWS = 5
_SHOWN_PROBLEMS = 10
_INTERRUPTED = 130


EXAMPLES = options.examples(
    "collectors import plays.parquet --type playback --tenant acme --map uid=user_id --dry-run",
    "collectors import sales.csv --type payment --tenant shop --map customer=customer_id --map date=event_time"
    " --time-format %Y%m%d --map 'amount=amount_minor*100' --map currency:=USD --map kind:=charge"
    " --map 'payment_id:=sale-{row}'",
)


def import_file(
    file: Annotated[Path, typer.Argument(help="Parquet, CSV or another table of text, or NDJSON; may be gzipped.")],
    *,
    type_: Annotated[str, typer.Option("--type", help="Event type; see: collectors events.", metavar="TYPE")],
    tenant: options.OneTenant,
    rules: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="column=field; column=field*100, exactly; or field:=text with {column} and {row} in it. Repeatable."
            " Columns called like a field need none; others become properties.",
            metavar="MAPPING",
        ),
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Names of the columns, separated by commas, of a table without a header.")
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="What separates columns: one character, or whitespace. Found out by default.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Encoding of text.")] = "utf-8",
    time_format: Annotated[
        str | None,
        typer.Option(help="Times, as Python's strptime writes them (%Y%m%d), or epoch. ISO 8601 by default."),
    ] = None,
    time_zone: Annotated[str, typer.Option(help="Zone of times that name none.")] = "UTC",
    decimal_comma: Annotated[bool, typer.Option("--decimal-comma", help="Numbers are written like 1.234,50.")] = False,
    only_mapped: Annotated[bool, typer.Option("--only-mapped", help="Leave columns out that are not mapped.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the first events and problems; send nothing.")] = (
        False
    ),
    batch_rows: Annotated[int, typer.Option(help="Most events in a request.", min=1, max=100_000)] = 10_000,
    connections: Annotated[int, typer.Option(help="Connections to the server.", min=1, max=64)] = 2,
    as_json: options.AsJson = False,
    url: options.Url = None,
    key: options.Key = None,
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """Import a file as events of one type.

    Importing the same file again stores nothing twice: ids come from the file's content and the row. Rows that don't
    fit go to the server as well, which keeps them as dead letters to be mended; exits with 1 if there are any.
    """
    from collectors.cli.importing.files import Layout, fingerprint, read
    from collectors.cli.importing.mapping import Mapper, parse_rule
    from collectors.model.event_types import event_type

    kind = event_type(type_)
    parsed = [parse_rule(text) for text in rules or ()]
    reading = _reading(time_format, time_zone, decimal_comma=decimal_comma)
    names = tuple(name.strip() for name in columns.split(",")) if columns else ()
    chunks = read(file, Layout(names, delimiter, encoding), batch_rows)
    first = next(chunks, None)
    if first is None or not (first.rows or first.unreadable):
        raise BadInput(f"{file} holds no rows")
    mapper = Mapper(kind, parsed, list(first.columns), reading, identity=fingerprint(file), only_mapped=only_mapped)
    beginning = mapper.apply(first)
    if dry_run:
        _show(kind, beginning)
        return
    if not beginning.events.num_rows:
        reasons = "; ".join(dict.fromkeys(row.reason for row in beginning.bad))
        raise BadInput(f"none of the first {len(beginning.bad)} rows can be used: {reasons}. Try with --dry-run")
    run = _Run(tenant, kind.name, hidden=as_json)
    mapped = itertools.chain([(beginning, first.done)], _mapped(mapper, chunks))
    receipts, interrupted = run.send(mapped, url=url, key=key, data=data, connections=connections)
    run.report(receipts, file, data, as_json=as_json)
    if interrupted:
        note("Interrupted. Import the file again to go on: what is stored is not stored twice.")
        raise typer.Exit(_INTERRUPTED)
    if receipts.rejected or receipts.unaccounted:
        raise typer.Exit(1)


def _reading(time_format: str | None, zone: str, *, decimal_comma: bool) -> Any:
    from zoneinfo import available_timezones

    from collectors.cli.importing.convert import EPOCH, Reading, valid_format

    if zone not in available_timezones():
        raise ConfigError(f"{zone!r} is no time zone", where="--time-zone", fix="write one such as Europe/Stockholm.")
    if time_format not in {None, EPOCH} and not valid_format(str(time_format)):
        raise ConfigError(
            f"{time_format!r} is no format of times", where="--time-format", fix="write one such as %Y%m%d, or epoch."
        )
    return Reading(time_format, zone, decimal_comma)


def _mapped(mapper: Mapper, chunks: Iterator[Chunk]) -> Iterator[tuple[Mapped, float]]:
    for chunk in chunks:
        yield mapper.apply(chunk), chunk.done


class _Run:
    """One import."""

    def __init__(self, tenant: str, kind: str, *, hidden: bool) -> None:
        self._tenant = tenant
        self._kind = kind
        self._hidden = hidden
        self._done = 0.0

    def send(
        self,
        mapped: Iterator[tuple[Mapped, float]],
        *,
        url: str | None,
        key: str | None,
        data: Path,
        connections: int,
    ) -> tuple[Receipts, bool]:
        """Send everything to the server."""
        from collectors.cli.connect import find_server
        from collectors.cli.sending import Sender, send_all

        target = find_server(url, key, data)
        shown = 0.0
        with progress("importing", 1.0, hidden=self._hidden) as advance:

            def answered(_: Receipts) -> None:
                nonlocal shown
                advance(self._done - shown)
                shown = self._done

            return send_all(lambda: Sender(target, connections=connections), self._parcels(mapped), on_answer=answered)

    def _parcels(self, mapped: Iterator[tuple[Mapped, float]]) -> Iterator[Parcel]:
        from collectors.cli.sending import Media, Parcel
        from collectors.simulate.encode import to_ipc

        # A key of this run: after a fix, the same rows must be looked at again and not be answered from memory.
        run, number_ = os.urandom(8).hex(), itertools.count()
        for part, done in mapped:
            self._done = done
            if part.events.num_rows:
                body = to_ipc(part.events)
                name = f"{run}-{next(number_)}"
                yield Parcel(self._tenant, self._kind, part.events.num_rows, body, Media.ARROW, name, part.numbers)
            if part.bad:
                body = b"".join(row.raw.replace(b"\n", b" ") + b"\n" for row in part.bad)
                rows = [row.row for row in part.bad]
                name = f"{run}-{next(number_)}"
                yield Parcel(self._tenant, self._kind, len(part.bad), body, Media.NDJSON, name, rows)

    def report(self, receipts: Receipts, file: Path, data: Path, *, as_json: bool) -> None:
        """Print what became of the rows."""
        if as_json:
            problems = [{"row": row, "detail": detail} for row, detail in receipts.examples]
            print_json({"file": str(file), "tenant": self._tenant, "type": self._kind, **receipts.to_dict(),
                        "problems": problems})  # fmt: skip
            return
        print(
            f"{number(receipts.offered)} rows: {number(receipts.accepted)} accepted, "
            f"{number(receipts.duplicate)} known already, {number(receipts.rejected)} rejected, "
            f"{number(receipts.dropped)} dropped by policy"
        )
        if receipts.rejected:
            for row, detail in receipts.examples[:_SHOWN_PROBLEMS]:
                print(f"  {f'row {row}' if row else 'a line'}: {detail}")
            positions = ", ".join(map(str, receipts.dead_letters[:_SHOWN_PROBLEMS]))
            more = ", …" if len(receipts.dead_letters) > _SHOWN_PROBLEMS else ""
            print(f"Rejected rows wait as dead letters at position {positions}{more}.")
            print(f"See them with: collectors replay --list --tenant {self._tenant} --data {data}")
        if receipts.unaccounted:
            print(f"{number(receipts.unaccounted)} rows are unaccounted for")


def _show(kind: EventType, mapped: Mapped) -> None:
    """Print the first events, and what is wrong with them by the rules of the type."""
    from collectors.cli.tap import as_text

    first = mapped.events.slice(0, _SHOWN_ROWS)
    titles = [f"row {n}" for n in mapped.numbers[:_SHOWN_ROWS]]
    rows = [
        (name, *(as_text(v) if v is not None else "-" for v in first.column(i).to_pylist()))
        for i, name in enumerate(first.schema.names)
        if first.column(i).null_count < first.num_rows
    ]
    print_table(("field", *titles), rows, title=f"The first events of type {kind.name}")
    problems = [(row.row, row.reason) for row in mapped.bad] + _broken_rules(kind, mapped)
    for row, problem in sorted(problems)[:_SHOWN_PROBLEMS]:
        print(f"  {f'row {row}' if row else 'a line'}: {problem}")
    total = mapped.events.num_rows + len(mapped.bad)
    print(f"{number(len(problems))} of the first {number(total)} rows would be rejected. Nothing was sent.")


def _broken_rules(kind: EventType, mapped: Mapped) -> list[tuple[int, str]]:
    import pyarrow as pa

    from collectors.clock import SYSTEM_CLOCK
    from collectors.intake.validate import validate

    events = mapped.events
    names = set(events.schema.names)
    columns = [
        events.column(field.name)
        if field.name in names and events.schema.field(field.name).type == field.type
        else pa.nulls(events.num_rows, field.type)
        for field in kind.columns
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=kind.wire_schema)
    return [(mapped.numbers[r.row], r.detail) for r in validate(batch, kind, SYSTEM_CLOCK.now_us())]
