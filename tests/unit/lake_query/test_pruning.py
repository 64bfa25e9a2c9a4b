"""Which files a query opens: never too few, and few where its filters say which days it needs."""

from __future__ import annotations

import datetime as dt

import ibis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ibis import _
from tests.support.lake_files import instant

from collectors.contract.tables import events, rollup
from collectors.lake.engine import ALWAYS, Days, LakeFile, Snapshot, settled
from collectors.lake.expression import days_read

D = dt.date
PLAYBACK = events("playback")
USER_DAY = rollup("user_day")
OPEN_END = dt.date.max
OPEN_START = dt.date.min


def at(*when: int) -> ibis.Value:
    return ibis.literal(instant(*when))


def needed(expression: ibis.Table, table: str = "playback") -> Days:
    return days_read(expression)[table]


@pytest.mark.parametrize(
    ("predicate", "days"),
    [
        (_.event_time >= at(2026, 3, 2, 5), Days(D(2026, 3, 2), OPEN_END)),
        (_.event_time > at(2026, 3, 2), Days(D(2026, 3, 2), OPEN_END)),
        (_.event_time < at(2026, 3, 2), Days(OPEN_START, D(2026, 3, 1))),
        (_.event_time < at(2026, 3, 2, 0, 0, 0, 1), Days(OPEN_START, D(2026, 3, 2))),
        (_.event_time <= at(2026, 3, 2), Days(OPEN_START, D(2026, 3, 2))),
        (at(2026, 3, 2) <= PLAYBACK.event_time, Days(D(2026, 3, 2), OPEN_END)),
        (at(2026, 3, 2) > PLAYBACK.event_time, Days(OPEN_START, D(2026, 3, 1))),
        (_.event_time == at(2026, 3, 2, 9), Days(D(2026, 3, 2), D(2026, 3, 2))),
        (at(2026, 3, 2, 9) == PLAYBACK.event_time, Days(D(2026, 3, 2), D(2026, 3, 2))),
        (_.event_time.between(at(2026, 3, 2), at(2026, 3, 4)), Days(D(2026, 3, 2), D(2026, 3, 4))),
        ((_.event_time >= at(2026, 3, 2)) & (_.ms_played > 5), Days(D(2026, 3, 2), OPEN_END)),
        (
            ibis.literal(dt.datetime(2026, 3, 2, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))) <= _.event_time,
            Days(D(2026, 3, 1), OPEN_END),
        ),
    ],
)
def test_a_comparison_with_a_literal_bounds_the_days(predicate: object, days: Days) -> None:
    assert needed(PLAYBACK.filter(predicate)) == days


@pytest.mark.parametrize(
    "predicate",
    [
        _.event_time != at(2026, 3, 2),
        (_.event_time >= at(2026, 3, 2)) | (_.ms_played > 5),
        ~(_.event_time >= at(2026, 3, 2)),
        _.received_time >= at(2026, 3, 2),
        _.event_time >= _.received_time,
        _.event_time >= ibis.literal(dt.datetime(2026, 3, 2)),  # noqa: DTZ001 - a naive literal says no instant
        _.received_time.between(at(2026, 3, 2), at(2026, 3, 4)),
        _.event_time.date() >= ibis.literal(D(2026, 3, 2)),
    ],
)
def test_what_does_not_bound_event_time_needs_every_day(predicate: object) -> None:
    assert needed(PLAYBACK.filter(predicate)) == ALWAYS


def test_filters_narrow_each_other_also_over_a_selection() -> None:
    chosen = PLAYBACK.filter(_.event_time >= at(2026, 3, 2)).select("user_id", when="event_time")
    assert needed(chosen.filter(_.when < at(2026, 3, 5))) == Days(D(2026, 3, 2), D(2026, 3, 4))


def test_a_column_that_only_has_the_name_bounds_nothing() -> None:
    renamed = PLAYBACK.select("user_id", event_time="received_time")
    assert needed(renamed.filter(_.event_time < at(2026, 3, 5))) == ALWAYS


def test_two_uses_need_the_days_of_both() -> None:
    early = PLAYBACK.filter(_.event_time.between(at(2026, 3, 2), at(2026, 3, 3))).select("user_id")
    late = PLAYBACK.filter(_.event_time == at(2026, 4, 1)).select("user_id")
    assert needed(early.union(late)) == Days(D(2026, 3, 2), D(2026, 4, 1))
    assert needed(early.union(PLAYBACK.select("user_id"))) == ALWAYS
    assert needed(PLAYBACK.filter(_.event_time == at(2026, 4, 1)).join(PLAYBACK.view(), "user_id")) == ALWAYS


def test_a_filter_above_an_aggregate_does_not_bound_what_is_below() -> None:
    firsts = PLAYBACK.group_by("user_id").agg(event_time=_.event_time.min())
    assert needed(firsts.filter(_.event_time < at(2026, 3, 5))) == ALWAYS


def test_a_correlated_subquery_is_bounded_by_its_own_filter_only() -> None:
    outer = PLAYBACK.view()
    inside = PLAYBACK.filter(PLAYBACK.user_id == outer.user_id, PLAYBACK.event_time == at(2026, 3, 5))
    assert needed(outer.filter(inside.ms_played.max() > 1)) == ALWAYS


def test_a_rollup_is_bounded_by_its_period() -> None:
    days = USER_DAY.filter(_.day >= ibis.literal(D(2026, 3, 2)), _.day < ibis.literal(D(2026, 3, 9)))
    assert needed(days, "user_day") == Days(D(2026, 3, 2), D(2026, 3, 8))


def test_a_bare_table_and_an_expression_without_tables() -> None:
    assert needed(PLAYBACK) == ALWAYS
    assert days_read(ibis.literal([1, 2]).unnest().name("x").as_table()) == {}


def test_files_of_other_days_and_tenants_are_left_out() -> None:
    files = (
        LakeFile("early", Days(D(2026, 3, 1), D(2026, 3, 1))),
        LakeFile("late", Days(D(2026, 3, 9), D(2026, 3, 9)), ("b", "d")),
        LakeFile("unknown"),
    )
    snapshot = Snapshot({"playback": files})

    def paths(tenant: str, days: Days) -> list[str]:
        return [f.path for f in snapshot.holding("playback", tenant, days)]

    assert paths("c", ALWAYS) == ["early", "late", "unknown"]
    assert paths("a", Days(D(2026, 3, 2), OPEN_END)) == ["unknown"]
    assert paths("d", Days(D(2026, 3, 9), D(2026, 3, 9))) == ["late", "unknown"]
    assert snapshot.holding("label", "c", ALWAYS) == ()


@given(
    st.lists(
        st.tuples(st.integers(1, 12), st.integers(0, 4), st.booleans()).map(
            lambda t: (D(2026, 3, t[0]), D(2026, 3, t[0] + t[1]), t[2])
        )
    )
)
def test_only_summed_files_with_days_of_their_own_are_final(files: list[tuple[D, D, bool]]) -> None:
    """Oracle: compare every file with every other."""
    given_files = [LakeFile(str(i), Days(first, last), summed=s) for i, (first, last, s) in enumerate(files)]
    final, partial = settled(given_files)
    alone = {
        f.path for f in given_files if f.summed and not any(f.days.meets(o.days) for o in given_files if o is not f)
    }
    assert {f.path for f in final} == alone
    assert {f.path for f in partial} == {f.path for f in given_files} - alone
