"""The starter's own tokenizer: a lower-casing byte-level BPE, trained on the training texts.

Letters lose case and accents, typographic quotes and dashes become plain ones, and any run of white
space is one blank, so that a text reads the same from a PDF, a web page or a plain file.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

VOCABULARY: Final = 30_720
"""Entries, special ones included: 11.8 MB of the 20 MB, at a byte a weight."""
BOS, EOS, PAD = "<s>", "</s>", "<pad>"
TYPOGRAPHY: Final = {
    "[\u2018\u2019\u201a\u201b\u02bc]": "'",
    "[\u201c\u201d\u201e\u201f\u00ab\u00bb]": '"',
    "[\u2010-\u2015\u2212]": "-",
    "\\s+": " ",
}
"""Patterns of what is written plainly."""


def train_tokenizer(texts: Iterable[str], *, vocabulary: int = VOCABULARY) -> Tokenizer:
    """Train the BPE."""
    tokenizer = Tokenizer(models.BPE())
    plain = [normalizers.Replace(Regex(p), c) for p, c in TYPOGRAPHY.items()]
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), *plain]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, *, max_tokens: int) -> None:
    """Write the tokenizer in transformers' layout, its large file without indentation."""
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=max_tokens,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
