"""Calibration finds what was planted, prefers the simple, repeats itself, and checks honestly."""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pytest

from embedder.calibration import Calibration, CalibrationReport
from embedder.calibration_grid import TEMPLATES_TRIED, Grid, Variant, interventions
from embedder.calibration_search import Search
from embedder.config import ContrastivePrompting, EncoderConfig, TokenPrepending
from embedder.correlation import spearman
from embedder.encoder import Encoder
from embedder.errors import InvalidConfig, NonFiniteActivation
from embedder.pair_observers import POOLINGS
from embedder.precision import Float32
from embedder.scored_pairs import ScoredPairs

WORDS = ("cat", "dog", "mat", "price", "bank", "street", "small", "looked", "ran", "rose", "sat")
CP = {"layer": 1, "mode": "scaled", "strength": 0.5}


def word_pairs(count: int) -> ScoredPairs:
    """Pairs of sentences; the score is how many words the two share."""
    random = np.random.default_rng(5)
    first, second, scores = [], [], []
    for number in range(count):
        one = random.choice(WORDS, 5, replace=False)
        other = np.concatenate((one[: number % 6], random.choice(WORDS, 5 - number % 6)))
        first.append(" ".join(one))
        second.append(" ".join(random.permutation(other)))
        scores.append(float(number % 6))
    return ScoredPairs(tuple(first), tuple(second), np.array(scores))


# -- a real model -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder(encoder_of: Callable[..., Encoder]) -> Encoder:
    return encoder_of("llama", max_tokens=128, token_prepending={"exit": 3})


@pytest.fixture(scope="module")
def told() -> list[tuple[str, int, int]]:
    return []


@pytest.fixture(scope="module")
def report(encoder: Encoder, told: list[tuple[str, int, int]]) -> CalibrationReport:
    """Of three templates, on 60 pairs."""
    calibration = Calibration(
        encoder,
        templates=("eol", "none", 'On <PST>"{}":'),
        beam=2,
        progress=lambda *step: told.append(step),
    )
    return calibration.run(word_pairs(60))


def test_chosen_settings_are_measured_on_pairs_that_did_not_choose(
    report: CalibrationReport, encoder: Encoder, encoder_of: Callable[..., Encoder]
) -> None:
    """The reported numbers are those of encoders with these settings, on the checking half."""
    assert (report.choosing_pairs, report.checking_pairs) == (30, 30)
    _, checking = word_pairs(60).halves(seed=0)
    names = [row.name for row in report.checked if row.name != "best"]
    assert names == ["chosen", "given", "uncalibrated", "plain last", "plain mean"]
    chosen = report.checked[0]
    assert chosen.config == report.chosen
    assert (chosen.lead, chosen.lead_error) == (0, 0)
    for row in report.checked:
        other = encoder_of("llama", **row.config.model_dump())
        first, second = other.encode(list(checking.first)), other.encode(list(checking.second))
        own = spearman((first * second).sum(1), checking.score_N)
        assert row.spearman == pytest.approx(own, abs=0.01)  # near ties may swap
        assert row.lead == pytest.approx(chosen.spearman - row.spearman)
        assert 0.02 < row.standard_error < 0.4
    named = {row.name: row.config for row in report.checked}
    assert named["given"] == encoder.config
    assert named["plain mean"] == EncoderConfig(max_tokens=128, template="none", pooling="mean")
    assert named["plain last"] == EncoderConfig(max_tokens=128)


