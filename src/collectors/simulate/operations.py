"""What the platform's services record: requests they answered, log-ins, and what staff did with their rights."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collectors.model.event_types import API_REQUEST, AUDIT, AUTH
from collectors.simulate.facts import Attempts
from collectors.simulate.sampling import (
    SLOT_BITS,
    Ints,
    SlotTable,
    Words,
    bits,
    fixed_text,
    generator,
    hex_digits,
    record_batch,
    text_of,
    unique_names,
    words,
)
from collectors.simulate.truth import TenantTruth
from collectors.simulate.vocabulary import (
    ATTACK_AGENTS,
    AUDIT_ACTIONS,
    AUDIT_OUTCOME_SHARES,
    AUDIT_OUTCOMES,
    AUTH_ENDINGS,
    ENDPOINTS,
    STATUSES,
    USER_AGENTS,
)
from collectors.simulate.world import Attacker, Population, World

_SERVICES, _ROUTES, _METHODS, _PROTOCOLS, _OPERATIONS = (pa.array([e[k] for e in ENDPOINTS]) for k in range(5))
_MEDIAN_LOG = np.log([e[6] for e in ENDPOINTS])
_SIGMA = np.array([e[7] for e in ENDPOINTS])
_STATUS = np.array([s[0] for s in STATUSES], dtype=np.int32)
_ERRORS = pa.array([s[1] for s in STATUSES], pa.string())
_BODILESS = np.array([m not in {"POST", "PUT"} for m in _METHODS.to_pylist()])
_AUTH_OUTCOMES, _AUTH_METHODS, _AUTH_REASONS = (pa.array([a[k] for a in AUTH_ENDINGS], pa.string()) for k in range(3))
_AGENTS = pa.array([*USER_AGENTS, *ATTACK_AGENTS])
_AUDIT_ACTIONS, _AUDIT_PREFIXES, _AUDIT_REASONS = (pa.array([a[k] for a in AUDIT_ACTIONS]) for k in range(3))
_AUDIT_OUTCOMES = pa.array(AUDIT_OUTCOMES)
_STAFF = 40
_ANONYMOUS_SHARE = 0.18  # of API requests carry no user
_ATTACK_ASN = 64496  # reserved for documentation, RFC 5398
_ATTACK_PLACE = ("NL", 52.37, 4.90)


class Operations:
    """Makes the services' events of one tenant and tells its truth."""

    def __init__(self, world: World, people: Population, truth: TenantTruth) -> None:
        self._people = people
        self._truth = truth
        self._start_us = world.start_us
        self._attackers = [(i, a) for i, a in enumerate(world.attackers) if a.attack.tenant == people.profile.id]
        self._rng = {
            t.name: generator(world.seed, "live", people.profile.id, t.name) for t in (API_REQUEST, AUTH, AUDIT)
        }
        rng = generator(world.seed, "staff", people.profile.id)
        self._staff = unique_names(rng, _STAFF, "ops-", 6)
        self._desks = pa.array([f"10.{a}.{b}.{c}" for a, b, c in rng.integers(1, 255, (_STAFF, 3)).tolist()])
        self._resources = unique_names(rng, 4096, "", 7)
        self._countries = pa.array([*(m.country for m in people.profile.markets), _ATTACK_PLACE[0]])
        self._endpoints = SlotTable([e[5] for e in ENDPOINTS], bits=10)
        self._statuses = SlotTable([s[2] for s in STATUSES], bits=14)
        self._auth_endings = SlotTable([a[3] for a in AUTH_ENDINGS], bits=12)
        self._audit_actions = SlotTable([a[3] for a in AUDIT_ACTIONS], bits=10)
        self._audit_outcomes = SlotTable(AUDIT_OUTCOME_SHARES, bits=10)

    def api_request(self, times: Ints) -> pa.RecordBatch:
        """Make requests answered at ``times``; durations are log-normal by route."""
        rng = self._rng["api_request"]
        n = len(times)
        source, sizes = words(rng, n), words(rng, n)
        route = self._endpoints.pick(source, SLOT_BITS)
        status = self._statuses.pick(source, SLOT_BITS + 10)
        anonymous = bits(source, SLOT_BITS + 24, 16) < _ANONYMOUS_SHARE * (1 << 16)
        duration = np.exp(_MEDIAN_LOG.take(route) + _SIGMA.take(route) * rng.standard_normal(n))
        counts = np.bincount(status, minlength=len(STATUSES)).tolist()
        self._truth.events["api_request"] += n
        self._truth.statuses.update({str(s[0]): c for s, c in zip(STATUSES, counts, strict=True) if c})
        return record_batch(
            API_REQUEST,
            rng,
            times,
            {
                "source": text_of(_SERVICES, route),
                "user_id": text_of(self._people.ids, self._people.activity.pick(source), anonymous),
                "service": text_of(_SERVICES, route),
                "route": text_of(_ROUTES, route),
                "method": text_of(_METHODS, route),
                "protocol": text_of(_PROTOCOLS, route),
                "operation": text_of(_OPERATIONS, route),
                "status": pa.array(_STATUS.take(status)),
                "duration_us": pa.array(duration.astype(np.int64)),
                "request_bytes": pa.array(np.where(_BODILESS.take(route), 0, 40 + bits(sizes, 0, 10))),
                "response_bytes": pa.array(120 + (bits(sizes, 10, 8) * bits(sizes, 18, 8) >> 1)),
                "error": text_of(_ERRORS, status),
            },
        )

    def auth(self, times: Ints) -> pa.RecordBatch:
        """Make log-ins at ``times``; those inside an attack's episode are the attacker's as often as it is intense."""
        rng = self._rng["auth"]
        people = self._people
        n = len(times)
        source = words(rng, n)
        users = people.activity.pick(source)
        ending = self._auth_endings.pick(source, SLOT_BITS)
        market, agent, asn = people.market.take(users), people.client.take(users), people.asn.take(users)
        latitude, longitude = people.latitude.take(users), people.longitude.take(users)
        columns = {
            "principal": text_of(people.principals, users),
            "ip": text_of(people.addresses, users),
            "outcome": text_of(_AUTH_OUTCOMES, ending),
            "method": text_of(_AUTH_METHODS, ending),
            "reason": text_of(_AUTH_REASONS, ending),
        }
        outsider = np.zeros(n, dtype=np.bool_)
        for number, attacker in self._attackers:
            episodes = attacker.attack.episodes(times, self._start_us)
            rows = np.flatnonzero((episodes >= 0) & (rng.random(n) < attacker.attack.intensity) & ~outsider)
            if len(rows) == 0:
                continue
            outsider[rows] = True
            attempts = self._attempt(rng, attacker, times, rows, columns)
            for episode in np.unique(episodes[rows]).tolist():
                mine = episodes[rows] == episode
                part = Attempts(*(column[mine] for column in attempts))
                self._truth.security.attacked(number, attacker, episode, part)
            market[rows] = len(self._countries) - 1
            agent[rows] = len(USER_AGENTS) + number % len(ATTACK_AGENTS)
            asn[rows] = _ATTACK_ASN + number % 16
            latitude[rows], longitude[rows] = _ATTACK_PLACE[1:]
        self._truth.events["auth"] += n
        self._truth.security.outcomes.update(_tally(columns["outcome"]))
        return record_batch(
            AUTH,
            rng,
            times,
            {
                **columns,
                "source": pa.repeat(pa.scalar("identity"), n),
                "user_id": text_of(people.ids, users, outsider),
                "asn": pa.array(asn),
                "latitude": pa.array(latitude),
                "longitude": pa.array(longitude),
                "country": text_of(self._countries, market),
                "device_id": text_of(people.devices, users, outsider),
                "user_agent": text_of(_AGENTS, agent),
            },
        )

    @staticmethod
    def _attempt(
        rng: np.random.Generator, attacker: Attacker, times: Ints, rows: Ints, columns: dict[str, pa.Array]
    ) -> Attempts:
        """Overwrite ``rows`` of the columns with an attacker's attempts, and return these."""
        attack = attacker.attack
        tried = rng.integers(0, attack.targets, len(rows))
        used = rng.integers(0, attack.sources, len(rows))
        inside = (rng.random(len(rows)) < attack.success) & attacker.known[tried]
        mask = np.zeros(len(times), dtype=np.bool_)
        mask[rows] = True
        reason = np.where(attacker.known[tried], 0, 1)
        fresh = {
            "principal": text_of(attacker.principals, tried),
            "ip": text_of(attacker.addresses, used),
            "outcome": text_of(pa.array(["failure", "success"]), inside.astype(np.uint8)),
            "method": pa.repeat(pa.scalar("password"), len(rows)),
            "reason": text_of(pa.array(["bad_password", "unknown_user"]), reason, inside),
        }
        for name, values in fresh.items():
            columns[name] = pc.replace_with_mask(columns[name], pa.array(mask), values)
        return Attempts(times[rows], tried, used, inside)

    def audit(self, times: Ints) -> pa.RecordBatch:
        """Make audited actions of staff at ``times``."""
        rng = self._rng["audit"]
        n = len(times)
        source = words(rng, n)
        staff = bits(source, 0, 32) % _STAFF
        action = self._audit_actions.pick(source, 32)
        self._truth.events["audit"] += n
        resource = pc.binary_join_element_wise(
            text_of(_AUDIT_PREFIXES, action), text_of(self._resources, bits(source, 42, 12)), ""
        )
        return record_batch(
            AUDIT,
            rng,
            times,
            {
                "source": pa.repeat(pa.scalar("backoffice"), n),
                "actor": text_of(self._staff, staff),
                "action": text_of(_AUDIT_ACTIONS, action),
                "resource": resource,
                "outcome": text_of(_AUDIT_OUTCOMES, self._audit_outcomes.pick(source, 54)),
                "before_hash": _hash_text(words(rng, 4 * n)),
                "after_hash": _hash_text(words(rng, 4 * n)),
                "reason": text_of(_AUDIT_REASONS, action),
                "ip": text_of(self._desks, staff),
            },
        )


def _hash_text(keys: Words) -> pa.StringArray:
    """Write each four keys as the 64 digits of a SHA-256 sum."""
    return fixed_text(hex_digits(keys).reshape(-1, 64))


def _tally(values: pa.StringArray) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in values.value_counts().to_pylist()}
