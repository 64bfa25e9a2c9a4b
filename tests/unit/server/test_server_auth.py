from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_world import SteppedClock

from collectors.config.tenant import TenantConfig
from collectors.drivers.control_store import ApiKey, ControlStore, Scope
from collectors.errors import (
    CollectorsError,
    Forbidden,
    Overloaded,
    StorageUnavailable,
    Unauthenticated,
    UnknownName,
)
from collectors.server.auth import Authenticator


class CountingStore(ControlStore):
    """The real store; counts how often it is asked."""

    asked = 0
    versions = 0

    def authenticate(self, text: str) -> ApiKey | None:
        self.asked += 1
        return super().authenticate(text)

    def version(self) -> int:
        self.versions += 1
        return super().version()


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def store(tmp_path: Path, clock: SteppedClock) -> CountingStore:
    store = CountingStore(tmp_path / "control.db", clock)
    for tenant in ("acorn", "birch"):
        store.put_tenant(tenant, TenantConfig())
    return store


def bearer(text: str, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"gateway"), *more, (b"authorization", b"Bearer " + text.encode())]


def basic(user: str, password: str, scheme: bytes = b"Basic") -> list[tuple[bytes, bytes]]:
    return [(b"authorization", scheme + b" " + base64.b64encode(f"{user}:{password}".encode()))]


def test_a_key_is_found_in_every_place_it_may_stand(store: CountingStore, clock: SteppedClock) -> None:
    key = store.create_key("acorn", [Scope.READ], label="page")
    auth = Authenticator(store, clock)
    found = [
        auth.authenticate(headers)
        for headers in (
            bearer(key),
            [(b"authorization", b"bearer   " + key.encode())],
            basic(key, ""),
            basic("api", key),
            basic(key, "anything", b"BASIC"),
        )
    ]
    assert {k.id for k in found} == {key.split("_")[1]}
    assert {(k.tenant, k.label, k.scopes) for k in found} == {("acorn", "page", frozenset({Scope.READ}))}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer \xff\xfe")],
        [(b"authorization", b"Basic !!!")],
        [(b"authorization", b"Basic " + base64.b64encode(b"no colon"))],
        [(b"authorization", b"Digest ck_ab_cd")],
        bearer("ck_0123456789ab_" + "x" * 43),
        bearer("ck_0123456789ab_"),
        bearer("sk_0123456789ab_xxx"),
        bearer("x" * 5000),
    ],
)
def test_anything_else_is_no_key(store: CountingStore, clock: SteppedClock, headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthenticated):
        Authenticator(store, clock).authenticate(headers)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(value=st.binary(max_size=60) | st.binary(max_size=40).map(lambda b: b"Basic " + base64.b64encode(b)))
def test_no_header_does_more_than_be_refused(store: CountingStore, clock: SteppedClock, value: bytes) -> None:
    with pytest.raises(CollectorsError) as caught:
        Authenticator(store, clock).authenticate([(b"authorization", value)])
    assert caught.value.http_status == 401
    if len(value) > 3:
        assert value.decode("latin-1") not in str(caught.value)


def test_the_secret_counts_and_not_only_the_id(store: CountingStore, clock: SteppedClock) -> None:
    key = store.create_key("acorn", [Scope.READ])
    auth = Authenticator(store, clock)
    with pytest.raises(Unauthenticated):
        auth.authenticate(bearer(key[:-1] + ("A" if key[-1] != "A" else "B")))
    assert auth.authenticate(bearer(key)).tenant == "acorn"


def test_a_known_key_costs_no_database_access_within_a_second(store: CountingStore, clock: SteppedClock) -> None:
    key = store.create_key("acorn", [Scope.READ])
    auth = Authenticator(store, clock)
    for _ in range(50):
        auth.authenticate(bearer(key))
    assert (store.asked, store.versions) == (1, 1)
    clock.advance(1.0)
    for _ in range(50):
        auth.authenticate(bearer(key))
    assert (store.asked, store.versions) == (1, 2)


def test_neither_keys_nor_secrets_stay_in_memory(store: CountingStore, clock: SteppedClock) -> None:
    key = store.create_key("acorn", [Scope.READ])
    auth = Authenticator(store, clock)
    auth.authenticate(bearer(key))
    assert key.split("_", 2)[2] not in repr(vars(auth))


def test_a_revoked_key_is_refused_a_second_later(store: CountingStore, clock: SteppedClock, tmp_path: Path) -> None:
    key, other = store.create_key("acorn", [Scope.READ]), store.create_key("acorn", [Scope.READ])
    auth = Authenticator(store, clock)
    auth.authenticate(bearer(key))
    auth.authenticate(bearer(other))
    ControlStore(tmp_path / "control.db", clock).revoke_key(key.split("_")[1])  # as another process would
    clock.advance(1.0)
    with pytest.raises(Unauthenticated):
        auth.authenticate(bearer(key))
    assert auth.authenticate(bearer(other)).id == other.split("_")[1]


def test_a_key_revoked_while_nobody_asked_is_refused_at_once(store: CountingStore, clock: SteppedClock) -> None:
    key = store.create_key("acorn", [Scope.READ])
    auth = Authenticator(store, clock)
    auth.authenticate(bearer(key))
    clock.advance(3600.0)
    store.revoke_key(key.split("_")[1])

    async def ask_ten_times_at_once() -> list[ApiKey | BaseException]:
        return await asyncio.gather(*(auth.identify(bearer(key)) for _ in range(10)), return_exceptions=True)

    assert {type(answer) for answer in asyncio.run(ask_ten_times_at_once())} == {Unauthenticated}


