"""What is said before a chunk when it is embedded."""

from tokenizers import Tokenizer

from flows.documents.context import MAX_CONTEXT_TOKENS, HeadingContext, embedded_text


def test_title_and_headings_stand_outermost_first(bpe_json: str) -> None:
    """A first heading that repeats the title is said once, and empty ones not at all."""
    context = HeadingContext(bpe_json)
    assert context.of("Boats", ["Sails", "Care"]) == "Boats > Sails > Care"
    assert context.of("Boats", ["Boats", "Care"]) == "Boats > Care"
    assert context.of("Boats", []) == "Boats"
    assert context.of("", ["", "Care"]) == "Care"
    assert context.of("", []) == ""


def test_what_is_too_long_loses_its_outermost_headings(bpe_json: str) -> None:
    """The bound is in tokens, and hard."""
    context = HeadingContext(bpe_json)
    tokenizer = Tokenizer.from_str(bpe_json)
    long = "many words " * 20
    assert context.of(long, ["Sails", "Care"]) == "Sails > Care"
    assert context.of("Boats", [long]) == ""
    some = context.of("One two three " * 3, ["four five six " * 3, "seven eight nine " * 3])
    assert 0 < len(tokenizer.encode(some, add_special_tokens=False)) <= MAX_CONTEXT_TOKENS


def test_many_paths_do_not_pile_up(bpe_json: str) -> None:
    """What is remembered is bounded, and nothing is mixed up."""
    context = HeadingContext(bpe_json)
    for number in range(2500):
        assert context.of("T", [str(number)]) == f"T > {number}"
    assert len(context._known) <= 1001


def test_a_chunk_without_context_is_embedded_as_it_is() -> None:
    """A blank line stands between the two."""
    assert embedded_text("", "text") == "text"
    assert embedded_text("A > B", "text") == "A > B\n\ntext"
