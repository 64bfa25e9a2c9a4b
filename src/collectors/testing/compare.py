"""Say where two collections differ."""

from __future__ import annotations

import math
from collections.abc import Iterator

from collectors.model.metric import Collection, Finding, Sample

_RELATIVE = 1e-9
Series = tuple[str, tuple[str, ...]]


def difference(one: Collection, other: Collection, *, findings: bool = True) -> str:
    """Return the first difference in samples, findings or issues, whatever their order; empty if there is none.

    Values may differ by what the order of additions does to them.
    """
    return next(_differences(one, other, findings=findings), "")


def series(collection: Collection) -> dict[Series, Sample]:
    """Return samples by metric and labels; of two of the same, the last."""
    return {(sample.metric, sample.labels): sample for sample in collection.samples}


def _differences(one: Collection, other: Collection, *, findings: bool) -> Iterator[str]:
    here, there = series(one), series(other)
    for key in sorted(here.keys() | there.keys()):
        a, b = here.get(key), there.get(key)
        if a is None or b is None or not _same(a.value, b.value):
            yield f"{_name(key)} is {_shown(a)} and {_shown(b)}"
    if len(one.samples) != len(other.samples):
        yield f"there are {len(one.samples)} samples and {len(other.samples)}"
    if findings and _matters(one) != _matters(other):
        yield f"findings are {_matters(one)[:3]} and {_matters(other)[:3]}"
    if sorted(i.code for i in one.issues) != sorted(i.code for i in other.issues):
        yield f"issues are {[i.code for i in one.issues]} and {[i.code for i in other.issues]}"


def _same(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=1e-12)


def _matters(collection: Collection) -> list[tuple[str, str]]:
    return sorted((f.rule, f.key) for f in collection.findings if isinstance(f, Finding))


def _name(key: Series) -> str:
    metric, labels = key
    return f"{metric}{{{', '.join(labels)}}}" if labels else metric


def _shown(sample: Sample | None) -> str:
    if sample is None:
        return "missing"
    return f"undefined ({sample.reason})" if sample.value is None else f"{sample.value:.12g}"
