"""Kaplan-Meier and Nelson-Aalen against published numbers, a plain recomputation, and what must hold of any data.

Published: Freireich's leukaemia trial (gehan) in Kalbfleisch & Prentice, and Klein & Moeschberger; R's survival (lung,
rossi); the lifelines package (waltons, dd).
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.support.survival_data import lives, rossi

from collectors.analytics.survival import kaplan_meier, life_table, nelson_aalen
from collectors.errors import BadInput

SIX_MP, PLACEBO = "2", "1"


@pytest.fixture(params=[int, float], ids=["counted", "sorted"])
def kind(request):
    """Both ways to make a life table: by counting whole numbers, and by sorting."""
    return request.param


def test_survival_and_its_errors_on_6_mp_are_the_published_ones(kind):
    time, event = lives("gehan").of(SIX_MP)
    curve = kaplan_meier(time.astype(kind), event)
    assert curve.times.tolist() == [6, 7, 10, 13, 16, 22, 23]
    published = [0.857143, 0.806723, 0.752941, 0.690196, 0.627451, 0.537815, 0.448179]
    assert curve.survival == pytest.approx(published, abs=5e-7)
    errors = [curve.at(t).standard_error for t in curve.times]
    assert errors == pytest.approx([0.0764, 0.0869, 0.0963, 0.1068, 0.1141, 0.1282, 0.1346], abs=5e-5)
    assert curve.median().value == 23


def test_median_on_placebo_is_8(kind):
    time, event = lives("gehan").of(PLACEBO)
    assert kaplan_meier(time.astype(kind), event).median().value == 8


def test_median_of_lung_has_the_intervals_of_both_scales(kind):
    lung = lives("lung")
    curve = kaplan_meier(lung.time.astype(kind), lung.event)
    assert (curve.table.subjects, int(curve.deaths.sum())) == (228, 165)
    by_log_log, by_log = curve.median(), curve.median(scale="log")
    assert (by_log_log.value, by_log_log.lower, by_log_log.upper) == (310, 284, 361)
    assert (by_log.value, by_log.lower, by_log.upper) == (310, 285, 363)


@pytest.mark.parametrize(
    ("group", "subjects", "deaths", "median"), [("control", 129, 122, (58, 56, 60)), ("miR-137", 34, 34, (26, 19, 29))]
)
def test_medians_of_waltons_are_the_published_ones(group, subjects, deaths, median):
    time, event = lives("waltons").of(group)
    curve = kaplan_meier(time, event)
    found = curve.median()
    assert (len(time), int(event.sum())) == (subjects, deaths)
    assert (found.value, found.lower, found.upper) == median


@pytest.mark.parametrize(
    ("group", "subjects", "deaths", "median", "after_4"),
    [("Democracy", 1187, 1027, 3, 0.314955), ("Non-democracy", 621, 441, 6, 0.610095)],
)
def test_regimes_last_as_long_as_published(group, subjects, deaths, median, after_4):
    time, event = lives("dd").of(group)
    curve = kaplan_meier(time, event)
    assert (len(time), int(event.sum()), curve.median().value) == (subjects, deaths, median)
    assert curve.at(4).value == pytest.approx(after_4, abs=5e-7)


def test_recidivism_survival_error_and_restricted_mean_are_the_published_ones(kind):
    _, week, arrest = rossi()
    curve = kaplan_meier(week.astype(kind), arrest)
    assert curve.at(26).value == pytest.approx(0.875)
    end = curve.at(52)
    assert end.value == pytest.approx(0.736111, abs=5e-7)
    assert end.standard_error == pytest.approx(0.021205, abs=5e-7)
    assert curve.restricted_mean(52).value == pytest.approx(45.854167, abs=5e-7)
    # lifelines 0.30.3: restricted_mean_survival_time(KaplanMeierFitter().fit(week, arrest), 52, return_variance=True)
    assert curve.restricted_mean(52).standard_error == pytest.approx(0.608509, abs=2e-3)


RECORDS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 12), st.booleans()).map(lambda r: (r[0], r[0] + r[1], r[2])),
    min_size=1,
    max_size=40,
)


def by_hand(records: list[tuple[int, int, bool]]) -> dict[int, tuple[int, int, Fraction]]:
    """Return at risk, deaths and survival by time of death, in exact fractions."""
    survival, rows = Fraction(1), {}
    for t in sorted({end for _, end, died in records if died}):
        at_risk = sum(entry < t <= end for entry, end, _ in records)
        deaths = sum(died and end == t for _, end, died in records)
        survival *= Fraction(at_risk - deaths, at_risk)
        rows[t] = (at_risk, deaths, survival)
    return rows


@given(RECORDS)
def test_delayed_entry_agrees_with_exact_fractions_however_it_is_tabulated(records):
    entry, end, died = (np.array(column) for column in zip(*records, strict=True))
    expected = by_hand(records)
    for curve in (kaplan_meier(end, died, entry), kaplan_meier(end.astype(float), died, entry.astype(float))):
        assert curve.times.tolist() == list(expected)
        assert curve.at_risk.tolist() == [n for n, _, _ in expected.values()]
        assert curve.deaths.tolist() == [d for _, d, _ in expected.values()]
        assert curve.survival == pytest.approx([float(s) for _, _, s in expected.values()])


@given(RECORDS)
def test_counting_and_sorting_agree_on_how_far_anybody_was_followed(records):
    entry, end, died = (np.array(column) for column in zip(*records, strict=True))
    counted, by_sort = life_table(end, died, entry), life_table(end.astype(float), died, entry.astype(float))
    assert (counted.followed_to, counted.gap) == (by_sort.followed_to, by_sort.gap)
    # By hand: the first whole time at which all who came have gone.
    ends = [t for t in range(max(end) + 1) if not any(a < t + 1 and t < b and a <= t - (t > 0) for a, b, _ in records)]
    assert counted.followed_to == ends[0]


@given(RECORDS, st.randoms(use_true_random=False))
def test_order_and_splitting_into_counts_change_nothing(records, random):
    shuffled = records[:]
    random.shuffle(shuffled)
    distinct = sorted(set(records))
    counts = [records.count(r) for r in distinct]
    curves = []
    for rows, count in ((records, None), (shuffled, None), ([*distinct, (0, 5, True)], [*counts, 0])):
        entry, end, died = (np.array(column) for column in zip(*rows, strict=True))
        curves += [kaplan_meier(end.astype(n), died, entry.astype(n), count) for n in (int, float)]
    for curve in curves[1:]:
        assert curve.survival.tolist() == curves[0].survival.tolist()
        assert curve.log_variance.tolist() == curves[0].log_variance.tolist()
        assert curve.table.followed_to == curves[0].table.followed_to


@given(RECORDS, st.integers(0, 30))
def test_nothing_is_ever_nan_and_the_undefined_says_why(records, time):
    entry, end, died = (np.array(column) for column in zip(*records, strict=True))
    curve = kaplan_meier(end, died, entry)
    lower, upper = curve.band()
    assert np.isfinite(curve.survival).all()
    assert np.all((lower >= 0) & (lower <= curve.survival) & (curve.survival <= upper + 1e-12) & (upper <= 1))
    hazard = nelson_aalen(end, died, entry)
    for found in (curve.at(time), curve.median(), curve.restricted_mean(time), hazard.at(time)):
        numbers = [v for v in (found.value, found.lower, found.upper, found.standard_error) if v is not None]
        assert all(math.isfinite(v) for v in numbers)
        assert found.reason or None not in (found.value, found.lower, found.upper)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60))
def test_without_censoring_survival_is_the_share_still_there_and_its_variance_binomial(times):
    curve = kaplan_meier(np.array(times), np.ones(len(times), dtype=bool))
    for t in range(52):
        share = sum(x > t for x in times) / len(times)
        found = curve.at(t)
        assert found.value == pytest.approx(share)
        if 0 < share < 1:
            assert found.standard_error == pytest.approx(math.sqrt(share * (1 - share) / len(times)))
    assert curve.restricted_mean(50).value == pytest.approx(sum(times) / len(times))


def test_bounds_are_those_of_the_log_log_formula():
    time, event = lives("gehan").of(SIX_MP)
    found = kaplan_meier(time, event).at(10)
    z, sigma = 1.959963984540054, found.standard_error / (found.value * -math.log(found.value))
    assert found.lower == pytest.approx(found.value ** math.exp(z * sigma))
    assert found.upper == pytest.approx(found.value ** math.exp(-z * sigma))


def test_when_nobody_leaves_survival_is_1_and_the_rest_is_undefined_with_a_reason():
    curve = kaplan_meier([5, 9], [0, 0])
    assert curve.at(9).value == 1.0
    assert curve.at(9).lower is None
    assert "nobody had left" in curve.at(9).reason
    assert curve.median().value is None
    assert curve.restricted_mean(9).value == 9
    assert "more than 9" in curve.at(10).reason
    assert "more than 9" in curve.restricted_mean(9.5).reason


def test_when_all_leave_at_once_survival_falls_to_0_and_stays_there():
    curve = kaplan_meier([4, 4, 4], [1, 1, 1])
    assert curve.at(3.9).value == 1.0
    for time in (4, 400):
        assert (curve.at(time).value, curve.at(time).lower) == (0.0, None)
    assert curve.median().value == 4
    assert curve.restricted_mean(10).value == 4
    assert curve.restricted_mean(10).standard_error == 0


def test_one_subject_gives_a_step_or_nothing():
    assert kaplan_meier([7], [1]).at(7).value == 0.0
    assert kaplan_meier([7], [0]).at(7).value == 1.0
    assert kaplan_meier([0], [1]).at(0).value == 0.0


def test_nobody_gives_a_reason():
    for kind in (int, float):
        curve = kaplan_meier(np.zeros(0, kind), np.zeros(0, bool))
        assert curve.at(0).reason == "nobody was observed"
        assert curve.median().value is None
    late = kaplan_meier(np.zeros(0), np.zeros(0, bool), np.zeros(0))
    assert late.at(0).value is None


def test_nothing_is_claimed_across_a_time_at_which_nobody_was_observed():
    """A peer's curve would go on as if the hazard of the unobserved time were 0, or stay at 0 for good."""
    for kind in (int, float):
        time, entry = np.array([3, 10, 12], dtype=kind), np.array([0, 5, 5], dtype=kind)
        curve = kaplan_meier(time, [0, 1, 0], entry)
        assert curve.at(3).value == 1.0
        assert "between 3 and the next entry" in curve.at(10).reason
        died_out = kaplan_meier(time, [1, 1, 0], np.array([0, 3, 3], dtype=kind))
        assert died_out.at(2).value == 1.0
        assert died_out.at(3).value is None
        assert died_out.median().value is None
        never_from_0 = kaplan_meier(time + 5, [1, 1, 0], np.array([2, 3, 3], dtype=kind))
        assert never_from_0.at(0).value == 1.0
        assert never_from_0.at(1).value is None


