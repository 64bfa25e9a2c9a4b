"""Compare what the PostgreSQL collector declares with what other projects tell, and write it down as a page.

``python -m tests.support.database_coverage`` writes ``docs/coverage/database_performance.md`` anew.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = ROOT / "tests" / "data" / "coverage" / "postgres.tsv"
PAGE = ROOT / "docs" / "coverage" / "database_performance.md"


@dataclass(frozen=True)
class Covered:
    """A name that ``source`` tells, our metrics for it, or why there is none."""

    source: str
    name: str
    metrics: tuple[str, ...]
    reason: str


def covered() -> list[Covered]:
    """Return the list, in its order."""
    lines = [line for line in LIST.read_text().splitlines() if not line.startswith("#")]
    return [
        Covered(row["source"], row["name"], tuple(row["metrics"].replace("-", "").split()), row["reason"] or "")
        for row in csv.DictReader(lines, delimiter="\t")
    ]


def page() -> str:
    """Return the report as Markdown."""
    names = covered()
    lines = [
        "# What `database_performance` covers",
        "",
        "What other projects tell of PostgreSQL and TimescaleDB, and the metric that tells it here. Generated from",
        "`tests/data/coverage/postgres.tsv` by `python -m tests.support.database_coverage`; a test compares it with",
        "what the collector declares.",
        "",
        "| source | names | covered | not on this platform |",
        "|---|---|---|---|",
    ]
    told = Counter(name.source for name in names if name.metrics)
    for source, number in Counter(name.source for name in names).items():
        lines.append(f"| {source} | {number} | {told[source]} | {number - told[source]} |")
    for source in dict.fromkeys(name.source for name in names):
        lines += ["", f"## {source}", "", "| name | here |", "|---|---|"]
        lines += [
            f"| `{name.name}` | {', '.join(f'`{m}`' for m in name.metrics) or f'not on this platform: {name.reason}'} |"
            for name in names
            if name.source == source
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page())
