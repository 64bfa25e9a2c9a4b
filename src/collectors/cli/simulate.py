"""``collectors simulate``: drive the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collectors.cli import options
from collectors.cli.show import progress
from collectors.clock import SYSTEM_CLOCK
from collectors.errors import ConfigError

if TYPE_CHECKING:
    from collectors.cli.sending import Receipts
    from collectors.cli.traffic import Plan, Traffic

MEMORY = "memory"
FLAT_OUT = "flat-out"
INTERRUPTED = 130


class Form(StrEnum):
    """Wire formats."""

    ARROW = "arrow"
    NDJSON = "ndjson"


def parse_rate(text: str) -> float | None:
    """Read a rate; None stands for flat out."""
    if text == FLAT_OUT:
        return None
    try:
        rate = float(text.replace("_", "").replace(",", ""))
    except ValueError:
        rate = 0.0
    if not rate > 0:
        raise ConfigError(f"{text!r} is no rate", where="--rate", fix=f"give events a second, or {FLAT_OUT}.")
    return rate


EXAMPLES = options.examples(
    "collectors simulate --rate 5000 --seconds 60",
    "collectors simulate --tenant acme --history 30 --users 2000",
    "collectors simulate --to memory --rate flat-out --events 5000000",
    "collectors simulate --to events.parquet --history 90 --json",
)


def simulate(
    *,
    to: Annotated[
        str | None,
        typer.Option(
            help="URL of a server; memory; or a file name ending in .parquet, .ndjson or .csv, without which it names"
            " the folder for TENANT/TYPE files. By default the server of --url or --data.",
            metavar="URL|FILE|memory",
        ),
    ] = None,
    tenant: Annotated[
        list[str] | None,
        typer.Option("--tenant", "-t", help="Tenant to simulate, repeatable; the three demo tenants by default."),
    ] = None,
    rate: Annotated[str, typer.Option(help="Events a second over all tenants, or flat-out.")] = "1000",
    events: Annotated[int | None, typer.Option(help="Stop after this many live events.", min=0)] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop the live events after this long.", min=0)] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="The same seed makes the same people, tracks, choices and event ids. Another each time."),
    ] = None,
    users: Annotated[int, typer.Option(help="Listeners over all tenants.")] = 50_000,
    batch_rows: Annotated[
        int | None, typer.Option(help="Most events in a request; by default 0.2 s of the rate.", min=1, max=100_000)
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="How events are written on the wire.")] = Form.ARROW,
    connections: Annotated[int, typer.Option(help="Connections to the server.", min=1, max=64)] = 2,
    history: Annotated[
        int, typer.Option(help="Days of past to make first, at full speed; nothing live unless asked for.", min=0)
    ] = 0,
    url: options.Url = None,
    key: options.Key = None,
    data: options.Data = options.DEFAULT_DATA,
    as_json: options.AsJson = False,
) -> None:
    """Make the traffic of a streaming platform.

    Events of every kind, with sessions, contracts, attacks, drifting models and A/B tests in them, go to a server, to
    files, or nowhere to see how fast they come. What is true of them is printed beside what the receipts say.
    """
    from collectors.cli.traffic import Plan, Traffic, random_seed

    plan = Plan(
        tenants=tenant or (),
        rate=parse_rate(rate),
        events=events,
        seconds=seconds,
        seed=seed if seed is not None else random_seed(),
        users=users,
        batch_rows=batch_rows,
        history_days=history,
    )
    run = _Run(plan, Traffic(plan), as_json=as_json)
    if to == MEMORY:
        run.into(lambda *_: None)
    elif to is not None and not to.startswith(("http://", "https://")):
        run.into_files(Path(to))
    else:
        run.to_server(to or url, key, data, form, connections)
    run.report()


class _Run:
    """One run of the command."""

    def __init__(self, plan: Plan, traffic: Traffic, *, as_json: bool) -> None:
        self._traffic = traffic
        self._seed = plan.seed
        self._as_json = as_json
        self._receipts: Receipts | None = None
        self._files: list[str] = []
        self._interrupted = False
        self._total = None if plan.history_days else plan.events
        self._began = SYSTEM_CLOCK.monotonic()

    def into(self, take: Callable[[str, str, Any], None]) -> None:
        """Hand the batches to ``take``, at the plan's rate."""
        with progress("simulating", self._total, hidden=self._as_json) as advance:
            try:
                for tenant, kind, batch in self._paced():
                    take(tenant, kind, batch)
                    advance(batch.num_rows)
            except KeyboardInterrupt:
                self._interrupted = True

    def into_files(self, path: Path) -> None:
        """Write the batches to files."""
        from collectors.simulate.encode import FileFormat, FileWriter

        try:
            form = FileFormat(path.suffix.removeprefix("."))
        except ValueError:
            endings = ", ".join(f".{f}" for f in FileFormat)
            raise ConfigError(f"{path} is no file to write", where="--to", fix=f"end its name in {endings}.") from None
        with FileWriter(path.with_suffix(""), form) as writer:
            self.into(writer.write)
            self._files = [str(p) for p in writer.paths]

    def to_server(self, url: str | None, key: str | None, data: Path, form: Form, connections: int) -> None:
        """Send the batches to a server."""
        from collectors.cli.connect import find_server
        from collectors.cli.sending import Media, Sender, send_all
        from collectors.cli.traffic import parcels

        target = find_server(url, key, data)
        media = Media.ARROW if form is Form.ARROW else Media.NDJSON
        shown = 0
        with progress("simulating", self._total, hidden=self._as_json) as advance:

            def answered(receipts: Receipts) -> None:
                nonlocal shown
                advance(receipts.offered - shown)
                shown = receipts.offered

            self._receipts, self._interrupted = send_all(
                lambda: Sender(target, connections=connections),
                parcels(self._traffic.batches(), media),
                pace=self._traffic.pace,
                on_answer=answered,
            )

    def report(self) -> None:
        """Print the sums, and exit as they deserve."""
        seconds = max(SYSTEM_CLOCK.monotonic() - self._began, 1e-9)
        truth = self._traffic.truth
        if self._as_json:
            from collectors.cli.show import print_json

            receipts = self._receipts.to_dict() if self._receipts else None
            rate = truth.total / seconds
            facts = {
                "seed": self._seed,
                "events": truth.total,
                "seconds": seconds,
                "events_per_second": rate,
                "files": self._files,
            }
            print_json({**facts, "receipts": receipts, "truth": truth.to_dict()})
        else:
            from collectors.cli.simulate_report import print_report

            print_report(truth, self._receipts, self._files, seconds)
            print(f"seed {self._seed}")
        if self._interrupted:
            raise typer.Exit(INTERRUPTED)
        if self._receipts is not None and (self._receipts.unaccounted or self._receipts.offered != truth.total):
            raise typer.Exit(1)

    def _paced(self) -> Iterator[Any]:
        for tagged in self._traffic.batches():
            wait = self._traffic.pace(tagged[2].num_rows)
            if wait > 0:
                SYSTEM_CLOCK.block(wait)
            yield tagged
