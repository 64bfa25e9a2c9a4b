"""The API keeps what its OpenAPI document promises, for requests that follow it and for those that do not."""

from __future__ import annotations

import contextlib

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from server_world import Gateway
from test_server_isolation import fill

ENDLESS = "/v1/tenants/{tenant}/stream"
INTAKE = {"/v1/tenants/{tenant}/events", "/v1/tenants/{tenant}/events/{type}"}
"""Answered by the event path, which stands before the control API."""


BEYOND_SCHEMA = {
    ("POST", "/v1/tenants"),
    ("PUT", "/v1/tenants/{tenant}"),
    ("PATCH", "/v1/tenants/{tenant}"),
    ("POST", "/v1/tenants/{tenant}/silences"),
}
"""Take alert rules or patterns, which must be right in ways that JSON Schema can't say."""


@pytest.mark.parametrize("mode", GenerationMode)
def test_no_request_gets_an_answer_that_is_not_documented(gateway: Gateway, mode: GenerationMode) -> None:
    fill(gateway)
    document = schemathesis.openapi.from_asgi("/openapi.json", gateway.app)
    key = {"Authorization": f"Bearer {gateway.keys['all-admin']}"}
    tried = 0
    for found in document.exclude(path=[ENDLESS, *INTAKE]).get_all_operations():
        operation = found.ok()
        tenant = {"tenant": "acorn"} if "{tenant}" in operation.path else None

        @settings(
            max_examples=10,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(mode, path_parameters=tenant))
        def check(case: schemathesis.Case) -> None:
            beyond = (case.method, case.operation.path) in BEYOND_SCHEMA
            case.call_and_validate(headers=key, excluded_checks=[positive_data_acceptance] if beyond else [])

        with contextlib.suppress(Unsatisfiable):  # a route that takes nothing can't be given anything wrong
            check()
            tried += 1
    assert tried >= {GenerationMode.POSITIVE: 22, GenerationMode.NEGATIVE: 9}[mode]
