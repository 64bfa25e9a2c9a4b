"""Which field gets which protection, and the protection of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field

import pyarrow as pa

from collectors.errors import BadInput, ConfigError
from collectors.model.event_type import ALLOWED_POLICIES, EventType, Field, Mark, Policy
from collectors.model.event_types import EVENT_TYPES
from collectors.privacy.aead import associated_data, encrypt_column
from collectors.privacy.columns import is_all_null
from collectors.privacy.keys import Keyset
from collectors.privacy.network import truncate_location, truncated_ips


@dataclass(frozen=True)
class Plan:
    """What ``protect`` does to batches of a type: position, field and policy of each marked column."""

    type: EventType
    names: list[str]
    schema: pa.Schema
    marked: tuple[tuple[int, Field, Policy], ...]


@dataclass(frozen=True)
class FieldPolicies:
    """One tenant's policies, as event type → field → policy; for any other marked field, its mark's default.

    Raises ConfigError, which names the key below ``where`` and the fix.
    """

    overrides: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    where: InitVar[str] = "policies"
    _plans: dict[str, Plan] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self, where: str) -> None:
        for type_name, policies in self.overrides.items():
            for name, policy in policies.items():
                _check(type_name, name, policy, where)

    def override(self, given: Mapping[str, Mapping[str, str]], *, where: str = "policies") -> FieldPolicies:
        """Return these policies with the ``given`` put over them, field by field."""
        types = dict.fromkeys((*self.overrides, *given))
        return FieldPolicies({t: {**self.overrides.get(t, {}), **given.get(t, {})} for t in types}, where=where)

    def policy(self, event_type: EventType, field_name: str) -> Policy | None:
        """Return what happens to a field, None if it is not marked as personal."""
        default = event_type.by_name[field_name].default_policy
        if default is None:
            return None
        return Policy(self.overrides.get(event_type.name, {}).get(field_name, default))

    def plan(self, event_type: EventType) -> Plan:
        """Return the plan for batches of ``event_type``, made once."""
        plan = self._plans.get(event_type.name)
        if plan is None or plan.type is not event_type:
            marked = []
            for position, column in enumerate(event_type.columns):
                policy = self.policy(event_type, column.name)
                if policy is not None:
                    marked.append((position, column, policy))
            schema = pa.schema([event_type.stored_schema.field(f.name) for f in event_type.columns])
            plan = Plan(event_type, schema.names, schema, tuple(marked))
            self._plans[event_type.name] = plan
        return plan


def _check(type_name: str, name: str, policy: str, where: str) -> None:
    """Raise ConfigError unless ``policy`` may be set for the field."""
    event_type = EVENT_TYPES.get(type_name)
    if event_type is None:
        message, fix = "there is no event type of that name.", f"use one of {', '.join(EVENT_TYPES)}"
        raise ConfigError(message, where=f"{where}.{type_name}", fix=fix)
    where = f"{where}.{type_name}.{name}"
    column = event_type.by_name.get(name)
    if column is None or column.mark is None:
        marked = ", ".join(f.name for f in event_type.columns if f.mark is not None)
        message = (
            f"{type_name} has no such field." if column is None else "the field is not personal, so it has no policy."
        )
        raise ConfigError(message, where=where, fix=f"use one of {marked}, or remove the key")
    allowed = ALLOWED_POLICIES[column.mark] - ({Policy.DROP} if column.required else set())
    if policy in allowed:
        return
    if policy == Policy.DROP:
        message = "a required field cannot be dropped."
    else:
        message = f"{str(policy)[:64]!r} is not a policy for a field marked {column.mark}."
    raise ConfigError(message, where=where, fix=f"use one of {', '.join(sorted(allowed))}")


def preset(name: str, *, where: str = "policies") -> FieldPolicies:
    """Return ready-made policies.

    ``standard`` is every field's default. ``strict`` moreover encrypts free text and drops locations.
    ``security`` is standard, but keeps the full addresses of the auth and audit types, encrypted.
    """
    if name == "standard":
        return FieldPolicies()
    if name == "strict":
        by_mark = {Mark.FREE: Policy.ENCRYPT, Mark.LOCATION: Policy.DROP}
        return FieldPolicies(
            {
                t.name: {f.name: by_mark[f.mark] for f in t.columns if f.mark is not None and f.mark in by_mark}
                for t in EVENT_TYPES.values()
            }
        )
    if name == "security":
        return FieldPolicies({t: {"ip": Policy.ENCRYPT} for t in ("auth", "audit")})
    raise ConfigError(f"there is no preset {name[:64]!r}.", where=where, fix="use standard, strict or security")


def protect(
    batch: pa.RecordBatch | pa.Table, event_type: EventType, tenant: str, keyset: Keyset, policies: FieldPolicies
) -> pa.RecordBatch:
    """Return the batch as it may be stored: each column protected by its policy, in its stored type.

    ``batch`` has the columns of the type's wire schema, in order, and may end in ``received_time``; text may be
    dictionary-encoded. It stays as it is. Raises BadInput for any other columns, because what no policy covers must
    not be stored. An address that cannot be truncated becomes null: validate with ``truncate_ips`` before.
    """
    if keyset.tenant != tenant:
        raise ValueError("the keyset belongs to another tenant")
    plan = policies.plan(event_type)
    schema = plan.schema
    names = batch.schema.names
    if names != plan.names:
        schema = event_type.stored_schema
        if names != schema.names:
            raise BadInput(f"these are not the columns of the event type {event_type.name}")
    columns = list(batch.columns)
    if isinstance(batch, pa.Table):
        columns = [column.combine_chunks() for column in columns]
    for position, column, policy in plan.marked:
        columns[position] = _protected(columns[position], event_type, column, policy, keyset)
    plain = [
        column if column.type == stored.type else column.cast(stored.type)
        for column, stored in zip(columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(plain, schema=schema)


def _protected(values: pa.Array, event_type: EventType, column: Field, policy: Policy, keyset: Keyset) -> pa.Array:
    if policy is Policy.DROP or is_all_null(values):
        return pa.nulls(len(values), column.stored_type)
    if policy is Policy.PSEUDONYMISE:
        return keyset.pseudonym.cmac.column(values)
    if policy is Policy.ENCRYPT:
        return encrypt_column(keyset, associated_data(keyset.tenant, event_type.name, column.name), values)
    if policy is Policy.TRUNCATE:
        return truncated_ips(values) if column.mark is Mark.IP else truncate_location(values)
    return values
