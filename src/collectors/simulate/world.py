"""The seeded description of a music-streaming platform: tenants, listeners, catalogue, attackers, experiments, models.

A world is the population and its sticky properties. What it does over time is made by ``EventStream``, and what is
exactly true of that is kept by ``Truth``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collectors.errors import ConfigError, UnknownName
from collectors.simulate.sampling import (
    SLOT_BITS,
    Floats,
    Ints,
    SlotTable,
    Words,
    apportion,
    generator,
    unique_names,
    words,
    zipf_weights,
)
from collectors.simulate.scenario import (
    DEFAULT_ATTACKS,
    DEFAULT_CHURN,
    DEFAULT_EXPERIMENTS,
    DEFAULT_MODELS,
    Attack,
    AttackKind,
    BetaGeometric,
    Experiment,
    Model,
)
from collectors.simulate.vocabulary import CLIENTS, DEMO_TENANTS, PLANS, SLATE_SIZE, TenantProfile, plan_price

DEFAULT_START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
FEWEST_TRACKS = 100
FEWEST_USERS = 20  # of one tenant; with fewer it might have no customer

# Few listeners make most plays and few tracks get most of them, both with a flat head: exponent and shift.
USER_ZIPF = (0.7, 20.0)
TRACK_ZIPF = (1.0, 8.0)
MOST = 1 << SLOT_BITS - 1  # users or tracks; a slot table has room for no more
_TASTE_SD = 0.7  # how far a tenant's order of popularity strays from the common one, in log units
_KNOWN_TARGETS = 0.3  # share of stuffed credentials whose account exists

Small = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """Tracks and their artists, by position; ``artist`` points into ``artist_ids``, lengths are milliseconds.

    ``weight`` is popularity over all tenants; ``attraction`` the chance that a listener who is shown the track reacts.
    """

    track_ids: pa.StringArray
    artist_ids: pa.StringArray
    artist: npt.NDArray[np.int32]
    track_ms: npt.NDArray[np.int32]
    weight: Floats
    attraction: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Attacker:
    """Who carries out an attack: its addresses and the principals it tries."""

    attack: Attack
    addresses: pa.StringArray
    principals: pa.StringArray
    known: npt.NDArray[np.bool_]
    """Whether each principal has an account."""


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """One tenant's users, by position, in no particular order.

    ``market``, ``client`` and ``plan`` point into the tenant's markets, ``CLIENTS`` and ``PLANS``. ``weight`` is the
    user's share of all plays, ``key`` a number from which session identifiers derive, ``hazard`` the chance to leave
    at a renewal. ``variant`` and ``unit_mean`` hold, one row an experiment, each user's arm (1 is treatment) and
    untreated mean. ``activity`` draws users by weight, ``taste`` tracks by popularity here; ``shelves[k]`` draws the
    track for position k of a slate, with probability ``propensity[track]``.
    """

    profile: TenantProfile
    ids: pa.StringArray
    principals: pa.StringArray
    devices: pa.StringArray
    addresses: pa.StringArray
    subscriptions: pa.StringArray
    market: Small
    client: Small
    plan: Small
    asn: Ints
    key: Words
    weight: Floats
    latitude: Floats
    longitude: Floats
    hazard: Floats
    variant: Small
    unit_mean: Floats
    activity: SlotTable
    taste: SlotTable
    shelves: tuple[SlotTable, ...]
    propensity: Floats
    price: Ints
    """Minor units of one period, by plan and market."""

    def __len__(self) -> int:
        return len(self.ids)


class World:
    """A platform that is the same for the same arguments.

    ``start_us`` is where time-bound scenarios (attacks, drift) count from. Default attacks on tenants that do not
    exist are left out; naming such a tenant explicitly raises UnknownName. Too few users or tracks, or tenants that
    share an id, raise ConfigError.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        tenants: Sequence[TenantProfile] = DEMO_TENANTS,
        users: int = 50_000,
        tracks: int = 20_000,
        start_us: int = DEFAULT_START_US,
        attacks: Sequence[Attack] | None = None,
        experiments: Sequence[Experiment] = DEFAULT_EXPERIMENTS,
        models: Sequence[Model] = DEFAULT_MODELS,
        churn: Mapping[str, BetaGeometric] = DEFAULT_CHURN,
    ) -> None:
        self.seed = seed
        self.tenants = {t.id: t for t in tenants}
        self.start_us = start_us
        self.experiments = tuple(experiments)
        self.models = tuple(models)
        self.churn = dict(churn)
        if max(users, tracks) > MOST:
            raise ConfigError(f"{max(users, tracks)} users or tracks are too many", fix=f"ask for {MOST} or fewer")
        if not tenants or len(self.tenants) < len(tenants):
            raise ConfigError("tenants must be given and have different ids", fix="rename or add a tenant")
        if not models or not experiments or len({e.metric for e in experiments}) < len(experiments):
            raise ConfigError("a world has models, and experiments on different metrics", fix="leave out the argument")
        if tracks < FEWEST_TRACKS:
            raise ConfigError(f"{tracks} tracks are too few", fix=f"ask for {FEWEST_TRACKS} or more")
        sizes = apportion([t.share for t in tenants], users)
        if int(sizes.min()) < FEWEST_USERS:
            raise ConfigError(f"{users} users are too few", fix=f"give each tenant {FEWEST_USERS} or more")
        if attacks is None:
            attacks = [a for a in DEFAULT_ATTACKS if a.tenant in self.tenants]
        self.catalogue = _catalogue(generator(seed, "catalogue"), tracks)
        self.populations = {
            t.id: self._population(t, int(n), generator(seed, "population", t.id))
            for t, n in zip(tenants, sizes, strict=True)
        }
        self.attackers = self._attackers(attacks)

    def _population(self, profile: TenantProfile, n: int, rng: np.random.Generator) -> Population:
        tracks = len(self.catalogue.track_ids)
        ids = unique_names(rng, n, "u-")
        market = _assign(rng, [m.share for m in profile.markets], n)
        plan = _assign(rng, [p.share for p in PLANS], n)
        weight = rng.permutation(zipf_weights(n, *USER_ZIPF))
        taste = self.catalogue.weight * np.exp(rng.normal(0.0, _TASTE_SD, tracks))
        shelves = tuple(
            SlotTable(taste[k::SLATE_SIZE], bits=_bits(tracks // SLATE_SIZE), items=np.arange(k, tracks, SLATE_SIZE))
            for k in range(SLATE_SIZE)
        )
        propensity = np.empty(tracks)
        for k, shelf in enumerate(shelves):
            propensity[k::SLATE_SIZE] = shelf.probability
        most = max(len(m.asns) for m in profile.markets)
        asns = np.array([[m.asns[i % len(m.asns)] for i in range(most)] for m in profile.markets], dtype=np.int64)
        centre = np.array([(m.latitude, m.longitude) for m in profile.markets])
        return Population(
            profile=profile,
            ids=ids,
            principals=pa.array([f"{name}@mail.example" for name in ids.to_pylist()], pa.string()),
            devices=unique_names(rng, n, "d-", 12),
            addresses=_addresses(rng, n),
            subscriptions=unique_names(rng, n, "s-", 10),
            market=market,
            client=_assign(rng, [c[3] for c in CLIENTS], n),
            plan=plan,
            asn=asns[market, rng.integers(0, most, n)],
            key=words(rng, n),
            weight=weight,
            latitude=np.round(centre[market, 0] + rng.normal(0.0, 1.5, n), 4),
            longitude=np.round(centre[market, 1] + rng.normal(0.0, 2.0, n), 4),
            hazard=self._hazards(plan, rng),
            variant=np.array([rng.random(n) < e.actual for e in self.experiments], dtype=np.uint8).reshape(-1, n),
            unit_mean=np.array([e.mean + e.unit_sd * rng.standard_normal(n) for e in self.experiments]).reshape(-1, n),
            activity=SlotTable(weight, bits=_bits(n)),
            taste=SlotTable(taste, bits=_bits(tracks)),
            shelves=shelves,
            propensity=propensity,
            price=np.array([[plan_price(p, m) for m in profile.markets] for p in PLANS], dtype=np.int64),
        )

    def _hazards(self, plan: Small, rng: np.random.Generator) -> Floats:
        drawn = {name: rng.beta(b.alpha, b.beta, len(plan)) for name, b in self.churn.items()}
        return np.asarray(np.stack([drawn[p.interval] for p in PLANS])[plan, np.arange(len(plan))], dtype=np.float64)

    def _attackers(self, attacks: Sequence[Attack]) -> tuple[Attacker, ...]:
        if sum(a.sources for a in attacks) > 512:
            raise ConfigError("attacks have more than 512 sources together", fix="lower Attack.sources")
        made = []
        networks = 0
        for i, attack in enumerate(attacks):
            if attack.tenant not in self.populations:
                raise UnknownName(f"attack {i} is on tenant {attack.tenant!r}; there are: {', '.join(self.tenants)}")
            rng = generator(self.seed, "attacker", i)
            people = self.populations[attack.tenant].principals
            # Nobody owns 198.18.0.0/15 (RFC 2544); each source has a /24 of its own, so truncation keeps them apart.
            addresses = [
                f"198.{18 + k // 256}.{k % 256}.{host}"
                for k, host in enumerate(rng.integers(1, 255, attack.sources).tolist(), start=networks)
            ]
            networks += attack.sources
            guessed = attack.kind is AttackKind.CREDENTIAL_STUFFING
            known = rng.random(attack.targets) < (_KNOWN_TARGETS if guessed else 1.0)
            victims = people.take(pa.array(np.resize(rng.permutation(len(people)), attack.targets)))
            strangers = unique_names(rng, attack.targets, "x-", 10).to_pylist()
            names = [
                victim if there else f"{stranger}@mail.example"
                for victim, there, stranger in zip(victims.to_pylist(), known.tolist(), strangers, strict=True)
            ]
            made.append(Attacker(attack, pa.array(addresses), pa.array(names), known))
        return tuple(made)


def _catalogue(rng: np.random.Generator, tracks: int) -> Catalogue:
    artists = max(1, tracks // 12)
    artist = SlotTable(zipf_weights(artists, 0.6, 5.0), bits=_bits(artists)).draw(rng, tracks)
    lengths = np.clip(rng.lognormal(np.log(200_000), 0.28, tracks), 45_000, 600_000)
    return Catalogue(
        track_ids=unique_names(rng, tracks, "t-", 10),
        artist_ids=unique_names(rng, artists, "a-", 8),
        artist=artist.astype(np.int32),
        track_ms=lengths.astype(np.int32),
        weight=rng.permutation(zipf_weights(tracks, *TRACK_ZIPF)),
        attraction=rng.beta(2.0, 12.0, tracks),
    )


def _assign(rng: np.random.Generator, shares: Sequence[float], n: int) -> Small:
    """Give each of ``n`` users one of the kinds, in exactly the given shares up to rounding."""
    return rng.permutation(np.repeat(np.arange(len(shares), dtype=np.uint8), apportion(shares, n)))


def _bits(n: int) -> int:
    """Size a slot table for ``n`` items: sixteen slots each keep probabilities fine, a megaslot keeps it in cache."""
    return max((n - 1).bit_length() + 1, min(20, max(12, (n - 1).bit_length() + 4)))


def _addresses(rng: np.random.Generator, n: int) -> pa.StringArray:
    """Draw ``n`` addresses, a fifth of them IPv6, from blocks that no real person uses (RFC 6598, RFC 3849)."""
    return pa.array(
        [
            f"2001:db8:{h >> 48:x}:{h >> 32 & 0xFFFF:x}::{h & 0xFFFF:x}"
            if h % 5 == 0
            else f"100.{64 + (h >> 8) % 64}.{h >> 16 & 0xFF}.{h >> 24 & 0xFF}"
            for h in words(rng, n).tolist()
        ],
        pa.string(),
    )
