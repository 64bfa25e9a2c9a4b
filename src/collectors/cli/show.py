"""Printing: tables and text for people, JSON for programs. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PIPE_WIDTH = 200
_THOUSAND = 999.5  # rounded it would be a thousand
_PREFIXES = ("", "k", "M", "G", "T")


def console(*, stderr: bool = False) -> Console:
    """Return a console; where no terminal sets its width it is wide, so that programs get whole rows."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = _PIPE_WIDTH
    return made


def note(text: str) -> None:
    """Tell the person something that is not the result."""
    print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> Table:
    """Lay rows out; a column whose name begins with ``>`` is of numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for name in columns:
        right = name.startswith(">")
        # Names must stay readable on a narrow terminal; numbers must not be cut at all.
        made.add_column(name.removeprefix(">"), justify="right" if right else "left", no_wrap=right, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))  # as Text, because names may look like markup
    return made


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> None:
    """Print a table."""
    console().print(table(columns, rows, title=title))


def number(value: float | None, digits: int = 0) -> str:
    """Write a number with its thousands apart; a dash for none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def short(value: float) -> str:
    """Write a number in at most five characters: 999, 12.3k, 4.56M."""
    power = 0
    while abs(value) >= _THOUSAND and power < len(_PREFIXES) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.3g}{_PREFIXES[power]}" if power else f"{value:.0f}"


def utc(time_us: int | None) -> str:
    """Write UTC microseconds as a time to the millisecond; a dash for none."""
    if not time_us:
        return "-"
    time = datetime.fromtimestamp(time_us / 1e6, UTC)
    return f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03d}Z"


@contextlib.contextmanager
def progress(what: str, total: float | None, *, hidden: bool = False) -> Iterator[Callable[[float], None]]:
    """Show progress on a terminal; yields what is to be called with how far it went on."""
    if hidden or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn(what),
        BarColumn(),
        TextColumn("{task.completed:,.0f}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[speed]}"),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, speed="")

        def advance(more: float) -> None:
            bar.advance(task, more)
            speed = bar.tasks[0].speed
            bar.update(task, speed=f"{short(speed)}/s" if speed else "")

        yield advance
