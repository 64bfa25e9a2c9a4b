"""Scaffold a collector that works and passes the contract's checks at once: ``make new-collector NAME=… FAMILY=…``."""

from __future__ import annotations

import json
import keyword
import sys
from pathlib import Path
from string import Template

ROOT = Path(__file__).parent.parent
TEMPLATES = Path(__file__).parent / "templates"
ENTRY_POINTS = '[project.entry-points."collectors.collectors"]\n'

KINDS = {"performance": "sampling", "business": "analytical", "security": "streaming", "ml": "analytical"}
"""Which kind of collector a family mostly has."""

EXPECTED: dict[str, dict[str, str | tuple[str, float]]] = {
    "sampling": {"typical/expected.jsonl": ("load", 0.5), "not_there/expected.error": "source_unavailable"},
    "analytical": {"typical/expected.jsonl": ("plays", 2)},
    "streaming": {"typical/expected.jsonl": ("events", 3)},
}
"""What the examples of a template lead to: one sample, or an error."""


def main() -> int:
    """Write the collector with its example, its golden case and its entry point; refuse to overwrite."""
    if len(sys.argv) != 3 or sys.argv[2] not in KINDS:
        print(f"usage: make new-collector NAME=disk_latency FAMILY={'|'.join(KINDS)}")
        return 2
    name, family = sys.argv[1:]
    if not name.isidentifier() or not name.islower() or keyword.iskeyword(name):
        print(f"{name!r} is no name for a collector; write lower_snake, such as disk_latency")
        return 2
    source = ROOT / "src" / "collectors" / "catalog" / family / f"{name}.py"
    golden = ROOT / "tests" / "golden" / name
    for path in (source, golden):
        if path.exists():
            print(f"{path.relative_to(ROOT)} exists already")
            return 2
    cls = "".join(word.capitalize() for word in name.split("_"))
    template = Template((TEMPLATES / f"{KINDS[family]}.py.txt").read_text())
    _write(source, template.substitute(name=name, cls=cls, title=name.replace("_", " ").capitalize()))
    for case, outcome in EXPECTED[KINDS[family]].items():
        _write(golden / case, _line(name, outcome))
    project = ROOT / "pyproject.toml"
    line = f'{name} = "collectors.catalog.{family}.{name}:{cls}Collector"\n'
    project.write_text(project.read_text().replace(ENTRY_POINTS, ENTRY_POINTS + line))
    print(f"wrote {source.relative_to(ROOT)}, {golden.relative_to(ROOT)} and the entry point in pyproject.toml")
    print("next: fill emits, Config, examples and collect as docs/writing-collectors.md says,")
    print("      then `make setup` to register it, `make golden UPDATE=1`, `make docs`, `make check`")
    return 0


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _line(name: str, outcome: str | tuple[str, float]) -> str:
    if isinstance(outcome, str):
        return f"{outcome}\n"
    metric, value = outcome
    return json.dumps({"metric": f"collectors.{name}.{metric}", "labels": [], "value": value}) + "\n"


if __name__ == "__main__":
    sys.exit(main())
