from __future__ import annotations

import uuid
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.errors import BadInput, ConfigError
from collectors.model.event_type import ALLOWED_POLICIES, TIMESTAMP, EventType, Mark, Policy
from collectors.model.event_types import AUTH, EVENT_TYPES, PAYMENT, PLAYBACK
from collectors.privacy.aead import associated_data, open_sealed
from collectors.privacy.keys import Key, Keyset, KeyStatus, Purpose
from collectors.privacy.network import truncate_ips
from collectors.privacy.policy import FieldPolicies, preset, protect

KEYSET = Keyset(
    "acme",
    (
        Key(1, Purpose.PSEUDONYM, KeyStatus.ENABLED, 0, bytes(32)),
        Key(2, Purpose.AEAD, KeyStatus.ENABLED, 0, bytes(range(32))),
    ),
)
STANDARD = preset("standard")
LOGIN = {
    "event_id": uuid.UUID(int=7).bytes,
    "user_id": "u-42",
    "properties": '{"a": 1}',
    "principal": "ada@example.org",
    "outcome": "failure",
    "ip": "203.0.113.7",
    "asn": 64500,
    "latitude": 59.32932,
    "longitude": 18.06858,
    "device_id": "d-1",
    "user_agent": "agent/1.0",
}


def batch_of(event_type: EventType, *rows: dict[str, object]) -> pa.RecordBatch:
    names = event_type.wire_schema.names
    return pa.RecordBatch.from_pylist([{n: row.get(n) for n in names} for row in rows], event_type.wire_schema)


def protect_one(policies: FieldPolicies) -> dict[str, object]:
    return protect(batch_of(AUTH, LOGIN), AUTH, "acme", KEYSET, policies).to_pylist()[0]


def opened(field: str, sealed: object) -> bytes:
    assert isinstance(sealed, bytes)
    return open_sealed(KEYSET, associated_data("acme", "auth", field), sealed)


def test_standard_policies_pseudonymise_people_truncate_places_and_keep_the_rest() -> None:
    stored = protect_one(STANDARD)
    (expected,) = KEYSET.pseudonyms("ada@example.org")
    assert stored["principal"] == expected
    assert stored["user_id"] == KEYSET.pseudonyms("u-42")[0]
    assert stored["device_id"] == KEYSET.pseudonyms("d-1")[0]
    assert stored["ip"] == b"203.0.113.0/24"
    assert (stored["latitude"], stored["longitude"]) == (59.3, 18.1)
    assert stored["user_agent"] == b"agent/1.0"
    sealed = stored["properties"]
    assert isinstance(sealed, bytes)
    assert open_sealed(KEYSET, associated_data(KEYSET.tenant, "auth", "properties"), sealed) == b'{"a": 1}'
    assert {n: stored[n] for n in ("event_id", "outcome", "asn")} == {
        n: LOGIN[n] for n in ("event_id", "outcome", "asn")
    }


def test_strict_preset_encrypts_free_text_and_drops_locations() -> None:
    stored = protect_one(preset("strict"))
    assert opened("user_agent", stored["user_agent"]) == b"agent/1.0"
    assert opened("properties", stored["properties"]) == b'{"a": 1}'
    assert (stored["latitude"], stored["longitude"]) == (None, None)
    assert stored["ip"] == b"203.0.113.0/24"
    for event_type in EVENT_TYPES.values():
        for field in event_type.columns:
            if field.mark is not None:
                strict = {Mark.FREE: Policy.ENCRYPT, Mark.LOCATION: Policy.DROP}
                want = strict.get(field.mark, field.default_policy)
                assert preset("strict").policy(event_type, field.name) is want


def test_security_preset_keeps_full_addresses_encrypted() -> None:
    stored = protect_one(preset("security"))
    assert opened("ip", stored["ip"]) == b"203.0.113.7"
    assert stored["user_agent"] == b"agent/1.0"
    assert preset("security").policy(EVENT_TYPES["audit"], "ip") is Policy.ENCRYPT


def test_an_override_wins_over_the_preset_and_leaves_the_rest() -> None:
    policies = preset("security").override({"auth": {"ip": "pseudonymise", "device_id": "drop", "user_id": "keep"}})
    stored = protect_one(policies)
    assert stored["ip"] == KEYSET.pseudonyms("203.0.113.7")[0]
    assert stored["device_id"] is None
    assert stored["user_id"] == b"u-42"
    assert policies.policy(EVENT_TYPES["audit"], "ip") is Policy.ENCRYPT
    assert policies.policy(AUTH, "outcome") is None
    assert policies == FieldPolicies(policies.overrides)
    assert preset("security").policy(AUTH, "ip") is Policy.ENCRYPT


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"auht": {"ip": "drop"}},
            r"acme\.policies\.auht: there is no event type of that name\. Fix: use one of playback",
        ),
        (
            {"auth": {"ipp": "drop"}},
            r"acme\.policies\.auth\.ipp: auth has no such field\. Fix: use one of user_id, .*ip",
        ),
        ({"auth": {"asn": "drop"}}, r"acme\.policies\.auth\.asn: the field is not personal.*\. Fix: use one of"),
        (
            {"auth": {"ip": "hide"}},
            r"auth\.ip: 'hide' is not a policy for a field marked ip\. Fix: use one of drop, enc",
        ),
        (
            {"auth": {"latitude": "encrypt"}},
            r"auth\.latitude: 'encrypt' is not a policy for a field marked location\. Fix: use one of drop, keep, t",
        ),
        (
            {"auth": {"principal": "drop"}},
            r"auth\.principal: a required field cannot be dropped\. Fix: use one of encrypt, keep, pseudonymise$",
        ),
    ],
)
def test_a_wrong_policy_names_the_key_and_the_fix(given: dict[str, dict[str, str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        STANDARD.override(given, where="acme.policies")


def test_policies_made_directly_are_checked_too() -> None:
    with pytest.raises(ConfigError, match=r"^policies\.auth\.principal: a required field"):
        FieldPolicies({"auth": {"principal": Policy.DROP}})


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"acme: there is no preset 'lax'\. Fix: use standard, strict or security"):
        preset("lax", where="acme")


texts = st.none() | st.text(st.characters(codec="utf-8"), max_size=40)
coordinates = st.none() | st.floats(-90, 90)
rows_of_auth = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": texts,
            "properties": texts,
            "principal": texts,
            "ip": st.none() | st.ip_addresses().map(str) | texts,
            "latitude": coordinates,
            "device_id": texts,
            "user_agent": texts,
            "outcome": st.sampled_from(["success", "failure"]),
        }
    ),
    max_size=40,
)


