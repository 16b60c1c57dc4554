"""Made-up texts have the lengths that are stated."""

import statistics

from tokenizers import Tokenizer

from benchmarks.shapes import SHAPES, build_tokenizer
from benchmarks.texts import LONGEST, TextPlan
from embedder.presets import STARTER_FOLDER


def token_counts(tokenizer: Tokenizer, plan: TextPlan) -> list[int]:
    encodings = tokenizer.encode_batch(list(plan.texts(tokenizer)), add_special_tokens=False)
    return [len(encoding.ids) for encoding in encodings]


def test_texts_have_the_planned_lengths() -> None:
    """Token for token, with the benchmark's own tokenizer and with the starter's."""
    plan = TextPlan(count=50, mean_tokens=20)
    own = build_tokenizer(SHAPES["tiny"].vocab_size)
    starter = Tokenizer.from_file(str(STARTER_FOLDER / "tokenizer.json"))
    for tokenizer in (own, starter):
        assert token_counts(tokenizer, plan) == plan.lengths()


def test_lengths_have_the_stated_mean_and_spread() -> None:
    """Log-normal: the mean is the mean asked for, and a third of that lies far from it."""
    lengths = TextPlan(count=5000, mean_tokens=120).lengths()
    assert abs(statistics.mean(lengths) - 120) < 3
    assert 1 <= min(lengths) < 40
    assert 240 < max(lengths) <= 120 * LONGEST


def test_the_same_plan_gives_the_same_texts_and_another_seed_others() -> None:
    """Every contender and every run sees the same."""
    tokenizer = build_tokenizer(SHAPES["tiny"].vocab_size)
    one, again, other = (
        list(TextPlan(count=5, mean_tokens=9, seed=seed).texts(tokenizer)) for seed in (1, 1, 2)
    )
    assert one == again != other
