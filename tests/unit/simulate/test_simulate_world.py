from __future__ import annotations

import ipaddress
from dataclasses import replace

import numpy as np
import pytest
from simulate_support import small_world

from collectors.errors import ConfigError, UnknownName
from collectors.simulate.scenario import Attack, AttackKind, BetaGeometric, Experiment
from collectors.simulate.vocabulary import CLIENTS, DEMO_TENANTS, PLANS, SLATE_SIZE, USER_AGENTS
from collectors.simulate.world import DEFAULT_START_US, MOST, World


@pytest.fixture(scope="module")
def world() -> World:
    return World(3, users=20_000, tracks=3_000)


def test_users_are_split_over_the_tenants_as_their_shares_say(world):
    assert {name: len(p) for name, p in world.populations.items()} == {
        "nordic": 16_000,
        "americas": 3_000,
        "tokyo": 1_000,
    }


def test_the_default_world_has_the_sizes_of_the_standard_mix():
    world = World()
    assert [len(p) for p in world.populations.values()] == [40_000, 7_500, 2_500]
    assert len(world.catalogue.track_ids) == 20_000


def test_a_seed_repeats_a_world_and_another_gives_another():
    a, b, c = small_world(1), small_world(1), small_world(2)
    for name, people in a.populations.items():
        assert people.ids.equals(b.populations[name].ids)
        assert people.addresses.equals(b.populations[name].addresses)
        assert (people.hazard == b.populations[name].hazard).all()
        assert not people.ids.equals(c.populations[name].ids)
    assert a.catalogue.track_ids.equals(b.catalogue.track_ids)
    assert a.attackers[0].principals.equals(b.attackers[0].principals)


def test_names_are_unique_within_and_across_tenants(world):
    ids = [name for p in world.populations.values() for name in p.ids.to_pylist()]
    assert len(set(ids)) == len(ids)
    tracks = world.catalogue.track_ids.to_pylist()
    assert len(set(tracks)) == len(tracks)


def test_properties_have_the_shares_of_the_vocabulary(world):
    people = world.populations["nordic"]
    for column, shares in (
        (people.plan, [p.share for p in PLANS]),
        (people.client, [c[3] for c in CLIENTS]),
        (people.market, [m.share for m in people.profile.markets]),
    ):
        counts = np.bincount(column, minlength=len(shares))
        assert np.abs(counts - np.array(shares) / sum(shares) * len(people)).max() < 1


