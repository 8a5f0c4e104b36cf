"""The OpenAPI document that the server gives of itself, held against the server by generated requests."""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from sextant_serving.client import Client
from sextant_serving.launch import Server

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    """The document."""
    with server.client() as client:
        status, _, body = client.request("GET", "/openapi.json")
    assert status == 200
    described: dict[str, Any] = json.loads(body)
    return described


def test_every_described_path_exists(client: Client, document: dict[str, Any]) -> None:
    """No path of the document is 404, and each takes the method that is written there."""
    for path, item in document["paths"].items():
        (method,) = item
        assert client.request(method.upper(), path, b"" if method == "post" else None)[0] not in (404, 405), path


def test_generated_requests_meet_the_document(server: Server, document: dict[str, Any]) -> None:
    """Requests made from the document, valid or not, get answers that it describes, and no server error."""
    schema = schemathesis.openapi.from_dict(document)
    operations: list[Any] = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]
    assert len(operations) == len(document["paths"])
    everything = settings(
        max_examples=4,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    for operation in operations:
        cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])

        @everything
        @given(case=cases)
        def check(case: Any) -> None:
            case.call_and_validate(base_url=server.url, checks=CHECKS)

        check()