def test_nelson_aalen_adds_up_deaths_over_the_number_at_risk():
    time, event = lives("gehan").of(SIX_MP)
    found = nelson_aalen(time, event)
    # Klein & Moeschberger, Survival Analysis, table 4.2: 6-MP patients.
    assert found.hazard == pytest.approx([0.1429, 0.2017, 0.2683, 0.3517, 0.4426, 0.5854, 0.7521], abs=5e-5)
    # The book adds up rounded variances.
    errors = [0.0825, 0.1015, 0.1212, 0.1473, 0.1729, 0.2243, 0.2795]
    assert np.sqrt(found.variance) == pytest.approx(errors, abs=3e-4)
    at = found.at(10)
    assert at.lower < at.value < at.upper
    assert at.lower * at.upper == pytest.approx(at.value**2)
    assert found.at(5).value == 0.0
    assert "more than 35" in found.at(36).reason


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [1]), "one length"),
        (([1, 2], [1, 2]), "true or false"),
        (([-1.0], [1]), "not negative"),
        (([math.nan], [1]), "finite"),
        (([math.inf], [1]), "finite"),
        (([1], [1], [1]), "before the end"),
        (([1], [1], [-1]), "not negative"),
        (([1], [1], [0], [-1]), "counts"),
        (([1], [1], [0], [0.5]), "counts"),
    ],
)
def test_malformed_lifetimes_are_refused_saying_what_is_wrong(arguments, message):
    with pytest.raises(BadInput, match=message):
        kaplan_meier(*arguments)


def test_very_long_whole_times_are_sorted_instead_of_counted():
    curve = kaplan_meier(np.array([1, 10**15]), [1, 1])
    assert curve.times.tolist() == [1, 10**15]
    assert curve.survival.tolist() == [0.5, 0.0]


def test_half_is_reached_despite_rounding():
    # A product of fractions that is one half, and 0.5000000000000001 in floating point, is one half.
    n = 10
    assert kaplan_meier(np.arange(1, n + 1), np.ones(n, bool)).median().value == 5


@given(RECORDS)
def test_the_nelson_aalen_survival_is_never_below_kaplan_meier(records):
    entry, end, died = (np.array(column) for column in zip(*records, strict=True))
    assume(died.any())
    assert np.all(np.exp(-nelson_aalen(end, died, entry).hazard) >= kaplan_meier(end, died, entry).survival)
