"""What a lying or flooding collector returns is cut down to what it declared, within bounds, and told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collectors.model.metric import Collection, Finding, Issue, Kind, MetricSpec, Sample, Severity, Unit
from collectors.runtime import stamping
from collectors.runtime.stamping import MAX_AHEAD_US, MAX_KINDS, MAX_SAMPLES, stamp

NOW = 1_700_000_000_000_000
SPECS = {
    spec.name: spec
    for spec in (
        MetricSpec("t.a", Kind.GAUGE, Unit.COUNT, "A.", ("x",)),
        MetricSpec("t.b", Kind.GAUGE, Unit.COUNT, "B.", nullable=True),
    )
}


@given(
    st.lists(
        st.builds(
            Sample,
            st.sampled_from(["t.a", "t.b", "t.c", "t.d"]),
            st.one_of(st.none(), st.floats(-10, 10)),
            st.lists(st.sampled_from("pq"), max_size=2).map(tuple),
            st.sampled_from([0, 5, NOW, NOW + MAX_AHEAD_US, NOW + MAX_AHEAD_US + 1, 2**62]),
            st.just("why"),
        ),
        max_size=30,
    )
)
def test_only_what_was_declared_passes_and_its_time_is_plausible(samples: list[Sample]) -> None:
    given_issue = Issue("own", "told by the collector")
    finding = Finding("r", "k", Severity.INFO, "s")
    result = stamp(Collection(tuple(samples), (finding,), (given_issue,)), SPECS, NOW)
    wanted = [
        s
        for s in samples
        if s.metric in SPECS
        and len(s.labels) == len(SPECS[s.metric].labels)
        and (s.value is not None or SPECS[s.metric].nullable)
    ]
    assert [(s.metric, s.value, s.labels, s.reason) for s in result.samples] == [
        (s.metric, s.value, s.labels, s.reason) for s in wanted
    ]
    for before, after in zip(wanted, result.samples, strict=True):
        assert after.time_us == (before.time_us if 0 < before.time_us <= NOW + MAX_AHEAD_US else NOW)
    assert result.findings == (finding,)
    assert result.issues[0] == given_issue
    wrong = len(wanted) < len(samples) or any(s.time_us > NOW + MAX_AHEAD_US for s in wanted)
    assert (len(result.issues) > 1) == wrong


def test_equal_faults_are_told_once_with_their_number() -> None:
    samples = tuple(Sample("t.c", float(n)) for n in range(3))
    (issue,) = stamp(Collection(samples), SPECS, NOW).issues
    assert issue == Issue("undeclared", "t.c is not declared with these labels (3 times)")


def test_endless_kinds_of_fault_are_not_told_endlessly() -> None:
    samples = tuple(Sample(f"t.c{n}", 1.0) for n in range(500))
    issues = stamp(Collection(samples), SPECS, NOW).issues
    assert len(issues) == MAX_KINDS + 1
    assert issues[-1].message.endswith(f"({500 - MAX_KINDS} times)")


def test_a_flood_is_cut_and_told() -> None:
    samples = (Sample("t.b", 1.0, (), 5),) * (MAX_SAMPLES + 7)
    result = stamp(Collection(samples), SPECS, NOW)
    assert len(result.samples) == MAX_SAMPLES
    assert [i.code for i in result.issues] == ["flooded"]
    assert result.issues[0].message.startswith("7 samples")


def test_nothing_is_done_to_nothing() -> None:
    empty = Collection(issues=(Issue("a", "b"),))
    assert stamping.stamp(empty, SPECS, NOW) is empty