def test_all_rows_are_settings_that_fit(report: CalibrationReport) -> None:
    """By stage and the best first; each is there once and could be used."""
    configs = [row.config for row in report.rows]
    assert len(set(configs)) == len(configs)
    for config in configs:
        assert EncoderConfig(**config.model_dump()) == config
        assert config.resolve_output_layer(4) == config.output_layer
        if tp := config.token_prepending:
            assert tp.exit <= config.output_layer
    assert [row.stage for row in report.rows] == sorted(
        (row.stage for row in report.rows), key=["prompts", "contrasts", "neighbours"].index
    )
    prompts = [row for row in report.rows if row.stage == "prompts"]
    assert {row.config.template for row in prompts} == {"eol", "none", 'On <PST>"{}":'}
    assert {row.config.pooling for row in prompts} == set(POOLINGS)
    assert [-round(r.spearman, 4) for r in prompts] == sorted(
        -round(r.spearman, 4) for r in prompts
    )
    assert report.notes == ()


def test_progress_counts_every_pass(
    report: CalibrationReport, told: list[tuple[str, int, int]]
) -> None:
    """Each stage from 0 to its number of passes."""
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == ["prompts", "contrasts", "neighbours", "checking"]
    for stage in stages:
        steps = [(done, total) for name, done, total in told if name == stage]
        assert steps == [(done, len(steps) - 1) for done in range(len(steps))]
    # The one pass more is the auxiliary prompt's.
    assert report.passes == sum(done > 0 for _, done, _ in told) + 1


def test_the_same_again(report: CalibrationReport, encoder: Encoder) -> None:
    """Twice the same report, to the last digit; another seed splits otherwise."""
    templates = ("eol", "none", 'On <PST>"{}":')
    assert Calibration(encoder, templates=templates, beam=2).run(word_pairs(60)) == report
    other = Calibration(encoder, templates=["none"], beam=1, seed=1).run(word_pairs(60))
    assert other.checked[-1].spearman != report.checked[-1].spearman


def test_notes_say_what_was_cut_and_what_was_not_tried(encoder_of: Callable[..., Encoder]) -> None:
    """Sentences that do not fit, a CP outside the grid, prompts too long for the model."""
    shared = {"contrastive_prompting": {**CP, "shared_context": True}}
    encoder = encoder_of("llama", max_tokens=60, **shared)
    pairs = word_pairs(30)
    long = ScoredPairs(("cat " * 90, *pairs.first[1:]), pairs.second, pairs.score_N)
    found = [
        Calibration(encoder, templates=["none"], beam=1, seed=seed).run(long).notes
        for seed in range(4)
    ]
    assert all("the encoder's own CP was checked, not tried" in notes[0] for notes in found)
    assert any(
        "1 of 30 sentences of the checking half are cut to" in n for n, *_ in map(reversed, found)
    )
    wide = encoder_of("llama", max_tokens=256, template="none", pooling="last")
    notes = Calibration(wide, templates=["none"], beam=1).run(pairs).notes
    assert notes == ("CP was not tried with template 'none': its prompts do not fit",)


def test_what_cannot_be_calibrated(encoder: Encoder) -> None:
    """One line: the value, what was expected, the remedy."""
    with pytest.raises(InvalidConfig, match=r"unknown template 'eoll'; choose one of eol, cot"):
        Calibration(encoder, templates=["eoll"])
    with pytest.raises(InvalidConfig, match="list of templates is empty"):
        Calibration(encoder, templates=[])
    with pytest.raises(InvalidConfig, match="use a beam from 1 and a seed from 0"):
        Calibration(encoder, beam=0)
    with pytest.raises(InvalidConfig, match="19 pairs are too few"):
        Calibration(encoder).run(word_pairs(19))
    with pytest.raises(InvalidConfig, match="leaves no room for text: the template alone takes"):
        Calibration(encoder, templates=["{} " + "word " * 200]).run(word_pairs(20))


# -- planted effects ----------------------------------------------------------------------------


