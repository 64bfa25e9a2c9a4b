"""How one field of INFO becomes a sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from collectors.catalog.performance.redis.area import Area, Reading, nothing
from collectors.catalog.performance.redis.info import number
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

OWN = "collectors.redis."
"""Names under which OpenTelemetry has nothing; the others are those of its Redis receiver."""

WORDS: Mapping[str, float] = {"ok": 1, "up": 1, "yes": 1, "err": 0, "down": 0, "no": 0, "none": 0}
"""What answers in words are as numbers: 1 is what one hopes for."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of INFO: where it goes, and what its values are multiplied by.

    ``never`` says what -1 means where it stands for something that has not happened.
    """

    source: str
    spec: MetricSpec
    labels: tuple[str, ...] = ()
    scale: float = 1
    never: str = ""

    def derive(self, text: str) -> Sample | None:
        """Return the sample, None if the text is no value."""
        value = WORDS.get(text)
        if value is None:
            value = number(text)
        if value is None:
            return None
        if self.never and value < 0:
            return Sample(self.spec.name, None, self.labels, reason=self.never)
        return Sample(self.spec.name, value if self.scale == 1 else value * self.scale, self.labels)


def gauge(
    source: str, name: str, unit: Unit, description: str, *, scale: float = 1, never: str = "", alias: str = ""
) -> Field:
    """Make a field of a metric of its own that goes up and down."""
    aliases = (alias,) if alias else ()
    spec = MetricSpec(name, Kind.GAUGE, unit, description, aliases=aliases, nullable=bool(never))
    return Field(source, spec, (), scale, never)


def counter(source: str, name: str, unit: Unit, description: str, *, scale: float = 1) -> Field:
    """Make a field of a metric of its own that only grows."""
    return Field(source, MetricSpec(name, Kind.COUNTER, unit, description), (), scale)


def family(spec: MetricSpec, sources: Mapping[str, str], *, scale: float = 1) -> tuple[Field, ...]:
    """Make fields of one metric, by the value of its label."""
    return tuple(Field(source, spec, (label,), scale) for label, source in sources.items())


def area(name: str, fields: Sequence[Field]) -> Area:
    """Return the area that passes on ``fields``; of two for one series, the first that is there."""
    specs = tuple({field.spec.name: field.spec for field in fields}.values())

    def derive(now: Reading, before: Reading | None) -> Iterator[Sample]:  # noqa: ARG001  # as areas are called
        told = now.info.fields
        given: set[tuple[str, tuple[str, ...]]] = set()
        for field in fields:
            text = told.get(field.source)
            if text is not None and (field.spec.name, field.labels) not in given:
                made = field.derive(text)
                if made is not None:
                    given.add((field.spec.name, field.labels))
                    yield made

    return Area(name, specs, nothing, derive)
