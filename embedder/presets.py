"""Named encoders: a model and the settings that go with it, each saying where they come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embedder.config import ContrastivePrompting, EncoderConfig, TokenPrepending

STARTER: Final = "starter"
STARTER_FOLDER: Final = Path(__file__).parent / "starter" / "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A model (folder or hub id), its settings, and their source."""

    model: str
    config: EncoderConfig
    source: str


def _published(exit_layer: int, output_layer: int, template: str) -> EncoderConfig:
    return EncoderConfig(
        template=template,
        token_prepending=TokenPrepending(start=1, exit=exit_layer),
        output_layer=output_layer,
        dtype="bfloat16",
    )


_TP = "Token Prepending's official settings (arXiv 2412.11556); no CP value is published with TP"

PRESETS: Final[dict[str, Preset]] = {
    STARTER: Preset(
        model=str(STARTER_FOLDER),
        config=EncoderConfig(
            template="eol",
            token_prepending=TokenPrepending(start=1, exit=3),
            contrastive_prompting=ContrastivePrompting(layer=1, mode="norm"),
            # Trained in it; faster than float32 where the processor has it, right elsewhere.
            dtype="bfloat16",
        ),
        source="ours: trained through exactly these settings (embedder/starter/MODEL_CARD.md)",
    ),
    "llama-2-7b": Preset(
        model="meta-llama/Llama-2-7b-hf", config=_published(7, 27, "eol"), source=_TP
    ),
    "llama-2-13b": Preset(
        model="meta-llama/Llama-2-13b-hf", config=_published(7, -2, "cot"), source=_TP
    ),
    "llama-3-8b": Preset(
        model="meta-llama/Meta-Llama-3-8B", config=_published(3, -2, "cot"), source=_TP
    ),
    "qwen2-7b": Preset(model="Qwen/Qwen2-7B", config=_published(6, -2, "cot"), source=_TP),
}
