"""The lint of the portable subset: each rule refuses what differs between engines and accepts what it advises."""

from __future__ import annotations

import pytest
from ibis import _
from tests.support.portable_cases import ACCEPTED, RULES, P

from collectors.lake.portable import violations


@pytest.mark.parametrize("rule", RULES)
def test_what_a_rule_is_about_is_refused_with_advice(rule: str) -> None:
    refused, _accepted = RULES[rule]
    found = violations(refused)
    assert found
    assert all(v.found and v.instead and str(v) == f"{v.found}: {v.instead}" for v in found)


@pytest.mark.parametrize("rule", RULES)
def test_what_the_rule_advises_is_accepted(rule: str) -> None:
    _refused, accepted = RULES[rule]
    assert violations(accepted) == ()


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_subset_itself_is_accepted(name: str) -> None:
    assert violations(ACCEPTED[name]) == ()


def test_a_repeated_violation_is_named_once() -> None:
    assert len(violations(P.agg(a=P.ms_played.mean(), b=P.track_ms.mean()))) == 1


def test_violations_in_any_corner_are_found() -> None:
    inner = P.group_by("user_id").agg(x=_.ms_played.mean())
    assert violations(P.join(inner, "user_id").filter(_.x > 1).select("user_id"))
    assert violations(P.filter(P.ms_played > P.ms_played.mode().as_scalar()))
