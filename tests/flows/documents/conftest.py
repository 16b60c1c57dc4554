"""Tokenizers small enough to be trained in a moment, and small files of every format."""

from collections.abc import Callable

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from benchmarks import document_files
from flows.documents.chunking import Chunker

SENTENCES = [
    "A splitter's size is a bound and not a target.",
    "Every character of a document lies in a chunk or is listed as skipped.",
    "The heading stands with its text, and the text with its heading.",
    "Chunks of one document follow each other in the order of their offsets.",
]


@pytest.fixture(scope="session")
def bpe_json() -> str:
    """Byte-level BPE of 400 tokens: an emoji is four tokens, a common word one or two."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 5, trainer)
    tokenizer.enable_truncation(max_length=8)
    tokenizer.enable_padding(length=8, pad_token="<s>")  # noqa: S106
    return tokenizer.to_str()


@pytest.fixture(scope="session")
def word_piece_json() -> str:
    """WordPiece with BERT's cleaning: a long or foreign word is one unknown token."""
    words = sorted({word.strip(".,").lower() for text in SENTENCES for word in text.split()})
    vocabulary = {token: index for index, token in enumerate(["[UNK]", ".", ",", *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer.to_str()


@pytest.fixture(scope="session")
def sentence_piece_json() -> str:
    """Unigram as SentencePiece has it: a text is one word, its blanks are letters."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    trainer = trainers.UnigramTrainer(
        vocab_size=100,
        unk_token="<unk>",  # noqa: S106
        special_tokens=["<unk>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 5, trainer)
    return tokenizer.to_str()


@pytest.fixture(scope="session")
def line_bpe_json(bpe_json: str) -> str:
    """Byte-level BPE by a newer expression, which puts line ends behind punctuation."""
    tokenizer = Tokenizer.from_str(bpe_json)
    words = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["\n".join([*SENTENCES, ""]) * 5], trainer)
    return tokenizer.to_str()


@pytest.fixture(scope="session")
def chunker(bpe_json: str) -> Chunker:
    """At most 32 tokens a chunk."""
    return Chunker(bpe_json, max_tokens=32)


@pytest.fixture(scope="session")
def office_files() -> dict[str, bytes]:
    """See `document_files.office_files`."""
    return document_files.office_files()


@pytest.fixture(scope="session")
def make_pdf() -> Callable[..., bytes]:
    """See `document_files.pdf_bytes`."""
    return document_files.pdf_bytes


@pytest.fixture(scope="session")
def make_zip() -> Callable[..., bytes]:
    """See `document_files.zip_bytes`."""
    return document_files.zip_bytes


@pytest.fixture(scope="session")
def make_epub() -> Callable[..., bytes]:
    """See `document_files.epub_bytes`."""
    return document_files.epub_bytes


@pytest.fixture(scope="session")
def make_docx() -> Callable[..., bytes]:
    """See `document_files.docx_bytes`."""
    return document_files.docx_bytes
