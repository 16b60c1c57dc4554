"""The encoder's contract: shapes, errors that name the text, memory, and what it reports."""

import json
import shutil
import sys
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from embedder.backbone import Backbone
from embedder.config import EncoderConfig
from embedder.encoder import Encoder
from embedder.errors import InvalidConfig, InvalidText, ModelUnavailable, NonFiniteActivation
from embedder.loading import leading_special_ids

BOTH: dict[str, Any] = {
    "token_prepending": {"start": 1, "exit": 3},
    "contrastive_prompting": {"layer": 1},
}
SMALL = EncoderConfig(max_tokens=64)
TEXTS = ["A cat.", "The dog looked at the cat.", "", "Prices rose by 3.5% in March."]


@pytest.fixture
def copy(folders: Mapping[str, Path], tmp_path: Path) -> Path:
    """A model folder to be spoilt."""
    return Path(shutil.copytree(folders["llama"], tmp_path / "model"))


# -- shapes -------------------------------------------------------------------------------------


def test_shapes_and_unit_length(encoder_of: Callable[..., Encoder]) -> None:
    """A string gives (D,), a list (N, D), an empty list (0, D); float32, each of length 1."""
    encoder = encoder_of("llama", **BOTH)
    many = encoder.encode(TEXTS)
    assert (many.shape, many.dtype) == ((4, 32), np.float32)
    assert np.allclose(np.linalg.norm(many, axis=1), 1, atol=1e-6)
    one = encoder.encode(TEXTS[0])
    assert one.shape == (32,)
    assert np.allclose(one, many[0], atol=1e-5)
    assert encoder.encode([]).shape == (0, 32)
    assert encoder.encode(tuple(TEXTS)).shape == (4, 32)
    assert encoder.dimension == 32


def test_reports_tokens_and_cuts(encoder_of: Callable[..., Encoder]) -> None:
    """Row i of the report belongs to text i, and a cut is never silent."""
    encoder = encoder_of("llama", **BOTH)
    report = encoder.encode_with_counts(["7", "7" * 500, ""])
    room = encoder.max_text_tokens + 2
    assert report.tokens.tolist() == [1, room, 0]
    assert report.truncated.tolist() == [False, True, False]


def test_similarity_is_the_cosine_of_every_pair(encoder_of: Callable[..., Encoder]) -> None:
    """Worked example: unit vectors at 0, 90 and 45 degrees; single vectors count as one row."""
    encoder = encoder_of("llama")
    half = np.float32(0.5**0.5)
    first = np.array([[1, 0], [0, 1]], dtype=np.float32)
    second = np.array([[1, 0], [half, half], [0, -1]], dtype=np.float32)
    expected = [[1, half, 0], [0, half, -1]]
    assert np.allclose(encoder.similarity(first, second), expected)
    assert encoder.similarity(first[0], second[0]).shape == (1, 1)


def test_queries_have_their_own_template(encoder_of: Callable[..., Encoder]) -> None:
    """With one, they differ from documents; without, they are the same."""
    own, shared = encoder_of("llama", query_template="cot", **BOTH), encoder_of("llama", **BOTH)
    assert np.array_equal(shared.encode_query(TEXTS), shared.encode_document(TEXTS))
    assert np.array_equal(own.encode_document(TEXTS), shared.encode_document(TEXTS))
    assert np.abs(own.encode_query(TEXTS) - own.encode_document(TEXTS)).max() > 1e-3
    as_documents = encoder_of("llama", template="cot", **BOTH)
    assert np.abs(own.encode_query(TEXTS) - as_documents.encode_document(TEXTS)).max() < 1e-6


def test_the_papers_normalisation_is_what_is_encoded(encoder_of: Callable[..., Encoder]) -> None:
    """Under `papers`, "A cat" and "A cat." are one text."""
    plain, papers = encoder_of("llama"), encoder_of("llama", normalise_text="papers")
    assert np.array_equal(papers.encode("A cat"), plain.encode("A cat."))
    assert not np.array_equal(plain.encode("A cat"), plain.encode("A cat."))