class Planted:
    """A reader whose cosines are the scores plus noise, of which settings have more or less.

    Args:
        noise: of settings at an output layer; None gives NaN.
        pairs: how many.
    """

    layers = 8

    def __init__(self, noise: Callable[[EncoderConfig], float | None], pairs: int = 100) -> None:
        random = np.random.default_rng(11)
        self.pairs = word_pairs(pairs)
        self._noise, self._noise_N = noise, random.standard_normal(pairs)
        self._own_N = random.standard_normal((40, pairs))
        self.recorded: list[set[int]] = []
        self.reads: list[EncoderConfig] = []

    def fits(self, config: EncoderConfig) -> bool:
        """They all do."""
        return True

    def record(self, config: EncoderConfig, layers: Collection[int]) -> None:
        """Note the layers."""
        self.recorded.append(set(layers))

    def read(self, config: EncoderConfig) -> Float32:
        """Scores, noise as planted, and a little of each cell's own, so that there are no ties."""
        self.reads.append(config)
        cells = np.empty((self.layers, len(POOLINGS), len(self.pairs)), dtype=np.float32)
        for row in range(self.layers):
            for column, pooling in enumerate(POOLINGS):
                update = {"output_layer": row + 1, "pooling": pooling}
                amount = self._noise(config.model_copy(update=update))
                own_N = 0.02 * self._own_N[row * len(POOLINGS) + column]
                cells[row, column] = (
                    np.nan
                    if amount is None
                    else self.pairs.score_N + amount * self._noise_N + own_N
                )
        return cells

    def search(self, *, beam: int = 2, given: EncoderConfig | None = None) -> tuple[Any, Any, Any]:
        """The best, the chosen, and the search."""
        grid = Grid(
            given or EncoderConfig(), layers=self.layers, dimension=32, templates=TEMPLATES_TRIED
        )
        reader: Any = self
        search = Search(reader, grid, self.pairs, 0, lambda stage, done, total: None)
        return *search.run(beam), search


def test_a_planted_optimum_is_found() -> None:
    """Template, TP's exit off the grid, CP's layer off the grid, output layer, pooling."""

    def noise(config: EncoderConfig) -> float:
        tp, cp = config.token_prepending, config.contrastive_prompting
        amount = 6.0 - 2.0 * (config.template == "ke") + 0.3 * abs(config.output_layer - 7)
        amount += 1.0 * (config.pooling != "attention_weighted_mean")
        amount -= (1.0 - 0.1 * abs(tp.exit - 5) - 0.1 * abs(tp.start - 2)) if tp else 0
        amount -= 1.5 / (1 + abs(cp.layer - 3)) if cp and cp.strength == 2 else 0
        return amount

    best, chosen, _ = Planted(noise).search()
    config = chosen.config
    assert best is chosen
    assert (config.template, config.output_layer) == ("ke", 7)
    assert config.pooling == "attention_weighted_mean"
    assert config.token_prepending is not None
    # One coordinate at a time, one step: the exit comes nearer, or the start, or CP's layer.
    assert config.token_prepending.exit in (4, 5)
    assert config.contrastive_prompting is not None
    assert config.contrastive_prompting.strength == 2
    assert config.contrastive_prompting.layer in (2, 3, 4)


def test_what_helps_by_less_than_one_standard_error_is_left_off() -> None:
    """TP and CP that hardly change anything: the best has them, the chosen settings do not."""

    def noise(config: EncoderConfig) -> float:
        tp, cp = config.token_prepending, config.contrastive_prompting
        return 2.0 - 1e-3 * (tp is not None) - 1e-3 * (cp is not None)

    best, chosen, _ = Planted(noise).search()
    assert interventions(chosen.config) == 0
    assert best.spearman - chosen.spearman < 0.01
    assert best.spearman >= chosen.spearman


def test_only_what_helps_is_kept() -> None:
    """TP halves the noise, CP does next to nothing: TP alone is chosen."""

    def noise(config: EncoderConfig) -> float:
        tp, cp = config.token_prepending, config.contrastive_prompting
        return (1.5 if tp else 3.0) - 1e-3 * (cp is not None)

    _, chosen, _ = Planted(noise).search()
    assert chosen.config.token_prepending is not None
    assert chosen.config.contrastive_prompting is None
    assert interventions(chosen.config) == 1


