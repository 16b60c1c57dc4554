"""`sextant pairs`: make pairs for tuning, and look them over."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from flows.cli_options import AsJson, Debug, Quiet, print_json, settings_of
from flows.errors import InvalidInput

if TYPE_CHECKING:
    from embedder.tuning.passages import LanguageOf
    from embedder.tuning.synthesis import SynthesisReport, SynthesisSettings

pairs_app = typer.Typer(
    help="Make pairs of texts for `sextant tune`, and look them over.", no_args_is_help=True
)

FROM_EXAMPLES: Final = (
    "Examples: sextant pairs from notes/ --out pairs.jsonl   |   sextant pairs from "
    "passages.jsonl.gz --out pairs.jsonl.gz --kinds title,section,crop=5000 --limit 20000"
)
SYNTHESISE_EXAMPLES: Final = (
    "Example: sextant pairs synthesise texts.txt --model Qwen/Qwen3-0.6B --out written.jsonl. "
    "After a stop the same command goes on."
)

Out = Annotated[str, typer.Option("--out", metavar="FILE.jsonl", help="Where the pairs go")]
Texts = Annotated[
    str,
    typer.Argument(metavar="TEXTS", help="A .txt file, one text a line; or JSONL rows with text"),
]
Limit = Annotated[int | None, typer.Option(metavar="N", help="Read at most so many texts")]
Batch = Annotated[int, typer.Option(metavar="N", help="Texts at once")]
Retries = Annotated[int, typer.Option(metavar="N", help="New tries for a rejected answer")]
Language = Annotated[
    str | None,
    typer.Option(
        metavar="CODE", help="Language of the answers, such as en [default: each text's own]"
    ),
]
AnyLanguage = Annotated[
    bool, typer.Option("--any-language", help="Take answers in whatever language")
]
Device = Annotated[str | None, typer.Option(metavar="NAME", help="cpu, cuda [default: chosen]")]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of all draws")]


@pairs_app.command("from", short_help="Make pairs of documents, with no model.")
def from_(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|FOLDER...",
            help="JSONL files of passages (text, and title, doc, i, headings), or what ingest "
            "reads",
        ),
    ],
    out: Out,
    kinds: Annotated[
        str,
        typer.Option(
            metavar="KIND[=N],...",
            help="title: title and passage; neighbour: passage and next one; section: heading "
            "and section; dropout: passage and itself; crop: two stretches of a passage. =N: at "
            "most so many",
        ),
    ] = "title,neighbour,section",
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Draw at most so many pairs [default: all]")
    ] = None,
    near_duplicates: Annotated[
        bool,
        typer.Option("--drop-near-duplicates", help="Leave out pairs that nearly equal another"),
    ] = False,
    language: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="Leave out passages in another language than, say, en"),
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make pairs that documents hold of themselves: titles, neighbours, sections, crops.

    Pairs of one document share a group, so that in tuning none is another's negative.
    """
    from flows import console
    from flows.pair_making import make_structural
    from flows.pairs_console import show_made

    _require("--limit", limit, 1)
    _require("--seed", seed, 0)
    with console.progress(quiet=quiet) as progress:
        report = make_structural(
            sources,
            out,
            settings_of(),
            progress,
            kinds=kinds,
            limit=limit,
            near=near_duplicates,
            language=_code(language),
            seed=seed,
        )
    if as_json:
        print_json(report)
    else:
        show_made(report)


