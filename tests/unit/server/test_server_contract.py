"""The API keeps what its OpenAPI document promises, for requests that follow it and for those that do not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import GenerationConfig, SchemathesisConfig

from server_world import Gateway, build
from test_server_isolation import fill, routes

ENDLESS = "/v1/tenants/{tenant}/stream"
INTAKE = {"/v1/tenants/{tenant}/events", "/v1/tenants/{tenant}/events/{type}"}
"""Answered by the event path, which stands before the control API."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    gateway = build(tmp_path_factory.mktemp("contract") / "data")
    fill(gateway)
    return gateway


@pytest.fixture(scope="module")
def api(world: Gateway) -> Iterator[schemathesis.BaseSchema]:
    config = SchemathesisConfig()
    config.projects.default.generation = GenerationConfig(deterministic=True, max_examples=15)
    schema = schemathesis.openapi.from_asgi("/openapi.json", world.app, config=config)
    return schema.exclude(path=[ENDLESS, *INTAKE])


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
def test_no_request_gets_an_answer_that_is_not_documented(case: schemathesis.Case, world: Gateway) -> None:
    if "tenant" in case.path_parameters:
        case.path_parameters["tenant"] = "acorn"
    case.call_and_validate(headers={"Authorization": f"Bearer {world.keys['all-admin']}"})