def all_policies(event_type: EventType) -> st.SearchStrategy[dict[str, Policy]]:
    allowed = {
        f.name: st.sampled_from(sorted(ALLOWED_POLICIES[f.mark] - ({Policy.DROP} if f.required else set())))
        for f in event_type.columns
        if f.mark is not None
    }
    return st.fixed_dictionaries({}, optional=allowed)


def check_value(field_name: str, mark: Mark, policy: Policy, given: object, stored: object) -> None:
    if given is None or policy is Policy.DROP:
        assert stored is None
    elif policy is Policy.ENCRYPT:
        assert opened(field_name, stored) == str(given).encode()
    elif policy is Policy.PSEUDONYMISE:
        assert (stored,) == KEYSET.pseudonyms(str(given))
    elif policy is Policy.TRUNCATE and mark is Mark.LOCATION:
        assert stored == pytest.approx(given, abs=0.05 + 1e-9)
    elif policy is Policy.TRUNCATE:
        assert stored == truncate_ips(pa.array([given]))[0][0].as_py()
    else:
        assert stored == (given if mark is Mark.LOCATION else str(given).encode())


@settings(deadline=None, derandomize=True, max_examples=150)
@given(rows=rows_of_auth, overrides=all_policies(AUTH), dictionary=st.booleans(), table=st.booleans())
def test_every_allowed_policy_does_what_it_says_to_every_value(
    rows: list[dict[str, object]], overrides: dict[str, Policy], dictionary: bool, table: bool
) -> None:
    policies = FieldPolicies({"auth": overrides})
    batch = batch_of(AUTH, *rows)
    if dictionary:
        columns = [c.dictionary_encode() if pa.types.is_string(c.type) else c for c in batch.columns]
        batch = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
    copy = batch.to_pylist()
    given_form = pa.Table.from_batches([batch.slice(0, 1), batch.slice(1)]) if table else batch
    stored = protect(given_form, AUTH, "acme", KEYSET, policies)
    stored.validate(full=True)
    assert stored.schema == pa.schema([AUTH.stored_schema.field(f.name) for f in AUTH.columns])
    assert batch.to_pylist() == copy
    for before, after in zip(copy, stored.to_pylist(), strict=True):
        for field in AUTH.columns:
            if field.mark is None:
                assert after[field.name] == before[field.name]
            else:
                policy = overrides.get(field.name, field.default_policy)
                check_value(field.name, field.mark, policy, before[field.name], after[field.name])


@pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=lambda t: t.name)
@pytest.mark.parametrize("name", ["standard", "strict", "security"])
def test_every_event_type_can_be_protected(event_type: EventType, name: str) -> None:
    stored = protect(batch_of(event_type, dict(event_type.example), {}), event_type, "acme", KEYSET, preset(name))
    stored.validate(full=True)
    assert stored.schema.names == event_type.wire_schema.names
    assert [f.type for f in stored.schema] == [f.stored_type for f in event_type.columns]


def test_received_time_passes_through() -> None:
    batch = batch_of(AUTH, LOGIN).append_column("received_time", pa.array([1], TIMESTAMP))
    stored = protect(batch, AUTH, "acme", KEYSET, STANDARD)
    assert stored.schema == AUTH.stored_schema
    assert stored["received_time"].cast(pa.int64()).to_pylist() == [1]


def test_a_column_that_no_policy_covers_is_refused() -> None:
    batch = batch_of(PLAYBACK, {})
    for odd in (
        batch.append_column("email", pa.array(["ada@example.org"])),
        batch.drop_columns(["country"]),
        batch.select(batch.schema.names[::-1]),
        batch_of(PAYMENT, {}),
    ):
        with pytest.raises(BadInput, match="not the columns of the event type playback"):
            protect(odd, PLAYBACK, "acme", KEYSET, STANDARD)


def test_another_tenants_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="another tenant"):
        protect(batch_of(AUTH, LOGIN), AUTH, "other", KEYSET, STANDARD)


def test_a_type_of_the_same_name_gets_its_own_plan() -> None:
    shorter = replace(AUTH, fields=AUTH.fields[:3])
    for event_type in (AUTH, shorter, AUTH):
        stored = protect(batch_of(event_type, LOGIN), event_type, "acme", KEYSET, STANDARD)
        assert stored.num_columns == len(event_type.columns)


def test_the_same_person_has_one_pseudonym_in_all_types_of_a_tenant() -> None:
    played = protect(batch_of(PLAYBACK, {"user_id": "u-42"}), PLAYBACK, "acme", KEYSET, STANDARD)
    paid = protect(batch_of(PAYMENT, {"customer_id": "u-42"}), PAYMENT, "acme", KEYSET, STANDARD)
    assert played["user_id"].to_pylist() == paid["customer_id"].to_pylist()