@pairs_app.command(short_help="Have an instruct model write second texts.")
def synthesise(
    texts: Texts,
    model: Annotated[
        str, typer.Option("--model", metavar="DIR|HUB-ID", help="The instruct model that writes")
    ],
    out: Out,
    rewrites: Annotated[
        str, typer.Option(metavar="KIND,...", help="What is asked for")
    ] = "detail,simple,teacher,metaphor,question",
    per_text: Annotated[int, typer.Option(metavar="N", help="Kinds drawn for each text")] = 1,
    limit: Limit = None,
    batch: Batch = 8,
    retries: Retries = 5,
    temperature: Annotated[float, typer.Option(help="Of the sampling")] = 0.6,
    top_p: Annotated[float, typer.Option(help="Of the sampling")] = 0.9,
    max_new_tokens: Annotated[int, typer.Option(metavar="N", help="Of an answer")] = 100,
    language: Language = None,
    any_language: AnyLanguage = False,
    device: Device = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Have an instruct model rewrite each text; text and answer become a pair.

    Answers that are empty, the text again, too long, refusals, or in another language are written
    anew with other seeds. The file grows batch by batch; the same command goes on after a stop.
    """
    from embedder.tuning.rewrite_prompts import check_sampling
    from flows import console
    from flows.pair_making import check_out, synthesise

    asked = tuple(kind.strip() for kind in rewrites.split(",") if kind.strip())
    check_sampling(asked, temperature, top_p, max_new_tokens)
    check_out(out, [texts])
    settings = _settings(per_text, retries, batch, language, limit, seed)
    if per_text > len(asked):
        raise InvalidInput(f"--per-text {per_text}: expected at most {len(asked)}, the kinds")
    language_of = _language_of(any_language)
    _require_file(texts)
    with console.progress(quiet=quiet) as progress:
        progress.stage("model")
        from embedder.tuning.text_models import InstructWriter, TextModel

        writer = InstructWriter(
            TextModel(model, device=device),
            kinds=asked,
            temperature=temperature,
            top_p=top_p,
            max_new_tokens=max_new_tokens,
        )
        report = synthesise(texts, out, progress, writer, settings, language_of)
    _show(report, out, as_json=as_json)


@pairs_app.command("back-translate", short_help="Have texts translated and translated back.")
def back_translate(
    texts: Texts,
    there: Annotated[
        str, typer.Option("--there", metavar="DIR|HUB-ID", help="Translator into a language")
    ],
    back: Annotated[
        str, typer.Option("--back", metavar="DIR|HUB-ID", help="Translator back from it")
    ],
    out: Out,
    own_token: Annotated[
        str,
        typer.Option(metavar="TOKEN", help="The texts' language, for models of many: eng_Latn"),
    ] = "",
    pivot_token: Annotated[
        str, typer.Option(metavar="TOKEN", help="The other language, for models of many: deu_Latn")
    ] = "",
    limit: Limit = None,
    batch: Batch = 8,
    retries: Retries = 5,
    language: Language = None,
    any_language: AnyLanguage = False,
    device: Device = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Have each text translated and translated back; text and result become a pair.

    The models are encoder-decoders of transformers with a fast tokenizer. What comes back as it
    went is tried again. The same command goes on after a stop.
    """
    from flows import console
    from flows.pair_making import check_out, synthesise

    check_out(out, [texts])
    settings = _settings(1, retries, batch, language, limit, seed)
    language_of = _language_of(any_language)
    _require_file(texts)
    with console.progress(quiet=quiet) as progress:
        progress.stage("models")
        from embedder.tuning.back_translation import BackTranslation, Seq2SeqTranslator
        from embedder.tuning.text_models import TextModel

        first, second = (
            TextModel(name, device=device, encoder_decoder=True) for name in (there, back)
        )
        writer = BackTranslation(
            Seq2SeqTranslator(first, source=own_token, target=pivot_token),
            Seq2SeqTranslator(second, source=pivot_token, target=own_token),
        )
        report = synthesise(texts, out, progress, writer, settings, language_of)
    _show(report, out, as_json=as_json)


@pairs_app.command(short_help="Say what files of pairs hold.")
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files of pairs")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Count pairs, kinds, lengths, duplicates and rows that are no pairs."""
    from flows.pair_making import examine
    from flows.pairs_console import show_examined

    report = examine(files)
    if as_json:
        print_json(report)
    else:
        show_examined(report)


def _settings(
    per_text: int, retries: int, batch: int, language: str | None, limit: int | None, seed: int
) -> "SynthesisSettings":
    from embedder.tuning.synthesis import SynthesisSettings

    return SynthesisSettings(
        per_text=per_text,
        retries=retries,
        batch=batch,
        language=_code(language) or "",
        limit=limit,
        seed=seed,
    )


def _language_of(any_language: bool) -> "LanguageOf | None":
    from flows.documents.language import language_of

    return None if any_language else language_of


def _show(report: "SynthesisReport", out: str, *, as_json: bool) -> None:
    from flows.pairs_console import show_synthesised

    fields: dict[str, Any] = {"out": out, **asdict(report)}
    if as_json:
        print_json(fields)
    else:
        show_synthesised(fields)


def _code(language: str | None) -> str | None:
    if language is not None and not (
        language.isascii() and language.isalpha() and language.islower() and len(language) in (2, 3)
    ):
        raise InvalidInput(f"--language {language!r}: expected an ISO 639 code such as en")
    return language


def _require_file(texts: str) -> None:
    from pathlib import Path

    if not Path(texts).is_file():
        raise InvalidInput(f"{texts!r}: no such file; check the path")


def _require(option: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise InvalidInput(f"{option} {value}: expected {least} or more")