def test_a_key_created_after_it_was_refused_is_accepted(store: CountingStore, clock: SteppedClock) -> None:
    auth = Authenticator(store, clock)
    with pytest.raises(Unauthenticated):
        auth.authenticate(bearer("ck_0123456789ab_secret"))
    key = store.create_key("acorn", [Scope.READ])
    assert auth.authenticate(bearer(key)).tenant == "acorn"


def test_the_same_wrong_key_is_looked_up_once(store: CountingStore, clock: SteppedClock) -> None:
    auth = Authenticator(store, clock)
    for _ in range(100):
        with pytest.raises(Unauthenticated):
            auth.authenticate(bearer("ck_0123456789ab_secret"))
    assert store.asked == 1


def test_guesses_are_held_back_while_known_keys_get_through(store: CountingStore, clock: SteppedClock) -> None:
    key = store.create_key("acorn", [Scope.READ])
    auth = Authenticator(store, clock, guesses_per_second=5)
    auth.authenticate(bearer(key))
    refused = []
    for number in range(20):
        with pytest.raises((Unauthenticated, Overloaded)) as caught:
            auth.authenticate(bearer(f"ck_0123456789ab_{number}"))
        refused.append(type(caught.value))
    assert refused == [Unauthenticated] * 4 + [Overloaded] * 16
    assert store.asked == 5
    store.create_key("birch", [Scope.READ])  # a change makes every key be looked up again
    clock.advance(1.0)
    for number in range(20, 40):
        with pytest.raises((Unauthenticated, Overloaded)):
            auth.authenticate(bearer(f"ck_0123456789ab_{number}"))
    assert auth.authenticate(bearer(key)).tenant == "acorn"


def test_memory_is_bounded_for_good_and_for_bad_keys(store: CountingStore, clock: SteppedClock) -> None:
    auth = Authenticator(store, clock, max_keys=3)
    keys = [store.create_key("acorn", [Scope.READ]) for _ in range(6)]
    for key in keys:
        auth.authenticate(bearer(key))
    for number in range(6):
        with pytest.raises(Unauthenticated):
            auth.authenticate(bearer(f"ck_0123456789ab_{number}"))
    assert len(auth._good) <= 3
    assert len(auth._bad) <= 3
    assert [auth.authenticate(bearer(key)).tenant for key in keys] == ["acorn"] * 6


def test_without_the_database_nobody_is_let_in(store: CountingStore, clock: SteppedClock, tmp_path: Path) -> None:
    key = store.create_key(None, [Scope.READ])
    auth = Authenticator(store, clock)
    known = auth.authenticate(bearer(key))
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "control.db").write_bytes(b"this is no database, not even a short one" * 100)
    clock.advance(1.0)
    with pytest.raises(StorageUnavailable):
        auth.authenticate(bearer(key))
    with pytest.raises(StorageUnavailable):
        auth.require(known, Scope.READ, "acorn")


def allowed(scopes: frozenset[Scope], owner: str | None, scope: Scope, tenant: str | None) -> type[Exception] | None:
    """What ``require`` ought to do, told the other way round."""
    known = {"acorn", "birch"}
    if tenant is not None and (tenant not in known or owner not in (None, tenant)):
        return UnknownName
    if tenant is None and owner is not None:
        return Forbidden
    return None if scopes & {scope, Scope.ADMIN} else Forbidden


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    scopes=st.frozensets(st.sampled_from(Scope), min_size=1),
    owner=st.sampled_from([None, "acorn", "birch"]),
    scope=st.sampled_from(Scope),
    tenant=st.sampled_from([None, "acorn", "birch", "gamma", "ALPHA", "acorn\n", "a\x00b", "\ud800", "x" * 100]),
)
def test_a_key_allows_its_scopes_on_its_tenant(
    store: CountingStore,
    clock: SteppedClock,
    scopes: frozenset[Scope],
    owner: str | None,
    scope: Scope,
    tenant: str | None,
) -> None:
    key = ApiKey("ab", owner, scopes, "", 0, None)
    auth = Authenticator(store, clock)
    expected = allowed(scopes, owner, scope, tenant)
    for _ in range(2):  # the second time from memory
        if expected is None:
            auth.require(key, scope, tenant)
            asyncio.run(auth.permit(key, scope, tenant))
        else:
            with pytest.raises(expected):
                auth.require(key, scope, tenant)
            with pytest.raises(expected):
                asyncio.run(auth.permit(key, scope, tenant))


def test_an_invisible_tenant_looks_like_one_that_does_not_exist(store: CountingStore, clock: SteppedClock) -> None:
    key = ApiKey("ab", "acorn", frozenset({Scope.ADMIN}), "", 0, None)
    auth = Authenticator(store, clock)
    words = set()
    for tenant in ("birch", "no-such-tenant"):
        with pytest.raises(UnknownName) as caught:
            auth.require(key, Scope.READ, tenant)
        words.add(str(caught.value))
    assert len(words) == 1


async def test_on_an_event_loop_it_answers_the_same(store: CountingStore, clock: SteppedClock) -> None:
    key = store.create_key("acorn", [Scope.READ])
    auth = Authenticator(store, clock)
    for _ in range(2):
        assert (await auth.identify(bearer(key))).tenant == "acorn"
        with pytest.raises(Unauthenticated):
            await auth.identify(bearer("ck_0123456789ab_secret"))
        with pytest.raises(Unauthenticated):
            await auth.identify([])
    assert store.asked == 2
