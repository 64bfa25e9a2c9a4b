"""Write the file a new collector starts from: ``make new-collector NAME=disk_latency FAMILY=performance``."""

from __future__ import annotations

import keyword
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FAMILIES = ("performance", "business", "security", "ml")

TEMPLATE = '''"""{title}: say here what it measures, by whose definition, and in which units."""

from __future__ import annotations

from collectors.config.collector import CollectorConfig
from collectors.contract.collector import Sampling
from collectors.model.metric import Collection, Kind, MetricSpec, Sample, Unit, Window


class {cls}Config(CollectorConfig):
    """Settings of ``{name}``."""


class {cls}Collector(Sampling[{cls}Config]):
    """{title}."""

    name = "{name}"
    Config = {cls}Config
    emits = (MetricSpec("collectors.{name}.windows", Kind.GAUGE, Unit.SECONDS, "Length of the collected window."),)

    async def collect(self, window: Window) -> Collection:
        seconds = (window.end_us - window.start_us) / 1e6
        return Collection((Sample("collectors.{name}.windows", seconds),))
'''

TEST = '''"""{title} tells the truth about its source."""

from __future__ import annotations

from collectors.catalog.{family}.{name} import {cls}Collector
from collectors.model.metric import Window


async def test_it_measures_the_window() -> None:
    collection = await {cls}Collector().collect(Window(0, 2_000_000))

    assert [(s.metric, s.value) for s in collection.samples] == [("collectors.{name}.windows", 2.0)]
'''


def main() -> int:
    """Write the collector, its test and its entry point; refuse to overwrite."""
    if len(sys.argv) != 3 or sys.argv[2] not in FAMILIES:
        print(f"usage: make new-collector NAME=disk_latency FAMILY={'|'.join(FAMILIES)}")
        return 2
    name, family = sys.argv[1:]
    if not name.isidentifier() or not name.islower() or keyword.iskeyword(name):
        print(f"{name!r} is no name for a collector; write lower_snake, such as disk_latency")
        return 2
    cls = "".join(word.capitalize() for word in name.split("_"))
    title = name.replace("_", " ").capitalize()
    source = ROOT / "src" / "collectors" / "catalog" / family / f"{name}.py"
    test = ROOT / "tests" / "unit" / "catalog" / family / f"test_{name}.py"
    if source.exists() or test.exists():
        print(f"{source.relative_to(ROOT)} exists already")
        return 2
    for path, text in ((source, TEMPLATE), (test, TEST)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(name=name, family=family, cls=cls, title=title))
    project = ROOT / "pyproject.toml"
    head = '[project.entry-points."collectors.collectors"]\n'
    line = f'{name} = "collectors.catalog.{family}.{name}:{cls}Collector"\n'
    project.write_text(project.read_text().replace(head, head + line))
    print(f"wrote {source.relative_to(ROOT)} and {test.relative_to(ROOT)}, and the entry point in pyproject.toml")
    print("next: fill emits, Config and collect; run `make setup` to register it, `make docs`, `make check`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
