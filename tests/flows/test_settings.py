"""Options, then variables, then the file, then defaults; every mistake ends in one line."""

from pathlib import Path

import pytest

from flows.errors import InvalidInput
from flows.session import Target
from flows.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and none of the caller's variables."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SEXTANT_{name.upper()}", raising=False)
    return tmp_path


def test_the_first_that_says_something_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Option > variable > file > default, setting by setting."""
    (folder / "sextant.toml").write_text(
        'collection = "file"\nencoder = "file"\nstore = "file"\nchunk_tokens = 99\n'
    )
    monkeypatch.setenv("SEXTANT_ENCODER", "variable")
    monkeypatch.setenv("SEXTANT_STORE", "variable")
    settings = load_settings(store="option", collection=None)
    assert (settings.store, settings.encoder, settings.collection) == ("option", "variable", "file")
    assert (settings.chunk_tokens, settings.max_document_mb) == (99, 20)


def test_the_defaults() -> None:
    """A collection `docs` in `.sextant`, whose encoder is the collection's own."""
    settings = load_settings()
    assert (settings.collection, settings.store, settings.encoder) == ("docs", ".sextant", None)
    assert (settings.chunk_tokens, settings.chunk_overlap) == (160, 0)


@pytest.mark.parametrize(
    ("toml", "variables", "options", "message"),
    [
        ("store = ", {}, {}, r"sextant\.toml is not TOML: .*; correct or remove it"),
        ("colection = 'x'", {}, {}, r"unknown setting 'colection' in sextant\.toml; settings are "),
        (
            "chunk_tokens = 3",
            {},
            {},
            r"setting 'chunk_tokens' is 3 \(sextant\.toml\): input should",
        ),
        ("", {"CHUNK_TOKENS": "many"}, {}, r"'chunk_tokens' is 'many' \(SEXTANT_CHUNK_TOKENS\): "),
        ("", {}, {"max_document_mb": 0}, r"setting 'max_document_mb' is 0 \(option\): input"),
        (
            "exclude = ['a[']",
            {},
            {},
            r"'exclude' is \['a\['\] \(sextant\.toml\): glob 'a\[': a '\[' is",
        ),
        ("", {"INCLUDE": "*.md,../x"}, {}, r"\(SEXTANT_INCLUDE\): glob '\.\./x' leads out of its"),
        ("", {}, {"chunk_tokens": 32, "chunk_overlap": 17}, r"is 17 \(option\): expected 0 to 16"),
    ],
)
def test_a_mistake_is_named_with_its_place(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    toml: str,
    variables: dict[str, str],
    options: dict[str, int],
    message: str,
) -> None:
    """The value, where it stands, what was expected; one line."""
    (folder / "sextant.toml").write_text(toml)
    for name, value in variables.items():
        monkeypatch.setenv(f"SEXTANT_{name}", value)
    with pytest.raises(InvalidInput, match=message) as raised:
        load_settings(**options)
    assert "\n" not in str(raised.value)


def test_globs_come_from_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list in the file or from options; a variable has commas."""
    (folder / "sextant.toml").write_text('exclude = ["drafts/**"]\ninclude = "*.rst"\n')
    assert load_settings().exclude == ("drafts/**",)
    assert load_settings().include == ("*.rst",)
    monkeypatch.setenv("SEXTANT_INCLUDE", "*.md, *.txt,")
    assert load_settings().include == ("*.md", "*.txt")
    assert load_settings(include=["a"]).include == ("a",)


def test_a_file_that_is_no_text_is_named(folder: Path) -> None:
    """Bytes that are not UTF-8 are no TOML."""
    (folder / "sextant.toml").write_bytes(b"store = '\xff'")
    with pytest.raises(InvalidInput, match=r"sextant\.toml is not UTF-8"):
        load_settings()


def test_the_key_stays_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """No representation of settings shows it, and what a flow is given does not hold it."""
    monkeypatch.setenv("SEXTANT_API_KEY", "hunter2")
    settings = load_settings()
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "hunter2"
    target = Target.of(settings)
    assert "hunter2" not in f"{settings!r} {settings.model_dump_json()} {target!r}"
