"""Every route's answer, and every bad input's."""

import base64
import json
from typing import Any

import numpy as np
import pytest

Client = Any
Backend = Any
Make = Any

SEARCH_FIELDS = {
    "query", "collection", "encoder", "mode", "degraded", "nothing_good", "hits", "cursor",
    "timings_ms",
}  # fmt: skip


def problem(response: Any, status: int, slug: str) -> Any:
    """The body of an answer, which must be this problem, whole."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert {"type", "title", "status", "detail", "instance", "request_id"} <= body.keys()
    assert (body["type"], body["status"]) == (f"urn:sextant:problem:{slug}", status)
    assert body["instance"] == response.request.url.path
    assert body["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    return body


def test_a_search_by_words_and_vectors(client: Client) -> None:
    """The object that the command prints, with facets where they are asked for."""
    answer = client.post(
        "/v1/search",
        json={"query": "river sand", "limit": 2, "facets": ["format", "year"]},
    ).json()
    assert answer.keys() == SEARCH_FIELDS | {"facets"}
    assert (answer["mode"], answer["degraded"], answer["encoder"]) == ("hybrid", None, "letters")
    best = answer["hits"][0]
    assert (best["rank"], best["doc_id"]) == (1, "notes/rivers.md")
    assert [best["text"][start:end] for start, end in best["marks"]] == ["river", "sand"]
    assert best["evidence"]["start"] == 0
    assert answer["facets"]["format"] == {
        "values": [{"value": "markdown", "chunks": 3}, {"value": "html", "chunks": 1}],
        "whole": True,
    }
    assert answer["facets"]["fields.year"]["values"][0] == {"value": 2020, "chunks": 2}


def test_the_simple_form_answers_the_same(client: Client) -> None:
    """By GET, with filters and pages."""
    body = {"query": "a loaf", "limit": 1, "mode": "lexical", "filters": ["format=html"]}
    full = client.post("/v1/search", json=body).json()
    simple = client.get(
        "/v1/search", params={"q": "a loaf", "k": 1, "mode": "lexical", "filter": "format=html"}
    ).json()
    assert full["hits"] == simple["hits"]
    assert [hit["doc_id"] for hit in simple["hits"]] == ["notes/bread.html"]


def test_pages_go_on_where_the_last_ended(client: Client) -> None:
    """Three documents on three pages, each once."""
    seen, cursor = [], None
    for _ in range(3):
        asked = {"query": "a", "limit": 1, "mode": "dense"} | ({"cursor": cursor} if cursor else {})
        answer = client.post("/v1/search", json=asked).json()
        seen += [hit["doc_id"] for hit in answer["hits"]]
        cursor = answer["cursor"]
    assert cursor is None
    assert sorted(seen) == ["notes/bread.html", "notes/owls.md", "notes/rivers.md"]


@pytest.mark.parametrize(
    "filters",
    [
        ["year>=2021", "format=markdown"],
        {"all": [{"key": "year", "op": ">", "value": 2020},
                 {"key": "title", "op": "~", "value": "rivers"}]},
        ["format=markdown", {"key": "year", "op": "=", "value": 2021}],
        [{"not": {"key": "year", "op": "in", "value": [2020, 2022]}}],
    ],
)  # fmt: skip
def test_filters_are_expressions_or_json(client: Client, filters: Any) -> None:
    """Or both; all of them hold."""
    answer = client.post("/v1/search", json={"query": "a", "filters": filters}).json()
    assert [hit["doc_id"] for hit in answer["hits"]] == ["notes/rivers.md"]


def test_every_option_of_a_search_is_passed_on(client: Client) -> None:
    """Chunks rather than documents, no evidence, diversity, fusion, examples, a budget."""
    chunks = client.post(
        "/v1/search",
        json={"query": "owl", "by_document": False, "evidence": False, "diversity": 0.5,
              "fold_cosine": 1, "fusion": {"method": "minmax", "dense_weight": 0},
              "budget_ms": 5000,
              "like": ["notes/owls.md"], "unlike": ["notes/rivers.md"]},
    ).json()  # fmt: skip
    found = [hit["doc_id"] for hit in chunks["hits"]]
    assert found.count("notes/owls.md") == 2
    assert all(hit["evidence"] is None for hit in chunks["hits"])
    assert chunks["hits"][0]["score"] == 1.0  # minmax gives the best of words 1


def test_similar_by_document_and_by_text(client: Client) -> None:
    """Examples themselves are not found."""
    found = client.post("/v1/similar", json={"ids": ["notes/owls.md"]}).json()
    assert found.keys() == SEARCH_FIELDS
    assert sorted(hit["doc_id"] for hit in found["hits"]) == ["notes/bread.html", "notes/rivers.md"]
    by_text = client.post(
        "/v1/similar", json={"text": "A river carries sand down to the sea.", "limit": 1}
    ).json()
    assert [hit["doc_id"] for hit in by_text["hits"]] == ["notes/rivers.md"]


def test_facets(client: Client) -> None:
    """Filtered, and cut."""
    asked = {"keys": ["format", "cluster"], "limit": 1, "filters": ["format=markdown"]}
    assert client.post("/v1/facets", json=asked).json() == {
        "collection": "docs",
        "facets": {
            "format": {"values": [{"value": "markdown", "chunks": 3}], "whole": True},
            "cluster": {"values": [{"value": 0, "chunks": 2}], "whole": False},
        },
    }


def test_a_document_in_order_and_in_part(client: Client) -> None:
    """Its id has slashes; what is of no use to others is left out."""
    whole = client.get("/v1/documents/notes/owls.md").json()
    assert whole["document"] == {"doc_id": "notes/owls.md", "content_hash": "h", "title": "T"}
    assert [chunk["ordinal"] for chunk in whole["chunks"]] == [0, 1]
    second = client.get("/v1/documents/notes/owls.md", params={"offset": 1, "limit": 5}).json()
    assert second["chunks"] == whole["chunks"][1:]
    assert second["chunks"][0].keys() == {"id", "ordinal", "start", "end", "headings", "text"}
    assert client.get("/v1/documents/notes%2Fowls.md").json() == whole


def test_collections(client: Client) -> None:
    """Those that were opened are counted."""
    first, second = client.get("/v1/collections").json()["collections"]
    assert (first["name"], first["documents"], first["chunks"]) == ("docs", 3, 4)
    assert (first["default"], first["fields"]) == (True, [{"name": "year", "type": "integer"}])
    assert (second["default"], second["chunks"], second["fields"]) == (False, None, None)


def test_clusters(client: Client, backend: Backend) -> None:
    """As the backend lists them; 404 where there was no run."""
    problem(client.get("/v1/clusters"), 404, "not-clustered")
    backend.listing = {"collection": "docs", "clusters": []}
    assert client.get("/v1/clusters").json() == {"collection": "docs", "clusters": []}


def test_embeddings_in_openais_shape(client: Client, backend: Backend) -> None:
    """Numbers or base64; queries and documents; cut to fewer dimensions at unit length."""
    answer = client.post("/v1/embeddings", json={"input": ["one two", "three"]}).json()
    assert answer["object"] == "list"
    assert answer["model"] == "letters"
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert [one["index"] for one in answer["data"]] == [0, 1]
    expected = backend.encoder.encode_query(["one two", "three"])
    assert np.allclose([one["embedding"] for one in answer["data"]], expected)
    packed = client.post(
        "/v1/embeddings",
        json={"input": "three", "input_type": "query", "encoding_format": "base64"},
    ).json()["data"][0]["embedding"]
    assert np.allclose(np.frombuffer(base64.b64decode(packed), "<f4"), -expected[1])
    cut = client.post(
        "/v1/embeddings", json={"input": "three", "dimensions": 2, "model": "letters"}
    )
    vector = np.asarray(cut.json()["data"][0]["embedding"])
    assert vector.shape == (2,)
    assert np.linalg.norm(vector) == pytest.approx(1)


def test_health(client: Client, backend: Backend) -> None:
    """It lives whatever happens; it is ready once nothing is missing."""
    assert client.get("/livez").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}
    backend.missing = "encoder 'letters' is being loaded"
    answer = client.get("/readyz")
    assert problem(answer, 503, "not-ready")["detail"] == backend.missing
    assert answer.headers["retry-after"]
    assert client.get("/livez").status_code == 200


SEARCHES: list[tuple[dict[str, Any], int, str, str]] = [
    ({"query": ""}, 400, "invalid-request", "query '' is blank"),
    ({"query": " \x00\x07\t"}, 400, "invalid-request", "is blank: expected a text"),
    ({"query": "x" * 100_000}, 400, "invalid-request", "query of 100,000 characters: expected at"),
    ({"query": "x", "limit": 1001}, 422, "invalid-input", "limit: expected less than or equal to"),
    ({"query": "x", "limit": 0}, 422, "invalid-input", "limit: expected greater than or equal"),
    ({"query": "x", "limit": "5"}, 422, "invalid-input", "limit: expected a valid integer"),
    ({"query": "x", "limit": True}, 422, "invalid-input", "limit: expected a valid integer"),
    ({"query": "x", "limits": 5}, 422, "invalid-input", "limits: no such field"),
    ({"query": 7}, 422, "invalid-input", "query: expected a valid string"),
    ({}, 422, "invalid-input", "query: expected a value"),
    ({"query": "x", "mode": "fuzzy"}, 422, "invalid-input", "mode: expected 'hybrid', 'dense' or"),
    ({"query": "x", "collection": "dosc"}, 404, "unknown-collection", "did you mean 'docs'?"),
    ({"query": "x", "filters": ["formt=a"]}, 400, "invalid-request", "did you mean format?"),
    ({"query": "x", "filters": ["yaer=1"]}, 400, "invalid-request", "did you mean year?"),
    ({"query": "x", "filters": ["year=abc"]}, 400, "invalid-request", "expected a whole number"),
    ({"query": "x", "filters": "a=b"}, 422, "invalid-input", "filters"),
    ({"query": "x", "filters": {"nand": []}}, 400, "invalid-request", "expected key, op and value"),
    ({"query": "x", "filters": ["a=b"] * 101}, 400, "invalid-request", "101 filters: expected at"),
    ({"query": "x", "cursor": "zzz"}, 400, "invalid-request", "cursor 'zzz' is not one of ours"),
    ({"query": "x", "like": ["notes/owl.md"]}, 400, "invalid-request", "notes/owls.md"),
    ({"query": "x", "like": ["a"] * 101}, 422, "invalid-input", "like: expected"),
    ({"query": "x", "diversity": 2}, 422, "invalid-input", "diversity: expected less than"),
    ({"query": "x", "budget_ms": 0}, 422, "invalid-input", "budget_ms: expected greater than 0"),
    ({"query": "x", "fusion": {"k": 1}}, 422, "invalid-input", "fusion.k: no such field"),
    ({"query": "x", "facets": ["nope"]}, 400, "invalid-request", "unknown filter key 'nope'"),
    ({"query": "x", "facets": ["modified"]}, 400, "invalid-request", "values are not counted"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "slug", "words"), SEARCHES)
def test_wrong_searches(
    client: Client, body: dict[str, Any], status: int, slug: str, words: str
) -> None:
    """Each says what was given, what was expected, and what to do."""
    detail = problem(client.post("/v1/search", json=body), status, slug)["detail"]
    assert words in detail
    assert "/secret" not in detail


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/similar", {}, 400, "expected a chunk, a document or a text to be like"),
        ("/v1/similar", {"ids": ["none"]}, 400, "no chunk or document 'none'"),
        ("/v1/similar", {"text": " "}, 400, "is blank"),
        ("/v1/similar", {"text": "x" * 200_001}, 400, "expected at most 200,000"),
        ("/v1/facets", {"keys": []}, 422, "keys: expected"),
        ("/v1/facets", {"keys": ["fromat"]}, 400, "did you mean format?"),
        ("/v1/facets", {"keys": ["format"], "limit": 10_001}, 422, "limit: expected less than"),
        ("/v1/embeddings", {"input": []}, 400, "input of 0 texts: expected 1 to 2048"),
        ("/v1/embeddings", {"input": ["a"] * 2049}, 400, "input of 2049 texts"),
        ("/v1/embeddings", {"input": ["a", " "]}, 400, "input 1 is blank"),
        ("/v1/embeddings", {"input": [1, 2]}, 422, "expected a valid string"),
        ("/v1/embeddings", {"input": "a", "model": "gpt"}, 400, "is encoded by 'letters'"),
        ("/v1/embeddings", {"input": "a", "dimensions": 5}, 400, "the encoder gives 4"),
        ("/v1/embeddings", {"input": "a", "input_type": "x"}, 422, "input_type: expected 'query'"),
    ],
)
def test_wrong_bodies_elsewhere(
    client: Client, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    """The same rules on every route."""
    slug = "invalid-request" if status == 400 else "invalid-input"
    assert words in json.dumps(problem(client.post(path, json=body), status, slug))


def test_wrong_addresses(client: Client) -> None:
    """Unknown documents, collections, parameters, paths and methods."""
    found = problem(client.get("/v1/documents/notes/owl.md"), 404, "unknown-document")
    assert "did you mean 'notes/owls.md'" in found["detail"]
    problem(client.get("/v1/documents/"), 422, "invalid-input")
    problem(client.get("/v1/documents/a", params={"limit": 1001}), 422, "invalid-input")
    problem(client.get("/v1/clusters", params={"collection": "dosc"}), 404, "unknown-collection")
    problem(client.get("/v1/search", params={"q": "a", "k": "many"}), 422, "invalid-input")
    problem(client.get("/v1/search", params={"q": "a", "n": "1"}), 422, "invalid-input")
    problem(client.get("/v2/search"), 404, "unknown-path")
    answer = client.delete("/v1/search")
    problem(answer, 405, "wrong-method")
    assert answer.headers["allow"]
    problem(client.get("/docs"), 404, "unknown-path")


@pytest.mark.parametrize(
    "content",
    [b"{", b"", b"\xff\xfe\x00", b'{"query": "\xff"}', b"[" * 100_000, b'{"query": NaN}', b"null",
     b'"text"', b'{"query": "\\ud800"}', b"1" * 5000],
)  # fmt: skip
def test_broken_json(client: Client, content: bytes) -> None:
    """Whatever the bytes are."""
    answer = client.post(
        "/v1/search", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    answer.json()


def test_filters_that_are_nested_without_end(client: Client) -> None:
    """A filter that JSON can still be read of is refused all the same."""
    deep: Any = {"key": "year", "op": "=", "value": 2020}
    for _ in range(300):
        deep = {"not": deep}
    detail = problem(
        client.post("/v1/search", json={"query": "a", "filters": deep}), 400, "invalid-request"
    )["detail"]
    assert "nested" in detail


def test_an_empty_collection_answers_with_nothing(client: Client) -> None:
    """By any mode; nothing is there to count, either."""
    for mode in ("hybrid", "dense", "lexical"):
        answer = client.post(
            "/v1/search", json={"query": "owl", "mode": mode, "collection": "empty"}
        ).json()
        assert (answer["hits"], answer["cursor"]) == ([], None)
    asked = {"keys": ["format"], "collection": "empty"}
    assert client.post("/v1/facets", json=asked).json()["facets"]["format"]["values"] == []
    problem(client.get("/v1/documents/a", params={"collection": "empty"}), 404, "unknown-document")


def test_without_an_encoder_words_answer_and_say_so(client: Client, backend: Backend) -> None:
    """What needs vectors is refused, as not to be had just now."""
    backend.encoder = None
    answer = client.post("/v1/search", json={"query": "owl"}).json()
    assert answer["mode"] == "lexical"
    assert "by words only" in answer["degraded"]
    assert answer["hits"][0]["doc_id"] == "notes/owls.md"
    for path, body in (
        ("/v1/search", {"query": "owl", "mode": "dense"}),
        ("/v1/similar", {"text": "owl"}),
        ("/v1/embeddings", {"input": "owl"}),
    ):
        problem(client.post(path, json=body), 503, "encoder-unavailable")
    assert client.post("/v1/similar", json={"ids": ["notes/owls.md"]}).status_code == 200


def test_control_characters_count_as_spaces(client: Client) -> None:
    """In a query that has words besides."""
    answer = client.post("/v1/search", json={"query": "owl\x00\x1b[31m hunts"}).json()
    assert answer["hits"][0]["doc_id"] == "notes/owls.md"
