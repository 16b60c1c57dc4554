"""Second texts that a model writes: judged, tried again, resumed, never lost."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from embedder.errors import InvalidConfig, ModelUnavailable, UnsupportedArchitecture
from embedder.tuning.answers import Answer, cleaned, objection_to
from embedder.tuning.back_translation import BackTranslation, Seq2SeqTranslator
from embedder.tuning.errors import TuningFailed
from embedder.tuning.pairs import read_pairs
from embedder.tuning.passages import Passage
from embedder.tuning.rewrite_prompts import REWRITES
from embedder.tuning.synthesis import (
    Synthesis,
    SynthesisReport,
    SynthesisSettings,
    digest_of_files,
)
from embedder.tuning.text_models import InstructWriter, TextModel

SOURCE = "The keeper of the lighthouse trims the lamp at dusk."
PASSAGES = [Passage(text=f"Sentence number {n} of the texts.", document="d") for n in range(10)]


class Stub:
    """Answers by a rule; the first so many tries of each text are rejected."""

    kinds: Sequence[str] = ("detail", "simple")

    def __init__(self, *, bad: int = 0, identity: str = "stub") -> None:
        self.identity: Mapping[str, Any] = {"digest": identity}
        self.bad = bad
        self.tries: dict[str, int] = {}
        self.seeds: list[int] = []

    def write(self, texts: Sequence[str], kinds: Sequence[str], *, seed: int) -> list[Answer]:
        """Keep the seed, count the tries."""
        self.seeds.append(seed)
        answers = []
        for text, kind in zip(texts, kinds, strict=True):
            self.tries[text] = self.tries.get(text, 0) + 1
            good = self.tries[text] > self.bad
            answers.append(Answer(text=f"{kind} {text} {seed}" if good else "I'm sorry, I cannot."))
        return answers


def run(
    out: Path,
    writer: Any,
    *,
    passages: Sequence[Passage] = PASSAGES,
    source: str = "s",
    **settings: Any,
) -> SynthesisReport:
    synthesis = Synthesis(
        out,
        writer,
        source=source,
        settings=SynthesisSettings(**{"batch": 3, **settings}),
        language_of=None,
    )
    return list(synthesis.run(passages))[-1]


# -- answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("When evening comes, he tends to the light.", ""),
        ("", "empty"),
        ("the keeper of  the lighthouse trims the lamp at DUSK.", "equal"),
        ("I'm sorry, but I cannot help with that.", "refusal"),
        ("I\u2019m unable to do so.", "refusal"),
        ("As an AI language model, I have no lamp.", "refusal"),
        ("I can't rewrite this text.", "refusal"),
        ("word " * 200, "too long"),
        ("\ud800", "invalid Unicode"),
        ("fremde Worte", "other language"),
    ],
)
def test_answers_are_judged(text: str, reason: str) -> None:
    def language_of(text: str) -> str:
        return "de" if "fremde" in text else "en"

    found = objection_to(Answer(text=text), SOURCE, kind="detail", language_of=language_of)
    assert found == reason


def test_further_reasons() -> None:
    def judge(
        text: str, *, kind: str = "detail", finished: bool = True, source: str = SOURCE
    ) -> str:
        answer = Answer(text=text, finished=finished)
        return objection_to(answer, source, kind=kind, language_of=None)

    assert judge("cut in the mid", finished=False) == "too long"
    assert judge("The lamp is trimmed.", kind="question") == "no question"
    assert judge("Who trims the lamp?", kind="question") == ""
    assert judge("Sorry to be late, he said.", source="Sorry, I am late, he said.") == ""
    answer = Answer(text="whatever")
    wanted = objection_to(
        answer, SOURCE, kind="simple", language_of=lambda text: "fr", language="en"
    )
    assert wanted == "other language"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ('  "A cat sat."\n', "A cat sat."),
        ("Sure! Here is the text:\n\nA cat sat.", "A cat sat."),
        ("<think>hm\nhm</think>\n\nA cat.", "A cat."),
        ('"One" and "two"', '"One" and "two"'),
        ("Here we go again.", "Here we go again."),
    ],
)
def test_wrappings_are_taken_off(raw: str, clean: str) -> None:
    assert cleaned(raw) == clean


# -- runs ---------------------------------------------------------------------------------------


def test_a_run_writes_pairs_that_can_be_read(tmp_path: Path) -> None:
    report = run(tmp_path / "x.jsonl", Stub(), per_text=2)
    assert (report.asked, report.pairs, report.given_up) == (20, 20, {})
    assert report.kinds == {"detail": 10, "simple": 10}
    pairs = read_pairs([tmp_path / "x.jsonl"]).pairs
    assert len(pairs) == 20
    assert {pair.group for pair in pairs} == {"d"}
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(20))


def test_rejected_answers_are_tried_again_with_other_seeds(tmp_path: Path) -> None:
    writer = Stub(bad=2)
    report = run(tmp_path / "x.jsonl", writer)
    assert (report.pairs, report.given_up, report.rejected) == (10, {}, {"refusal": 20})
    assert len(set(writer.seeds)) == len(writer.seeds) == 12
    writer = Stub(bad=9)
    report = run(tmp_path / "y.jsonl", writer)
    assert (report.asked, report.pairs) == (10, 0)
    assert report.given_up == {"refusal": 10}
    assert report.rejected == {"refusal": 60}
    assert set(writer.tries.values()) == {6}


def test_texts_that_cannot_be_asked_for_are_counted(tmp_path: Path) -> None:
    odd = [Passage(text="short"), Passage(text="long " * 500), PASSAGES[0]]
    report = run(tmp_path / "x.jsonl", Stub(), passages=[*PASSAGES, *odd])
    assert report.skipped == {"too short": 1, "too long": 1, "duplicate": 1}
    assert run(tmp_path / "y.jsonl", Stub(), limit=4).asked == 4


@pytest.mark.parametrize("batches", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("torn", [b"", b'{"a": "half a li', b'{"a": "x", "b": "y"}\n'])
def test_a_killed_run_goes_on_to_the_same_file(tmp_path: Path, batches: int, torn: bytes) -> None:
    """Wherever it was killed, and whatever lies in the file beyond the record."""
    whole = run(tmp_path / "whole.jsonl", Stub())
    out = tmp_path / "x.jsonl"
    settings = SynthesisSettings(batch=3)
    begun = Synthesis(out, Stub(), source="s", settings=settings, language_of=None)
    steps = begun.run(PASSAGES)
    for _ in range(batches):
        next(steps)
    steps.close()
    with out.open("ab") as file:
        file.write(torn)
    writer = Stub()
    report = run(out, writer)
    assert report.resumed_at == batches
    assert len(writer.seeds) == 4 - batches
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert (report.pairs, report.kinds) == (whole.pairs, whole.kinds)
    assert run(out, writer).pairs == whole.pairs
    assert len(writer.seeds) == 4 - batches


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "another seed (0, now 1)"),
        ({"batch": 4}, "another batch (3, now 4)"),
        ({"source": "t"}, "another content of the texts' files"),
        ({"writer": Stub(identity="other")}, "another model or setting of it (digest)"),
    ],
)
def test_changed_settings_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    run(tmp_path / "x.jsonl", Stub())
    before = (tmp_path / "x.jsonl").read_bytes()
    with pytest.raises(InvalidConfig) as refusal:
        run(tmp_path / "x.jsonl", changes.pop("writer", Stub()), **changes)
    assert message in str(refusal.value)
    assert (tmp_path / "x.jsonl").read_bytes() == before


def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "x.jsonl"
    out.write_text("mine\n")
    with pytest.raises(InvalidConfig, match=r"no x\.jsonl\.progress\.json beside it"):
        run(out, Stub())
    assert out.read_text() == "mine\n"
    run(tmp_path / "y.jsonl", Stub())
    (tmp_path / "y.jsonl").write_text("")
    with pytest.raises(InvalidConfig, match="it was changed"):
        run(tmp_path / "y.jsonl", Stub())
    (tmp_path / "y.jsonl.progress.json").write_text("{}")
    with pytest.raises(InvalidConfig, match="no record of a synthesis"):
        run(tmp_path / "y.jsonl", Stub())
    with pytest.raises(InvalidConfig, match=r"without \.gz"):
        run(tmp_path / "z.jsonl.gz", Stub())
    with pytest.raises(InvalidConfig, match="cannot be written"):
        run(tmp_path / "gone" / "z.jsonl", Stub())
    with pytest.raises(InvalidConfig, match="per_text 3: expected at most 2"):
        run(tmp_path / "z.jsonl", Stub(), per_text=3)
    with pytest.raises(InvalidConfig, match="cannot be read"):
        digest_of_files([tmp_path / "gone"])


@pytest.mark.parametrize("name", ["per_text", "batch", "limit"])
def test_settings_out_of_range(name: str) -> None:
    with pytest.raises(InvalidConfig, match=f"{name} 0: expected 1 or more"):
        SynthesisSettings(**{name: 0})


# -- models -------------------------------------------------------------------------------------

TEMPLATE = "{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}"


@pytest.fixture(scope="module")
def instruct(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random decoder with a language model's head."""
    folder = tmp_path_factory.mktemp("instruct")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=16, intermediate_size=16,
        num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=1024,
        bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_real_model_writes_the_same_again(instruct: Path) -> None:
    """Rows of different length in one batch; another seed writes otherwise."""
    writer = InstructWriter(TextModel(str(instruct), device="cpu"), max_new_tokens=6)
    texts, kinds = [SOURCE, "Short one."], ["detail", "question"]
    state = torch.random.get_rng_state()
    one = writer.write(texts, kinds, seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert one == writer.write(texts, kinds, seed=1) != writer.write(texts, kinds, seed=2)
    assert all(answer.text for answer in one)
    assert json.dumps(dict(writer.identity))


def test_a_chat_template_is_used(instruct: Path) -> None:
    model = TextModel(str(instruct), device="cpu")
    seen: list[str] = []
    model.generate = lambda rows, **_: (
        seen.extend(  # type: ignore[method-assign]
            model.tokenizer.decode(row) for row in rows
        )
        or [Answer(text="")]
    )
    model.tokenizer.chat_template = TEMPLATE
    InstructWriter(model).write([SOURCE], ["teacher"], seed=0)
    assert seen[0].startswith("<s>You are a teacher.")
    assert seen[0].endswith(f"{SOURCE}</s>")
    model.tokenizer.chat_template = "{{ raise_exception('no') }}"
    with pytest.raises(ModelUnavailable, match=r"chat template in .* fails"):
        InstructWriter(model).write([SOURCE], ["teacher"], seed=0)


def test_lack_of_memory_halves_the_batch(instruct: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = TextModel(str(instruct), device="cpu")
    sizes: list[int] = []

    def generate(rows: Sequence[Sequence[int]], seed: int, options: Any) -> list[Answer]:
        sizes.append(len(rows))
        if len(rows) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [Answer(text=str(row[0])) for row in rows]

    monkeypatch.setattr(model, "_generate", generate)
    most = 1
    answers = model.generate([[1], [2], [3]], seed=0, options={})
    assert [answer.text for answer in answers] == ["1", "2", "3"]
    assert sizes == [3, 1, 2, 1, 1]
    most = 0
    with pytest.raises(TuningFailed, match="cannot write"):
        model.generate([[1]], seed=0, options={})


def test_models_that_cannot_write_are_refused(
    folders: Mapping[str, Path], instruct: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelUnavailable, match=r"lack 1 tensors \(lm_head.weight"):
        TextModel(str(folders["llama"]), device="cpu")
    with pytest.raises(ModelUnavailable, match="does not exist"):
        TextModel(str(tmp_path / "gone"), device="cpu")
    with pytest.raises(InvalidConfig, match="no translator"):
        TextModel(str(instruct), device="cpu", encoder_decoder=True)
    bert = tmp_path / "bert"
    bert.mkdir()
    (bert / "config.json").write_text('{"model_type": "bert"}')
    (bert / "tokenizer.json").write_text("{}")
    (bert / "model.safetensors").touch()
    with pytest.raises(UnsupportedArchitecture):
        TextModel(str(bert), device="cpu")


@pytest.mark.parametrize(
    "wrong",
    [{"kinds": ("x",)}, {"kinds": ()}, {"kinds": ("detail", "detail")}, {"temperature": 0},
     {"top_p": 1.1}, {"max_new_tokens": 0}],
)  # fmt: skip
def test_sampling_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig, match="expected"):
        InstructWriter(None, **wrong)  # type: ignore[arg-type]


def test_all_five_rewritings() -> None:
    assert list(REWRITES) == ["detail", "simple", "teacher", "metaphor", "question"]


# -- back-translation ---------------------------------------------------------------------------


class Reverser:
    """A translator that turns words round, and can neither cut nor empty texts."""

    def __init__(self, change: Callable[[str], Answer]) -> None:
        self.identity: Mapping[str, Any] = {"digest": "r"}
        self.change = change

    def translate(self, texts: Sequence[str], *, seed: int) -> list[Answer]:
        """Each by the rule."""
        return [self.change(text) for text in texts]


def test_there_and_back() -> None:
    there = Reverser(
        lambda text: Answer(text=text[::-1] if text != "x" else "", finished=text != "y")
    )
    back = Reverser(lambda text: Answer(text=text[::-1].upper()))
    answers = BackTranslation(there, back).write(["x", "abc", "y"], ["k"] * 3, seed=0)
    assert answers == [Answer(text=""), Answer(text="ABC"), Answer(text="", finished=False)]


def test_a_real_translator(tokenizer: Tokenizer, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=tokenizer.get_vocab_size(), d_model=16, d_kv=8, d_ff=16, num_layers=1,
        num_heads=2, decoder_start_token_id=2, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    config_file = tmp_path / "tokenizer_config.json"
    config_file.write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    model = TextModel(str(tmp_path), device="cpu", encoder_decoder=True)
    translator = Seq2SeqTranslator(model)
    answers = translator.translate([SOURCE, "Short.", "long " * 600], seed=3)
    assert answers == translator.translate([SOURCE, "Short.", "long " * 600], seed=3)
    assert answers[2] == Answer(text="", finished=False)
    with pytest.raises(InvalidConfig, match="language token 'deu_Latn'"):
        Seq2SeqTranslator(model, target="deu_Latn")
