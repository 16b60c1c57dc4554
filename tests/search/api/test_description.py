"""The OpenAPI description, and whether the API keeps to it whatever it is asked."""

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

Client = Any
Backend = Any

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
EXAMPLES = 25
"""Of each route."""


ROUTES = [
    ("POST", "/v1/search"),
    ("GET", "/v1/search"),
    ("POST", "/v1/similar"),
    ("POST", "/v1/facets"),
    ("POST", "/v1/embeddings"),
    ("GET", "/v1/collections"),
    ("GET", "/v1/documents/{id}"),
    ("GET", "/v1/clusters"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
]


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_the_api_keeps_to_its_description(
    client: Client, backend: Backend, method: str, path: str, mode: GenerationMode
) -> None:
    """No 5xx, no status, media type or field that is not described, nothing wrong accepted."""
    backend.listing = {
        "collection": "docs",
        "run_id": "r",
        "created_at": "2025-01-01T00:00:00+00:00",
        "algorithm": "kmeans",
        "chunks": 4,
        "clusters": [],
    }
    described = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    operation = described[path][method]
    if mode.is_negative and not (operation.body or operation.query):
        return  # nothing can be wrong with it

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        if not mode.is_negative:
            _reach_further(case)
        case.call_and_validate(checks=CHECKS, headers={"Host": "127.0.0.1"})

    ask()


def _reach_further(case: Any) -> None:
    """Name what is there, where a name made up would end the request at once."""
    for part in (case.body, case.query):
        if isinstance(part, dict):
            for name in ("collection", "cursor", "model"):
                part.pop(name, None)
            for name in ("like", "unlike", "ids"):
                if part.get(name):
                    part[name] = ["notes/owls.md"]
            for name in ("keys", "facets"):
                if part.get(name):
                    part[name] = ["format", "year"]
            for name in ("filters", "filter"):
                if part.get(name):
                    part[name] = ["format=markdown"]
    if case.path_parameters:
        case.path_parameters["id"] = "notes/owls.md"


def test_the_routes_above_are_all(client: Client) -> None:
    """One that is added is asked as well."""
    paths = client.get("/openapi.json").json()["paths"]
    assert sorted(ROUTES) == sorted(
        (method.upper(), path) for path, operations in paths.items() for method in operations
    )


def test_every_route_has_an_example_and_its_errors(client: Client) -> None:
    """Each error as a problem; each body with whole examples that are accepted."""
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert "HTTPValidationError" not in json.dumps(document)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"]
            for status, answer in operation["responses"].items():
                if status >= "400":
                    example = answer["content"]["application/problem+json"]["example"]
                    assert example["status"] == int(status)
            if path.startswith("/v1/"):
                assert {"401", "429", "503", "504"} <= operation["responses"].keys()
                assert {"key": []} in operation["security"]
            if method == "post":
                name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                given = document["components"]["schemas"][name.rpartition("/")[2]]["examples"]
                for body in given:
                    assert client.post(path, json=body).status_code in (200, 400), body