def test_cp_is_tried_without_tp_even_if_tp_is_better() -> None:
    """Else its use alone would never be known; its auxiliary prompt is run once for all of it."""

    def noise(config: EncoderConfig) -> float:
        return 1.0 if config.token_prepending else 3.0

    planted = Planted(noise)
    planted.search()
    steered = [c for c in planted.reads if c.contrastive_prompting]
    assert {config.token_prepending is None for config in steered} == {True, False}
    assert len(planted.recorded) == 1
    assert {c.contrastive_prompting.layer for c in steered if c.contrastive_prompting} <= (
        planted.recorded[0]
    )
    assert len({Variant(c.template, c.token_prepending, c.contrastive_prompting) for c in
                planted.reads}) == len(planted.reads)  # fmt: skip


def test_the_encoders_own_settings_are_always_tried() -> None:
    """CP on a template that is in no beam, and TP as no grid has it; found if they are the best."""
    given = EncoderConfig(
        template="question",
        token_prepending=TokenPrepending(start=3, exit=7),
        contrastive_prompting=ContrastivePrompting(layer=6, mode="scaled_norm", strength=0.3),
    )

    def noise(config: EncoderConfig) -> float:
        own = config.model_copy(update={"output_layer": -1, "pooling": "last"}) == given
        return 0.5 if own else 2.0 + (config.template == "question")

    _, chosen, _ = Planted(noise).search(beam=1, given=given)
    assert chosen.config.model_copy(update={"output_layer": -1, "pooling": "last"}) == given


def test_settings_that_overflow_are_left_out_and_counted() -> None:
    """NaN is no correlation of 0, and never the best; if there is nothing else, that is said."""

    def overflowing(config: EncoderConfig) -> float | None:
        return None if config.pooling == "mean" else 1.0

    _, chosen, search = Planted(overflowing).search()
    assert chosen.config.pooling != "mean"
    assert f"{8 * search_reads(search)} settings gave NaN or infinity" in search.notes[0]
    with pytest.raises(NonFiniteActivation, match="no settings give finite vectors"):
        Planted(lambda config: None).search()


def search_reads(search: Search) -> int:
    """Passes over the normal prompts."""
    return search.passes - 1


# -- the grid -----------------------------------------------------------------------------------


def grid(layers: int, given: EncoderConfig | None = None, *templates: str) -> Grid:
    return Grid(
        given or EncoderConfig(),
        layers=layers,
        dimension=32,
        templates=templates or TEMPLATES_TRIED,
    )


@pytest.mark.parametrize(
    ("layers", "exits"), [(1, []), (2, [2]), (4, [2]), (12, [2, 4, 6]), (32, [3, 6, 10, 16])]
)
def test_ranges_follow_the_depth(layers: int, exits: list[int]) -> None:
    """About 0.1, 0.2, 0.3, 0.5 of it; each once; never where the template has no <PST>."""
    variants = grid(layers).prompts()
    tried = [v.token_prepending for v in variants if v.template == "ke"]
    assert tried == [None, *(TokenPrepending(exit=last) for last in exits)]
    assert [v.token_prepending for v in variants if v.template == "none"] == [None]


def test_the_encoders_own_settings_are_tried() -> None:
    """Its template, its TP with all it has, its CP; and what is not calibrated stays."""
    tp = TokenPrepending(start=2, exit=5, placeholders=3, position="start")
    cp = ContrastivePrompting(layer=5, mode="sub_head_norm", auxiliary="redundant")
    given = EncoderConfig(
        template=("cot", "ke"),
        query_template="eol",
        token_prepending=tp,
        contrastive_prompting=cp,
        dtype="bfloat16",
        max_tokens=99,
    )
    own = grid(12, given)
    variants = own.prompts()
    assert Variant(("cot", "ke"), tp) in variants
    assert Variant("none", TokenPrepending(exit=4, placeholders=3, position="start")) in variants
    steered = own.contrasts(Variant("eol"), 9)
    assert Variant("eol", None, cp) in steered
    assert {v.contrastive_prompting.auxiliary for v in steered if v.contrastive_prompting} == {
        "redundant"
    }
    config = own.settings(Variant("eol"), "last_mean", 3)
    assert config == EncoderConfig(
        pooling="last_mean", output_layer=3, dtype="bfloat16", max_tokens=99
    )


