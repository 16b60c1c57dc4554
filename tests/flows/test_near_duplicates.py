"""Signatures, and who nearly equals whom."""

import random
from dataclasses import replace

import pytest

from flows.heads import STORED, WRITING, Head
from flows.near_duplicates import COMPONENTS, Lookalikes, find_twins, signature_of

WORDS = [f"word{number}" for number in range(2000)]


def text_of(seed: int, length: int = 600) -> list[str]:
    return random.Random(seed).choices(WORDS, k=length)


def changed(words: list[str], count: int) -> list[str]:
    """The words with so many of them replaced, at equal steps."""
    copy = list(words)
    for at in range(0, len(copy), len(copy) // count):
        copy[at] = "changed"
    return copy


def head(doc_id: str, words: list[str], **fields: object) -> Head:
    known = Head(
        doc_id=doc_id,
        source=f"/{doc_id}",
        root="/",
        title=doc_id,
        format="text",
        content_hash=doc_id,
        recipe="",
        state=STORED,
        chunks=1,
        tokens=1,
        size=1,
        ingested_at="",
        run_id="",
        signature=signature_of(" ".join(words)),
    )
    return replace(known, **fields)  # type: ignore[arg-type]


def test_a_signature_depends_on_words_and_their_order_only() -> None:
    """Case, punctuation and line breaks say nothing; the order of words does."""
    words = text_of(1)
    assert signature_of(" ".join(words)) == signature_of(",\n".join(words).upper())
    assert signature_of(" ".join(words)) != signature_of(" ".join(reversed(words)))


def test_short_texts_have_no_signature() -> None:
    """One changed word of ten would be a third of the shingles."""
    assert signature_of("to be or not to be, that is the question") == ""
    assert signature_of("the same words " * 200) == ""
    assert signature_of("") == ""


@pytest.mark.parametrize(("replaced", "similar"), [(1, True), (3, True), (60, False)])
def test_a_few_changed_words_make_a_twin_and_many_do_not(replaced: int, similar: bool) -> None:
    """Of 600 words, three changed ones touch 15 of 596 shingles: similarity 0.95; sixty, half."""
    words = text_of(2)
    lookalikes = Lookalikes([head("a", words)])
    twin = lookalikes.find("b", signature_of(" ".join(changed(words, replaced))))
    assert (twin is not None) == similar
    if twin:
        assert (twin.doc_id, twin.of) == ("b", "a")
        assert 0.9 <= twin.similarity <= 1


def test_a_document_is_no_twin_of_itself_nor_of_one_that_is_gone() -> None:
    """Also after it was stored in another version."""
    words = text_of(3)
    signature = signature_of(" ".join(words))
    lookalikes = Lookalikes([head("a", words)])
    assert lookalikes.find("a", signature) is None
    lookalikes.add("a", signature_of(" ".join(text_of(4))))
    assert lookalikes.find("b", signature) is None
    lookalikes.add("a", signature)
    lookalikes.forget("a")
    lookalikes.forget("never known")
    assert lookalikes.find("b", signature) is None


def test_only_what_is_stored_whole_can_stand_for_another() -> None:
    """Not a half-written document, not one that has no chunks itself."""
    words = text_of(5)
    lookalikes = Lookalikes([head("a", words, state=WRITING), head("b", words, duplicate_of="z")])
    assert lookalikes.find("c", signature_of(" ".join(words))) is None


def test_the_most_similar_is_named_and_the_first_of_equals() -> None:
    """Whatever order they came in."""
    words = text_of(6)
    near, same = changed(words, 3), words
    for order in (["n", "s2", "s1"], ["s1", "s2", "n"]):
        content = {"n": near, "s1": same, "s2": same}
        lookalikes = Lookalikes(head(name, content[name]) for name in order)
        twin = lookalikes.find("x", signature_of(" ".join(words)))
        assert twin is not None
        assert (twin.of, twin.similarity) == ("s1", 1.0)


def test_twins_of_a_run_are_reported_once() -> None:
    """Of two new documents that are alike, the second; a stored one is never a twin itself."""
    words, others = text_of(7), text_of(8)
    heads = [
        head("new1", words),
        head("new2", words),
        head("old", others),
        head("new3", others),
        head("alone", text_of(9)),
    ]
    twins = find_twins(heads, ["new1", "new2", "new3", "alone", "not stored"])
    assert [(twin.doc_id, twin.of) for twin in twins] == [("new2", "new1"), ("new3", "old")]


def test_a_signature_of_another_kind_finds_nothing() -> None:
    """One that a version with another number of components has made."""
    lookalikes = Lookalikes([head("a", text_of(10), signature="AAAA")])
    assert lookalikes.find("b", "AAAA") is None
    assert COMPONENTS == 64
