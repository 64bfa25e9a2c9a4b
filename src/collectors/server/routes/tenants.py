"""Tenants and their configuration."""

from __future__ import annotations

import asyncio

from collectors.config.tenant import TenantConfig
from collectors.drivers.control_store import Tenant
from collectors.errors import BadInput, ConfigError, LifecycleError, UnknownName
from collectors.privacy.policy import preset
from collectors.server.answers import Answer
from collectors.server.routes.context import (
    ADMINS,
    OPERATORS,
    READERS,
    TENANT,
    Context,
    Given,
    Reader,
    TenantId,
    errors,
    resource,
)
from collectors.server.schemas import NewTenant, TenantAnswer, TenantChange, TenantSettings, TenantSummary

router = resource("tenants", READERS)


@router.get("/v1/tenants", response_model=list[TenantSummary], responses=errors())
def list_tenants(context: Given, key: Reader) -> Answer:
    """List the tenants that the key may see."""
    control = context.gateway.control
    tenants = control.tenants() if key.tenant is None else [control.tenant(key.tenant)]
    return Answer(
        [
            {"id": t.id, "time_zone": t.config.time_zone, "currency": t.config.currency, "created": t.created_us}
            for t in tenants
        ]
    )


@router.post(
    "/v1/tenants", response_model=TenantAnswer, status_code=201, responses=errors(409), dependencies=[OPERATORS]
)
async def create_tenant(context: Given, new: NewTenant) -> Answer:
    """Create a tenant with keys of its own. Needs an admin key of the whole server."""
    config = _checked(new.model_dump(exclude_unset=True, exclude={"id"}))
    async with context.tenants:
        return await asyncio.to_thread(_create, context, new.id, config)


@router.get(TENANT, response_model=TenantAnswer, responses=errors(404))
def get_tenant(context: Given, tenant: TenantId) -> Answer:
    """Return a tenant with its whole configuration."""
    return _answer(context.gateway.control.tenant(tenant))


@router.put(TENANT, response_model=TenantAnswer, responses=errors(404), dependencies=[ADMINS])
async def replace_tenant_configuration(context: Given, tenant: TenantId, settings: TenantSettings) -> Answer:
    """Replace a tenant's configuration; what is left out gets its default."""
    config = _checked(settings.model_dump(exclude_unset=True))
    async with context.tenants:
        return _answer(await asyncio.to_thread(context.gateway.control.put_tenant, tenant, config))


@router.patch(TENANT, response_model=TenantAnswer, responses=errors(404), dependencies=[ADMINS])
async def change_tenant_configuration(context: Given, tenant: TenantId, change: TenantChange) -> Answer:
    """Change some fields of a tenant's configuration; null restores a default."""
    async with context.tenants:
        return await asyncio.to_thread(_change, context, tenant, change)


def _create(context: Context, tenant: str, config: TenantConfig) -> Answer:
    gateway = context.gateway
    try:
        gateway.control.tenant(tenant)
    except UnknownName:
        pass
    else:
        raise LifecycleError("there is a tenant of that id already; change it with PUT or PATCH")
    # Its keys first: a tenant without keys could not store events, keys without a tenant do no harm.
    gateway.keys.create(tenant)
    return _answer(gateway.control.put_tenant(tenant, config), status=201)


def _change(context: Context, tenant: str, change: TenantChange) -> Answer:
    config = context.gateway.control.tenant(tenant).config.model_dump(exclude_unset=True)
    for name, value in change.model_dump(exclude_unset=True).items():
        if value is None:
            config.pop(name, None)
        else:
            config[name] = value
    return _answer(context.gateway.control.put_tenant(tenant, _checked(config)))


def _checked(values: dict[str, object]) -> TenantConfig:
    """Return the configuration, or raise BadInput for what its parts do not allow together."""
    config = TenantConfig.model_validate(values)
    try:
        preset(config.compliance_mode).override(config.policies)
    except ConfigError as error:
        raise BadInput(str(error)) from None
    return config


def _answer(tenant: Tenant, status: int = 200) -> Answer:
    config = tenant.config.model_dump(mode="json")
    return Answer({"id": tenant.id, "created": tenant.created_us, **config}, status)
