"""Generate the reference pages from what the code declares: ``python -m tools.docs [--check]``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

from collectors.app.profiles import page as tenants_page
from collectors.cli.reference import command_reference
from collectors.contract.collector import Analytical, BaseCollector, Streaming
from collectors.contract.registry import collector_class, collector_names
from collectors.model.event_type import Field
from collectors.model.event_types import EVENT_TYPES
from collectors.model.rollups import ROLLUPS

ROOT = Path(__file__).parent.parent


def events_page() -> str:
    """The vocabulary: one table for each event type."""
    lines = [
        "# Event types",
        "",
        "Generated from `src/collectors/model/event_types.py`. Every type has the envelope first:",
        "",
        *_fields(EVENT_TYPES["playback"].columns[:6]),
        "",
        "The server adds `received_time`. A *marked* text field is stored as bytes: pseudonym, ciphertext,",
        "truncated address or the text itself, by the tenant's policy. Times in JSON are RFC 3339 text or a number",
        "since the Unix epoch; the unit (s, ms, µs) is told by its size.",
    ]
    for t in EVENT_TYPES.values():
        lines += [
            "",
            f"## {t.name}",
            "",
            f"{t.description} Accepted up to {t.horizon.days} days old, kept {t.retention.days} days.",
            "",
            *_fields(t.fields),
        ]
    lines += ["", "# Rollups", ""]
    for r in ROLLUPS.values():
        keys = ", ".join(f"`{k}`" for k in (r.period, *(name for name, _ in r.keys)))
        sums = ", ".join(f"`{m.name}`" for m in r.measures)
        lines += [f"- **{r.name}**, from `{r.source}`: {r.description} By {keys}: {sums}."]
    return "\n".join(lines) + "\n"


def _fields(fields: Iterable[Field]) -> list[str]:
    lines = ["| field | type | rule | personal | meaning |", "|---|---|---|---|---|"]
    for f in fields:
        rules = ["required"] if f.required else []
        if f.minimum is not None:
            rules.append(f"≥ {f.minimum:g}")
        if f.maximum is not None:
            rules.append(f"≤ {f.maximum:g}")
        if f.choices:
            rules.append("one of " + ", ".join(f.choices))
        mark = f"{f.mark}: {f.default_policy}" if f.mark else ""
        lines.append(f"| `{f.name}` | {f.type} | {'; '.join(rules)} | {mark} | {f.description} |")
    return lines


def collectors_page() -> str:
    """The catalogue: one section for each collector, one row for each metric."""
    lines = ["# Collectors", "", "Generated from what each collector declares."]
    for name in collector_names():
        cls = collector_class(name)
        doc = (cls.__doc__ or "").strip()
        lines += ["", f"## {name}", "", f"`{cls.__name__}`, {_kind(cls)}, {cls.stability}.", "", _dedent(doc), ""]
        lines += ["| metric | kind | unit | labels | meaning |", "|---|---|---|---|---|"]
        for m in cls.emits:
            alias = f" Alias: {', '.join(f'`{a}`' for a in m.aliases)}." if m.aliases else ""
            null = " May be undefined." if m.nullable else ""
            labels = ", ".join(f"`{k}`" for k in m.labels)
            lines.append(f"| `{m.name}` | {m.kind} | {m.unit} | {labels} | {m.description}{null}{alias} |")
        lines += ["", "| setting | default | meaning |", "|---|---|---|"]
        for key, info in cls.Config.model_fields.items():
            default = info.get_default(call_default_factory=True)
            lines.append(f"| `{key}` | `{default!r}` | {' '.join((info.description or '').split())} |")
    return "\n".join(lines) + "\n"


def _kind(cls: type[BaseCollector[object]]) -> str:  # type: ignore[type-var]  # any configuration
    if issubclass(cls, Streaming):
        return f"streaming over {', '.join(f'`{t}`' for t in cls.event_types)}"
    return "analytical" if issubclass(cls, Analytical) else "sampling"


def _dedent(doc: str) -> str:
    return "\n".join(line.strip() for line in doc.splitlines())


def notices_page() -> str:
    """Third-party packages that are installed with the product, with their licences."""
    wanted = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if "==" in line and not line.startswith(" ")
    }
    lines = ["# Third-party notices", "", "Installed with the product, each under its own licence.", ""]
    lines += ["| package | version | licence |", "|---|---|---|"]
    found = {d.metadata["Name"].lower().replace("_", "-"): d for d in distributions()}
    lines += [f"| {n} | {found[n].version} | {_licence(found[n])} |" for n in sorted(wanted & found.keys())]
    lines += ["", "Part of the product itself:", "", "| part | version | licence |", "|---|---|---|"]
    lines.append("| uPlot (`src/collectors/server/page/vendor/uplot`) | 1.6.32 | MIT, its text beside it |")
    return "\n".join(lines) + "\n"


def _licence(package: Distribution) -> str:
    meta = package.metadata
    text: str = meta.get("License-Expression") or ""
    if not text:
        classified = [c.rsplit(" :: ", 1)[1] for c in meta.get_all("Classifier") or [] if c.startswith("License ::")]
        text = "; ".join(classified) or (meta.get("License") or "").strip().split("\n")[0]
    return text or "see the package"


PAGES = {
    "docs/cli.md": command_reference,
    "docs/events.md": events_page,
    "docs/collectors.md": collectors_page,
    "docs/tenants.md": tenants_page,
    "THIRD_PARTY_NOTICES.md": notices_page,
}


def main() -> int:
    """Write the pages, or with ``--check`` say which are out of date."""
    stale = []
    for name, make in PAGES.items():
        path, text = ROOT / name, make()
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text)
    print("\n".join(f"{'stale' if '--check' in sys.argv else 'written'}: {name}" for name in stale) or "up to date")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
