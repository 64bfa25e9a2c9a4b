"""What a collector brought back, made safe to pass on: declared, stamped, bounded."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from collectors.model.metric import Collection, Issue, MetricSpec, Sample

MAX_SAMPLES = 20_000
"""Most samples one run may bring; more would keep the others waiting while they are looked at."""

MAX_AHEAD_US = 60_000_000
"""A sample further than this in the future has a wrong clock; its time is replaced by ours."""


MAX_KINDS = 20
"""Most different faults that are told of one run."""


def stamp(collection: Collection, specs: Mapping[str, MetricSpec], now_us: int) -> Collection:
    """Return the samples that are as declared, with a time each, and an issue for each kind of one that is not."""
    if not collection.samples:
        return collection
    good: list[Sample] = []
    wrong: dict[tuple[str, str], int] = {}
    latest = now_us + MAX_AHEAD_US
    for sample in islice(collection.samples, MAX_SAMPLES):
        spec = specs.get(sample.metric)
        if spec is None or len(spec.labels) != len(sample.labels):
            _count(wrong, "undeclared", f"{sample.metric} is not declared with these labels")
        elif sample.value is None and not spec.nullable:
            _count(wrong, "undeclared", f"{sample.metric} has no value but is not declared nullable")
        elif sample.time_us > latest:
            _count(wrong, "future", f"{sample.metric} was more than a minute ahead; it was given the present time")
            good.append(Sample(sample.metric, sample.value, sample.labels, now_us, sample.reason))
        elif sample.time_us:
            good.append(sample)
        else:
            good.append(Sample(sample.metric, sample.value, sample.labels, now_us, sample.reason))
    if len(collection.samples) > MAX_SAMPLES:
        left_out = len(collection.samples) - MAX_SAMPLES
        wrong["flooded", f"{left_out} samples beyond the {MAX_SAMPLES} of one run were left out"] = 1
    if not wrong:
        return Collection(tuple(good), collection.findings, collection.issues)
    issues = tuple(
        Issue(code, message if times == 1 else f"{message} ({times} times)") for (code, message), times in wrong.items()
    )
    return Collection(tuple(good), collection.findings, (*collection.issues, *issues))


def _count(wrong: dict[tuple[str, str], int], code: str, message: str) -> None:
    if len(wrong) >= MAX_KINDS and (code, message) not in wrong:
        code, message = "more", "samples with other faults were left out or corrected"
    wrong[code, message] = wrong.get((code, message), 0) + 1
