"""The log-rank test against published numbers and what must hold of any data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.survival_data import lives

from collectors.analytics.refusal import Reason, Refusal
from collectors.analytics.survival import LogRank, cox, log_rank
from collectors.errors import BadInput


@pytest.mark.parametrize("kind", [int, float])
def test_the_leukaemia_trial_gives_the_published_statistic(kind):
    gehan = lives("gehan")
    found = log_rank(gehan.time.astype(kind), gehan.event, gehan.group)
    assert isinstance(found, LogRank)
    assert found.statistic == pytest.approx(16.79294, abs=5e-6)
    assert found.p_value == pytest.approx(4.1688e-5, rel=1e-5)
    assert found.degrees == 1
    assert found.observed.tolist() == [21, 9]
    assert found.expected[1] == pytest.approx(19.2505, abs=5e-5)


@pytest.mark.parametrize(("name", "statistic"), [("waltons", 122.249126), ("dd", 260.469539)])
def test_other_data_give_the_published_statistics(name, statistic):
    data = lives(name)
    found = log_rank(data.time, data.event, data.group)
    assert isinstance(found, LogRank)
    assert found.statistic == pytest.approx(statistic, abs=5e-7)


def test_tails_far_out_are_not_0():
    """The upper tail by 1 - cdf, as some packages have it, would be exactly 0 here."""
    data = lives("dd")
    found = log_rank(data.time, data.event, data.group)
    assert isinstance(found, LogRank)
    assert 0 < found.p_value < 1e-50


def test_it_is_the_score_test_of_a_proportional_hazards_model_without_ties():
    rng = np.random.default_rng(3)
    time, entry = rng.exponential(size=200) + 0.5, rng.uniform(0, 0.5, 200)
    event, group = rng.random(200) < 0.7, rng.integers(0, 3, 200)
    found = log_rank(time, event, group, entry)
    model = cox(np.column_stack([group == 1, group == 2]), time, event, entry)
    assert found.statistic == pytest.approx(model.score_test.statistic)
    assert found.degrees == 2


RECORDS = st.lists(
    st.tuples(st.integers(1, 9), st.booleans(), st.integers(0, 3), st.integers(0, 8)), min_size=1, max_size=40
)


@given(RECORDS, st.randoms(use_true_random=False))
def test_order_changes_nothing_and_observed_equal_expected_in_all(records, random):
    def run(rows):
        time, event, group, entry = (np.array(column) for column in zip(*rows, strict=True))
        return log_rank(time, event, group, np.minimum(entry, time - 1))

    shuffled = records[:]
    random.shuffle(shuffled)
    first, second = run(records), run(shuffled)
    if isinstance(first, Refusal):
        assert first == second
    else:
        assert first.statistic == second.statistic
        assert first.statistic >= 0
        assert first.observed.sum() == pytest.approx(first.expected.sum())


def test_what_cannot_be_compared_is_refused_with_a_reason():
    assert log_rank([1, 2], [1, 1], ["a", "a"]).reason is Reason.ONE_CLASS
    assert log_rank([], [], []).reason is Reason.ONE_CLASS
    assert log_rank([1, 2], [0, 0], ["a", "b"]).reason is Reason.NO_EVENTS
    # When b came all of a had gone.
    assert log_rank([1, 3], [1, 1], ["a", "b"], [0, 2]).reason is Reason.NO_EVENTS
    with pytest.raises(BadInput, match="one group"):
        log_rank([1, 2], [1, 1], ["a"])


def test_a_group_that_was_never_at_risk_with_others_costs_its_degree_of_freedom():
    found = log_rank([1, 2, 3, 4, 9], [1, 1, 1, 1, 1], [0, 1, 0, 1, 2], [0, 0, 0, 0, 8])
    assert isinstance(found, LogRank)
    assert found.degrees == 1