@pytest.mark.parametrize("template", ["eol", "ke"])
def test_a_long_text_is_cut_at_the_same_place_in_both_prompts(
    template: str, encoder_of: Callable[..., Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What CP subtracts is of the text that the normal prompt saw, for documents and queries.

    Story: an auxiliary template shorter than the normal one got room for more of the text.
    """
    encoder = encoder_of("llama", query_template=template, max_tokens=128, **BOTH)
    seen: list[tuple[Any, Any]] = []
    forward = Backbone.forward

    def spy(self: Backbone, rows: Any, config: Any, auxiliary: Any = (), **more: Any) -> Tensor:
        seen.extend(zip(rows, auxiliary, strict=True))
        return forward(self, rows, config, auxiliary, **more)

    monkeypatch.setattr(Backbone, "forward", spy)
    for encode in (encoder.encode_document, encoder.encode_query):
        encode(["The cat sat on the mat. " * 40])
    assert len(seen) == 2
    for row, auxiliary in seen:
        text = row.ids[row.text_start : row.text_end]
        assert text == auxiliary.ids[auxiliary.text_start : auxiliary.text_end]


# -- texts that are refused ---------------------------------------------------------------------


@pytest.mark.parametrize("normalise", ["none", "papers"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["fine", 3], "text 1 is int; expected str"),
        ([None], "text 0 is NoneType"),
        (b"bytes", "text 0 is int"),
        (["\udc80"], "text 0 holds a lone surrogate"),
    ],
)
def test_what_is_no_text_is_refused(
    wrong: Any, message: str, normalise: str, encoder_of: Callable[..., Encoder]
) -> None:
    """By index, in one line, whether or not texts are normalised first."""
    with pytest.raises(InvalidText, match=message):
        encoder_of("llama", normalise_text=normalise).encode(wrong)


def test_a_lone_string_is_no_list_of_letters(encoder_of: Callable[..., Encoder]) -> None:
    """`encode_with_counts("abc")` would else encode three letters."""
    with pytest.raises(InvalidText, match="put it in one"):
        encoder_of("llama").encode_with_counts("abc")


def test_an_unknown_prompt_name(encoder_of: Callable[..., Encoder]) -> None:
    """No unknown choice falls through to a default."""
    with pytest.raises(InvalidText, match="'passage' is unknown; use 'document' or 'query'"):
        encoder_of("llama").encode(["a"], prompt_name="passage")  # type: ignore[arg-type]


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=120))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_texts_within_the_stated_bound_are_whole(
    text: str, encoder_of: Callable[..., Encoder], tokenizer: Tokenizer
) -> None:
    """Chunkers rely on it: `max_text_tokens`, counted by the tokenizer alone, fit uncut."""
    encoder = encoder_of("llama", query_template="cot", max_tokens=96)
    counted = len(tokenizer.encode(text, add_special_tokens=False).ids)
    if counted <= encoder.max_text_tokens:
        for kind in ("document", "query"):
            assert encoder.prompting(kind).tokenize([text]).truncated == [False]  # type: ignore[arg-type]


# -- memory and numbers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lack",
    [torch.OutOfMemoryError("no room"), RuntimeError("[x] can't allocate memory: you tried")],
)
def test_out_of_memory_halves_the_batch(
    lack: Exception, encoder_of: Callable[..., Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device with room for two rows gives the same vectors, in the same order, and says so.

    CUDA's lack of memory has a type of its own; the CPU's is a RuntimeError so worded.
    """
    encoder = encoder_of("llama", **BOTH)
    texts = [f"{'word ' * i}end" for i in range(7)]
    expected = encoder.encode(texts)
    forward, sizes = Backbone.forward, []

    def cramped(self: Backbone, rows: Any, config: Any, auxiliary: Any = (), **more: Any) -> Tensor:
        sizes.append(len(rows))
        if len(rows) > 2:
            raise lack
        return forward(self, rows, config, auxiliary, **more)

    monkeypatch.setattr(Backbone, "forward", cramped)
    report = encoder.encode_with_counts(texts)
    assert np.abs(report.vectors - expected).max() < 1e-5
    assert sizes == [7, 3, 1, 2, 4, 2, 2]
    assert report.halvings == 3


def test_a_failed_batch_is_let_go_before_its_halves_run(
    encoder_of: Callable[..., Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Story: halves ran inside the handler, whose traceback kept the failed batch's tensors."""
    encoder = encoder_of("llama")
    forward = Backbone.forward
    failed: list[weakref.ref[Tensor]] = []

    def cramped(self: Backbone, rows: Any, config: Any, auxiliary: Any = (), **more: Any) -> Tensor:
        assert sys.exc_info()[0] is None
        assert all(reference() is None for reference in failed)
        if len(rows) > 1:
            large = torch.zeros(1000)
            failed.append(weakref.ref(large))
            raise torch.OutOfMemoryError("no room")
        return forward(self, rows, config, auxiliary, **more)

    monkeypatch.setattr(Backbone, "forward", cramped)
    assert encoder.encode(TEXTS).shape == (4, 32)
    assert len(failed) == 3


def test_a_single_text_without_room_is_an_error(
    encoder_of: Callable[..., Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Halving ends at one text."""

    def none(*args: Any, **more: Any) -> Tensor:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Backbone, "forward", none)
    with pytest.raises(torch.OutOfMemoryError):
        encoder_of("llama").encode(["a"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_beyond_the_dtype_name_their_text(
    value: float, encoder_of: Callable[..., Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is that of the list given, not of the batch, which is sorted by length."""
    encoder = encoder_of("llama")
    texts = ["a", "The longest of the three texts.", "A cat."]
    forward = Backbone.forward
    poisoned = len(encoder.prompting().tokenize(["A cat."]).normal[0][0].row.ids)

    @torch.inference_mode()
    def spoil(self: Backbone, rows: Any, config: Any, auxiliary: Any = (), **more: Any) -> Tensor:
        pooled_SD = forward(self, rows, config, auxiliary, **more)
        for index, row in enumerate(rows):
            if len(row.ids) == poisoned:
                pooled_SD[index, 3] = value
        return pooled_SD

    monkeypatch.setattr(Backbone, "forward", spoil)
    with pytest.raises(NonFiniteActivation, match="text 2 gave NaN or infinity in float32") as got:
        encoder.encode(texts)
    assert got.value.index == 2


# -- loading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bos", "eos", "expected"),
    [(True, False, [0]), (False, True, []), (True, True, [0]), (False, False, [])],
)
def test_only_leading_specials_are_kept(
    bos: bool, eos: bool, expected: list[int], tokenizer_builder: Callable[..., Tokenizer]
) -> None:
    """BOS stands in front of every row; an EOS at the end would take the last token's place."""
    assert leading_special_ids(tokenizer_builder(bos=bos, eos=eos)) == expected


def test_padding_and_cuts_in_the_tokenizers_file_are_ignored(
    copy: Path, encoder_of: Callable[..., Encoder]
) -> None:
    """Saved after use, a tokenizer may pad to 16 and cut at 8: rows, and chunkers' counts, do not.

    Story: with padding on the left the BOS was not found, and every row lost it.
    """
    expected = encoder_of("llama", **BOTH).encode(TEXTS)
    tokenizer = Tokenizer.from_file(str(copy / "tokenizer.json"))
    tokenizer.enable_padding(length=16, pad_id=2, pad_token="<pad>", direction="left")  # noqa: S106
    tokenizer.enable_truncation(8)
    tokenizer.save(str(copy / "tokenizer.json"))
    encoder = Encoder.load(str(copy), encoder_of("llama", **BOTH).config, device="cpu")
    assert np.array_equal(encoder.encode(TEXTS), expected)
    counter = Tokenizer.from_str(encoder.tokenizer_json)
    assert len(counter.encode("7" * 50, add_special_tokens=False).ids) == 50


@pytest.mark.parametrize(
    ("kind", "limit", "settings"),
    [("llama", 256, {}), ("mistral", 256, {}), ("llama", 251, BOTH)],
)
def test_rows_longer_than_the_model_was_made_for(
    kind: str, limit: int, settings: dict[str, Any], folders: Mapping[str, Path]
) -> None:
    """Positions bound `max_tokens`, auxiliary template included; the limit works."""
    auxiliary = "The irrelevant information of this sentence : "
    if settings:
        counter = Tokenizer.from_file(str(folders[kind] / "tokenizer.json"))
        longer, shorter = (
            len(counter.encode(s, add_special_tokens=False).ids)
            for s in (f'{auxiliary}"', 'This sentence : "')
        )
        limit = 256 - (longer - shorter) + 1  # the placeholder stands in the normal prompt alone
    folder = str(folders[kind])
    config = EncoderConfig.model_validate({**settings, "max_tokens": limit + 1})
    message = f"max_tokens {limit + 1} is beyond this model's .* use at most {limit}$"
    with pytest.raises(InvalidConfig, match=message):
        Encoder.load(folder, config, device="cpu")
    fitting = Encoder.load(
        folder, EncoderConfig.model_validate({**settings, "max_tokens": limit}), device="cpu"
    )
    assert np.isfinite(fitting.encode("7" * 600)).all()


def test_weights_that_lack_a_tensor_are_refused(copy: Path) -> None:
    """The library fills what is missing with random numbers, and every load with others."""
    weights = load_file(copy / "model.safetensors")
    del weights["layers.2.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match=r"lack 1 tensors \(layers\.2\.mlp\.up_proj"):
        Encoder.load(str(copy), SMALL, device="cpu")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_files_that_are_cut_short_are_refused(copy: Path, name: str) -> None:
    """A broken download is one line, not the Rust side's own error."""
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelUnavailable, match=r"cannot be (loaded|read as a tokenizer) \(") as got:
        Encoder.load(str(copy), SMALL, device="cpu")
    assert "\n" not in str(got.value)


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    """Config and weights that disagree do not load."""
    path = copy / "config.json"
    config = {**json.loads(path.read_text()), "intermediate_size": 64}
    path.write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match="cannot be loaded") as caught:
        Encoder.load(str(copy), SMALL, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_config_that_is_no_models(copy: Path) -> None:
    """The library's own several lines about a wrong field become one."""
    path = copy / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_attention_heads": "four"}))
    with pytest.raises(ModelUnavailable, match=r"is not a model's .*expected int, got str") as got:
        Encoder.load(str(copy), SMALL, device="cpu")
    assert "\n" not in str(got.value)


@pytest.mark.parametrize("device", ["gpu", "meta:x", "hpu"])
def test_a_device_that_is_not_there(device: str, folders: Mapping[str, Path]) -> None:
    """Named with its remedy, before the weights are read."""
    with pytest.raises(InvalidConfig, match=f"device '{device}' cannot be used .*use 'cpu'"):
        Encoder.load(str(folders["llama"]), SMALL, device=device)


def test_what_is_quick_to_check_comes_before_the_weights(
    folders: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bound beyond the positions is found before a minute of loading, not after it."""
    from embedder import encoder as module

    monkeypatch.setattr(module, "load_model", None)
    with pytest.raises(InvalidConfig, match="use at most 256"):
        Encoder.load(str(folders["llama"]), EncoderConfig(max_tokens=300), device="cpu")


def test_loading_is_silent_and_leaves_no_gradients(
    folders: Mapping[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """No bar, no report, no warning: the command line says what is to be said."""
    encoder = Encoder.load(str(folders["qwen2"]), EncoderConfig(max_tokens=64), device="cpu")
    vector = encoder.encode("A cat.")
    assert isinstance(vector, np.ndarray)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_a_checkpoint_with_a_head_loads_as_the_base_model(
    copy: Path, encoder_of: Callable[..., Encoder], capfd: pytest.CaptureFixture[str]
) -> None:
    """Published decoders come with a language-model head; it is left aside, silently."""
    weights = load_file(copy / "model.safetensors")
    headed = {f"model.{name}": tensor for name, tensor in weights.items()}
    headed["lm_head.weight"] = weights["embed_tokens.weight"].clone()
    save_file(headed, copy / "model.safetensors", metadata={"format": "pt"})
    path = copy / "config.json"
    config = {**json.loads(path.read_text()), "architectures": ["LlamaForCausalLM"]}
    path.write_text(json.dumps(config))
    plain = encoder_of("llama", **BOTH)
    headed_encoder = Encoder.load(str(copy), plain.config, device="cpu")
    assert np.array_equal(headed_encoder.encode(TEXTS), plain.encode(TEXTS))
    assert capfd.readouterr().err == ""
