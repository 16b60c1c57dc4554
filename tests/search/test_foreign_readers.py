"""Others read our collections: LangChain, as the documentation shows it; what LlamaIndex reads."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_qdrant import QdrantVectorStore, RetrievalMode
from qdrant_client import QdrantClient, models

from embedder.encoder import Encoder
from search import lexical
from search.records import Point, chunk_id
from search.stores.contract import Collection, Manifest
from search.stores.server import ServerStore

DOCUMENTATION = Path(__file__).parents[2] / "docs/search.md"
TEXTS = {
    "vault": ("text", "The keys of the vault are rotated on the first Monday of every month."),
    "bread": ("text", "Flour, water, salt and yeast make a loaf of bread."),
    "harbour": ("text", "Ships wait outside the harbour until the tide is high."),
    "locks": ("html", "How are keys rotated? Ask the locksmith, who has the error code ERR_4711."),
}
NAME = "docs"


@pytest.fixture(scope="module")
def client() -> Iterator[QdrantClient]:
    """A client whose collections are in memory."""
    with contextlib.closing(QdrantClient(":memory:")) as made:
        yield made


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """The starter."""
    return Encoder.load("starter")


@pytest.fixture(scope="module")
def collection(client: QdrantClient, encoder: Encoder) -> Collection:
    """Four chunks and as many heads, written by the server store."""
    made = ServerStore.over(client, location=":memory:").create(
        Manifest(
            name=NAME,
            dimension=encoder.specification.dimension,
            fingerprint=encoder.specification.fingerprint,
            encoder=encoder.specification.describe(),
            created_at="2025-01-01T00:00:00+00:00",
        )
    )
    vectors = encoder.encode_document([text for _, text in TEXTS.values()])
    made.upsert(
        [
            Point(
                id=chunk_id(name, ordinal=0, content_hash=""),
                vector=vector,
                payload={
                    "kind": "chunk",
                    "page_content": text,
                    "metadata": {
                        "doc_id": name,
                        "source": f"notes/{name}",
                        "title": name.title(),
                        "format": kind,
                        "start": 0,
                        "end": len(text),
                    },
                },
            )
            for (name, (kind, text)), vector in zip(TEXTS.items(), vectors, strict=True)
        ]
    )
    return made


@pytest.fixture
def heads(collection: Collection, head: Callable[[str], Point]) -> None:
    """Each document's head, which no reader may take for a text."""
    collection.upsert([head(name) for name in TEXTS])


def _examples() -> list[str]:
    """The Python of the documentation."""
    return re.findall(r"```python\n(.*?)```", DOCUMENTATION.read_text(encoding="utf-8"), re.S)


@pytest.fixture
def shown(
    collection: Collection, heads: None, client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What the LangChain lines of the documentation leave, run over the collection in memory."""
    monkeypatch.setattr("qdrant_client.QdrantClient", lambda address: client)
    (example,) = (one for one in _examples() if "langchain" in one)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(example, str(DOCUMENTATION), "exec"), names)  # noqa: S102 - our own file
    return names


def test_the_lines_of_the_documentation_find_chunks(shown: dict[str, Any]) -> None:
    """Text, metadata and the point's id arrive; the filter keeps the nearest page out."""
    found = shown["found"]
    assert found[0].page_content == TEXTS["vault"][1]
    assert found[0].metadata["doc_id"] == "vault"
    assert found[0].metadata["title"] == "Vault"
    assert found[0].metadata["_id"] == chunk_id("vault", ordinal=0, content_hash="")
    assert {one.metadata["format"] for one in found} == {"text"}
    assert len(found) == 3


def test_without_a_filter_every_chunk_is_found_and_no_head(shown: dict[str, Any]) -> None:
    """Eight points, four of them chunks: ten are asked for, four come."""
    for mode in RetrievalMode.DENSE, RetrievalMode.HYBRID:
        shown["notes"].retrieval_mode = mode
        found = shown["notes"].similarity_search("how are keys rotated?", k=10)
        assert {one.page_content for one in found} == {text for _, text in TEXTS.values()}
        assert {one.metadata["doc_id"] for one in found[:2]} == {"vault", "locks"}


def test_words_alone_find_what_our_own_search_finds(
    shown: dict[str, Any], collection: Collection
) -> None:
    """The same scores as `search_words`: the sparse vectors mean the same to both."""
    store = shown["notes"]
    store.retrieval_mode = RetrievalMode.SPARSE
    for query in "ERR_4711", "keys of the vault", "bread and salt":
        theirs = store.similarity_search_with_score(query, k=10)
        ours = collection.search_words(query, limit=10)
        assert [(one.metadata["_id"], score) for one, score in theirs] == [
            (record.id, pytest.approx(record.score)) for record in ours
        ]


def test_vectors_alone_have_our_scores(
    shown: dict[str, Any], collection: Collection, encoder: Encoder
) -> None:
    """Cosines of the same query vector."""
    store = shown["notes"]
    store.retrieval_mode = RetrievalMode.DENSE
    theirs = store.similarity_search_with_score("a ship at sea", k=4)
    ours = collection.search(encoder.encode_query(["a ship at sea"])[0], limit=4)
    assert [(one.metadata["_id"], score) for one, score in theirs] == [
        (record.id, pytest.approx(record.score, abs=1e-6)) for record in ours
    ]


def test_a_reader_that_expects_other_names_is_told(
    collection: Collection, client: QdrantClient, shown: dict[str, Any]
) -> None:
    """LangChain checks a collection when it opens it: our vectors have names."""
    with pytest.raises(Exception, match="does not contain dense vector named"):
        QdrantVectorStore(client, NAME, embedding=shown["Vectors"](), vector_name="vector")
    with pytest.raises(Exception, match="does not contain sparse vectors named"):
        QdrantVectorStore(
            client,
            NAME,
            sparse_embedding=shown["Words"](),
            retrieval_mode=RetrievalMode.SPARSE,
            sparse_vector_name="words",
        )


def test_what_llama_index_reads_is_there(
    collection: Collection, heads: None, client: QdrantClient, encoder: Encoder
) -> None:
    """Its Qdrant reader asks for a named vector, filters by paths, and reads a text by its key.

    A payload without its own `_node_content` is read the plain way: the text under `text_key`, all
    else as metadata. Then `node_info` and `relationships` would have to be JSON of its own, so no
    chunk may have them.
    """
    (example,) = (one for one in _examples() if "llama_index" in one)
    assert 'text_key="page_content"' in example
    assert 'dense_vector_name="dense"' in example
    points = client.query_points(
        NAME,
        query=encoder.encode_query(["key rotation"])[0].tolist(),
        using="dense",
        limit=10,
        query_filter=models.Filter(
            must=[
                models.FieldCondition(key="metadata.format", match=models.MatchValue(value="text"))
            ]
        ),
    ).points
    assert points[0].payload is not None
    assert points[0].payload["page_content"] == TEXTS["vault"][1]
    assert len(points) == 3
    for point in points:
        payload = point.payload or {}
        assert not {"_node_content", "_node_type", "node_info", "relationships"} & set(payload)
        assert isinstance(payload["page_content"], str)
        assert json.loads(json.dumps(payload)) == payload
    terms, counts = lexical.query_vector("keys of the vault")
    worded = client.query_points(
        NAME,
        query=models.SparseVector(indices=terms, values=counts),
        using="bm25",
        limit=1,
    ).points
    assert (worded[0].payload or {})["metadata"]["doc_id"] == "vault"
