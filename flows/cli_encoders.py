"""`sextant encoders`: list the built-in encoders, and show any one; torch is not imported."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli_options import AsJson, Debug, print_json

if TYPE_CHECKING:
    from embedder.config import EncoderConfig
    from embedder.presets import Preset
    from embedder.specification import EncoderSpecification

encoders_app = typer.Typer(
    help="List the built-in encoders, and show any one.", no_args_is_help=True
)


@encoders_app.command("list")
def list_encoders(as_json: AsJson = False, debug: Debug = False) -> None:
    """List the built-in encoders; nothing is fetched."""
    from embedder.presets import PRESETS
    from flows import console

    if as_json:
        encoders = [_preset_fields(name, preset) for name, preset in PRESETS.items()]
        print_json({"encoders": encoders})
        return
    rows = [
        [name, _place(preset.model), str(preset.layers), in_short(preset.config), preset.source]
        for name, preset in PRESETS.items()
    ]
    console.table(["name", "model", "layers", "settings", "settings from"], rows)


@encoders_app.command("show")
def show_encoder(
    name: Annotated[
        str,
        typer.Argument(
            metavar="PRESET|FILE|DIR|HUB-ID",
            help="A built-in encoder, a preset file (JSON), a model folder, or a hub's OWNER/NAME",
        ),
    ],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show an encoder's model, settings and fingerprint.

    No weight is loaded; a hub's model that is not in the local cache is fetched.
    """
    from embedder.specification import specify
    from flows import console

    specification = specify(name)
    if as_json:
        print_json(encoder_fields(specification))
    else:
        console.show_fields(encoder_lines(specification))


def in_short(config: "EncoderConfig") -> str:
    """The settings that set one encoder apart from another, in some words.

    >>> from embedder.presets import PRESETS
    >>> in_short(PRESETS["llama-2-7b"].config)
    'eol, TP 1-6, last at 27'
    """
    template = config.template if isinstance(config.template, str) else " + ".join(config.template)
    parts = [template]
    if tp := config.token_prepending:
        parts.append(f"TP {_span(tp.start, tp.exit, '-')}")
    if cp := config.contrastive_prompting:
        parts.append(f"CP {cp.layer} {cp.mode}")
    parts.append(f"{config.pooling} at {config.output_layer}")
    if config.adapter is not None:
        parts.append("adapter")
    return ", ".join(parts)


def encoder_fields(specification: "EncoderSpecification") -> dict[str, Any]:
    """Everything there is to know of an encoder before its weights are loaded."""
    from embedder.config import KINDS
    from embedder.prompts import auxiliary_text
    from embedder.specification import dtype_reason

    config, files, adapter = specification.config, specification.files, specification.adapter
    described = specification.describe()
    cp = config.contrastive_prompting
    return {
        "name": specification.name,
        "source": specification.source,
        "fingerprint": specification.fingerprint,
        "model": str(files.folder),
        "architecture": files.architecture["model_type"],
        "layers": files.layers,
        "output_layer": config.resolve_output_layer(files.layers),
        "dimension": specification.dimension,
        "dtype": config.dtype,
        "dtype_reason": dtype_reason(files, config),
        "templates": {kind: list(config.templates(kind)) for kind in KINDS},
        "auxiliary": cp and auxiliary_text(cp.auxiliary, shared=cp.shared_context),
        "adapter": adapter
        and {"folder": str(adapter.folder), "digest": adapter.digest, "base": adapter.base_model},
        "config": described["config"],
    }


def encoder_lines(specification: "EncoderSpecification") -> dict[str, Any]:
    """The same for people: names and values, one a line."""
    config, fields = specification.config, encoder_fields(specification)
    tp, cp = config.token_prepending, config.contrastive_prompting
    lines = {key: fields[key] for key in ("name", "model", "architecture", "layers", "dimension")}
    lines["dtype"] = fields["dtype_reason"]
    documents, queries = fields["templates"]["document"], fields["templates"]["query"]
    lines |= _numbered("template", documents)
    if queries != documents:
        lines |= _numbered("query template", queries)
    lines["token prepending"] = "off"
    if tp is not None:
        some = "" if tp.prompts is None else f", templates {', '.join(map(str, tp.prompts))}"
        lines["token prepending"] = (
            f"before layer {_span(tp.start, tp.exit, ' to ')}, {tp.placeholders} placeholder"
            f"{'s' if tp.placeholders > 1 else ''}, position {tp.position}{some}"
        )
    lines["contrastive prompting"] = "off"
    if cp is not None:
        strength = "" if cp.mode in ("norm", "sub_head_norm") else f", strength {cp.strength:g}"
        shared = ", in a shared context" if cp.shared_context else ""
        lines["contrastive prompting"] = f"at layer {cp.layer}, {cp.mode}{strength}{shared}"
        lines |= _numbered("auxiliary prompt", [fields["auxiliary"]])
    over = " of text and prompt" if config.pool_prompt and config.pooling != "last" else ""
    lines["pooling"] = (
        f"{config.pooling}{over}, at layer {fields['output_layer']} of {fields['layers']}"
    )
    lines["adapter"] = "none"
    if fields["adapter"]:
        merged = "merged into the weights" if config.merge_adapter else "beside the weights"
        lines["adapter"] = f"{fields['adapter']['folder']}, {merged}"
    cut = "longer texts are cut" if config.on_overflow == "truncate" else "longer ones are refused"
    lines["max tokens"] = f"{config.max_tokens}, {cut}"
    if config.normalise_text != "none":
        lines["text"] = f"normalised as by {config.normalise_text}"
    if config.precision != "float32":
        lines["precision"] = config.precision
    return lines | {"settings from": fields["source"], "fingerprint": fields["fingerprint"]}


def _preset_fields(name: str, preset: "Preset") -> dict[str, Any]:
    return {
        "name": name,
        "model": preset.model,
        "layers": preset.layers,
        "settings": in_short(preset.config),
        "config": preset.config.model_dump(mode="json"),
        "source": preset.source,
    }


def _span(start: int, stop: int, between: str) -> str:
    """The layers from `start` on, without `stop`."""
    return str(start) if stop == start + 1 else f"{start}{between}{stop - 1}"


def _place(model: str) -> str:
    """A hub id as it is; of a folder, that it came with the program."""
    return "bundled" if Path(model).is_absolute() else model


def _numbered(name: str, values: list[str]) -> dict[str, str]:
    """One line a value; numbered, from 0 as in the settings, where there are several."""
    shown = [value if value.isprintable() else repr(value) for value in values]
    if len(shown) == 1:
        return {name: shown[0]}
    return {f"{name} {index}": value for index, value in enumerate(shown)}