def test_cp_is_spread_over_the_first_two_thirds() -> None:
    """Six layers below the output layer, each with the norm kept and in five strengths."""
    found = [v.contrastive_prompting for v in grid(32).contrasts(Variant("eol"), 27)]
    assert sorted({cp.layer for cp in found if cp}) == [0, 4, 7, 11, 14, 18]
    assert len(found) == 36
    shallow = [v.contrastive_prompting for v in grid(4).contrasts(Variant("eol"), 1)]
    assert {cp.layer for cp in shallow if cp} == {0}


def test_only_valid_settings_are_built() -> None:
    """What EncoderConfig, the model's depth or the kept dimensions refuse is no candidate."""
    own = grid(8, EncoderConfig(dimensions=40))
    tp, cp = TokenPrepending(exit=3), ContrastivePrompting(layer=2)
    assert own.settings(Variant("eol"), "last") is None  # 40 of 32 components
    assert own.settings(Variant("eol"), "last_mean") is not None
    own = grid(8)
    assert own.settings(Variant("none", tp)) is None
    assert own.settings(Variant("eol", None, cp), "mean") is None
    assert own.settings(Variant("eol", None, cp), "last", 2) is None
    assert own.settings(Variant("eol", tp, cp), "last", 3) is not None
    assert own.settings(Variant("eol", tp), "last", 1) is None


def test_a_range_beyond_the_output_layer_ends_there() -> None:
    """TP in layers 1-5 read at layer 3 is TP in layers 1-2: written so, and tried once."""
    own = grid(8)
    wide, narrow = (Variant("eol", TokenPrepending(exit=last)) for last in (6, 3))
    assert own.settings(wide, "last", 3) == own.settings(narrow, "last", 3)
    assert own.settings(wide, "last", 4) != own.settings(narrow, "last", 4)


def test_neighbours_differ_in_one_coordinate() -> None:
    """TP a layer shorter, longer, later; CP a layer lower, higher; as far as there are layers."""
    tp, cp = TokenPrepending(start=1, exit=2), ContrastivePrompting(layer=0, strength=2)
    found = grid(4).neighbours(Variant("eol", tp, cp))
    assert found == [
        Variant("eol", TokenPrepending(start=1, exit=3), cp),
        Variant("eol", tp, cp.model_copy(update={"layer": 1})),
    ]
    strong = ContrastivePrompting(layer=2, mode="scaled", strength=4)
    steps = [v.contrastive_prompting for v in grid(4).neighbours(Variant("none", None, strong))]
    assert [(cp.layer, cp.strength) for cp in steps if cp] == [(3, 4), (1, 4), (2, 8), (2, 2)]
    late = Variant("eol", TokenPrepending(start=2, exit=4))
    assert [v.token_prepending and (v.token_prepending.start, v.token_prepending.exit) for v in
            grid(4).neighbours(late)] == [(2, 3), (1, 4)]  # fmt: skip
    assert grid(4).neighbours(Variant("none")) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"template": "none", "pooling": "mean"}, 0),
        ({"token_prepending": {"exit": 3}}, 1),
        ({"contrastive_prompting": CP, "token_prepending": {"exit": 3}}, 2),
        ({"template": "ck"}, 1),
        ({"pooling": "last_mean", "template": "meta"}, 8),
    ],
)
def test_interventions_are_counted(settings: dict[str, Any], expected: int) -> None:
    """TP, CP, each further prompt, a doubled vector."""
    assert interventions(EncoderConfig(**settings)) == expected
