"""A tenant's API keys."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from starlette.responses import Response

from collectors.drivers.control_store import ApiKey
from collectors.errors import UnknownName
from collectors.server.answers import Answer
from collectors.server.routes.context import ADMINS, TENANT, Given, TenantId, errors, resource
from collectors.server.schemas import CreatedKey, KeyAnswer, NewKey

router = resource("keys", ADMINS, prefix=f"{TENANT}/keys")

KeyId = Annotated[str, Path(pattern="^[0-9a-f]{1,64}$", description="Id of the key.", examples=["5f1c2a9b03de"])]


@router.get("", response_model=list[KeyAnswer], responses=errors(404))
def list_keys(context: Given, tenant: TenantId) -> Answer:
    """List the keys of a tenant, revoked ones too."""
    return Answer([_shown(k) for k in context.gateway.control.keys(tenant)])


@router.post("", response_model=CreatedKey, status_code=201, responses=errors(404))
def create_key(context: Given, tenant: TenantId, new: NewKey) -> Answer:
    """Create a key for a tenant. Its text is in this answer and nowhere else."""
    control = context.gateway.control
    text = control.create_key(tenant, new.scopes, label=new.label)
    created = next(k for k in control.keys(tenant) if text.split("_")[1] == k.id)
    return Answer({**_shown(created), "key": text}, 201)


@router.delete("/{key_id}", status_code=204, response_class=Response, responses=errors(404))
def revoke_key(context: Given, tenant: TenantId, key_id: KeyId) -> Response:
    """Revoke a key of a tenant, everywhere within about a second. Open streams of the key end too."""
    control = context.gateway.control
    if all(k.id != key_id for k in control.keys(tenant)):
        raise UnknownName("there is no such key in force")
    control.revoke_key(key_id)
    return Response(status_code=204)


def _shown(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "scopes": sorted(key.scopes),
        "label": key.label,
        "created": key.created_us,
        "revoked": key.revoked_us,
    }