def test_activity_and_popularity_are_heavy_tailed(world):
    people = world.populations["nordic"]
    top = np.sort(people.weight)[::-1]
    assert top[: len(top) // 10].sum() > 0.3
    assert top[0] > 30 * top.mean()
    assert np.allclose(people.activity.probability, people.weight, atol=2 / (1 << people.activity.bits))
    tracks = np.sort(world.catalogue.weight)[::-1]
    assert tracks[: len(tracks) // 100].sum() > 0.2


def test_each_tenant_has_tastes_of_its_own(world):
    nordic, tokyo = (world.populations[name].taste.probability for name in ("nordic", "tokyo"))
    assert nordic.argmax() != tokyo.argmax() or not np.allclose(nordic, tokyo)
    assert np.corrcoef(np.log(nordic), np.log(tokyo))[0, 1] > 0.3


def test_propensities_are_those_of_the_shelf_a_track_stands_on(world):
    people = world.populations["tokyo"]
    for position, shelf in enumerate(people.shelves):
        assert people.propensity[position::SLATE_SIZE].sum() == pytest.approx(1.0)
        drawn = shelf.draw(np.random.default_rng(1), 2_000)
        assert (drawn % SLATE_SIZE == position).all()


def test_prices_are_whole_minor_units_for_each_month_of_a_period(world):
    for people in world.populations.values():
        for plan, row in zip(PLANS, people.price, strict=True):
            assert (row % plan.months == 0).all()
            assert (row > 0).all() == (plan.factor > 0)


def test_hazards_follow_the_beta_distribution_of_the_interval():
    world = World(5, users=40_000, tracks=100, churn={"month": BetaGeometric(2.0, 18.0), "year": BetaGeometric(1, 1)})
    people = world.populations["nordic"]
    yearly = np.array([p.interval == "year" for p in PLANS])[people.plan]
    assert people.hazard[~yearly].mean() == pytest.approx(0.1, abs=0.002)
    assert people.hazard[yearly].mean() == pytest.approx(0.5, abs=0.03)


def test_addresses_are_valid_and_belong_to_nobody(world):
    blocks = [ipaddress.ip_network(n) for n in ("100.64.0.0/10", "2001:db8::/32")]
    addresses = [ipaddress.ip_address(a) for a in world.populations["americas"].addresses.to_pylist()]
    assert all(any(a in block for block in blocks if block.version == a.version) for a in addresses)
    assert 0.15 < np.mean([a.version == 6 for a in addresses]) < 0.25


def test_attackers_have_addresses_and_targets_of_their_own(world):
    brute, stuffing = world.attackers
    assert brute.known.all()
    assert set(brute.principals.to_pylist()) <= set(world.populations["nordic"].principals.to_pylist())
    assert len(set(stuffing.principals.to_pylist())) == 2_000
    people = set(world.populations["americas"].principals.to_pylist())
    assert [name in people for name in stuffing.principals.to_pylist()] == stuffing.known.tolist()
    sources = brute.addresses.to_pylist() + stuffing.addresses.to_pylist()
    assert len({a.rsplit(".", 1)[0] for a in sources}) == 5
    assert all(ipaddress.ip_address(a) in ipaddress.ip_network("198.18.0.0/15") for a in sources)


def test_default_attacks_on_tenants_that_do_not_exist_are_left_out():
    world = World(1, tenants=DEMO_TENANTS[2:], users=100, tracks=100)
    assert world.attackers == ()


def test_variants_have_the_actual_share_not_the_planned_one():
    world = World(1, users=20_000, tracks=100)
    people = world.populations["nordic"]
    for experiment, variant in zip(world.experiments, people.variant, strict=True):
        assert variant.mean() == pytest.approx(experiment.actual, abs=0.012)


def test_every_client_has_a_user_agent():
    assert len(CLIENTS) == len(USER_AGENTS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tracks": 99}, "tracks are too few"),
        ({"users": 100}, "users are too few"),
        ({"users": MOST + 1}, "too many"),
        ({"tenants": ()}, "tenants"),
        ({"tenants": (DEMO_TENANTS[0], replace(DEMO_TENANTS[1], id="nordic"))}, "different ids"),
        ({"models": ()}, "models"),
        ({"experiments": ()}, "experiments"),
        ({"experiments": (Experiment("a", "m", 1, 0), Experiment("b", "m", 1, 0))}, "different metrics"),
        ({"attacks": (Attack(AttackKind.BRUTE_FORCE, "tokyo", 0, 1, sources=600),)}, "sources"),
    ],
)
def test_a_world_that_cannot_be_says_what_to_change(changes, message):
    with pytest.raises(ConfigError, match=message):
        small_world(**changes)


def test_an_attack_on_an_unknown_tenant_is_refused():
    with pytest.raises(UnknownName, match="nowhere"):
        small_world(attacks=(Attack(AttackKind.BRUTE_FORCE, "nowhere", 0, 1),))


def test_attack_episodes_are_half_open_and_repeat():
    attack = Attack(AttackKind.BRUTE_FORCE, "nordic", first_s=2, duration_s=3, every_s=10)
    second = 1_000_000
    times = np.array([0, 2 * second - 1, 2 * second, 5 * second - 1, 5 * second, 12 * second, 22 * second])
    assert attack.episodes(times + DEFAULT_START_US, DEFAULT_START_US).tolist() == [-1, -1, 0, 0, -1, 1, 2]
    once = replace(attack, every_s=None)
    assert once.episodes(times + DEFAULT_START_US, DEFAULT_START_US).tolist() == [-1, -1, 0, 0, -1, -1, -1]
    assert attack.interval_us(2, 0) == (22 * second, 25 * second)
