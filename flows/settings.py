"""Settings: options first, then `SEXTANT_*` variables, then `sextant.toml`, then defaults."""

from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from flows.documents.globs import Selection
from flows.errors import InvalidInput

SETTINGS_FILE: Final = "sextant.toml"
ENVIRONMENT_PREFIX: Final = "SEXTANT_"
MAX_REMOVAL_SHARE: Final = 0.2


class Settings(BaseSettings):
    """Everything a command can be told; every default stands here and nowhere else."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, toml_file=SETTINGS_FILE, extra="forbid", frozen=True
    )

    collection: str = "docs"
    encoder: str | None = None
    """None: the collection's own, or the starter for a new one."""
    store: str = ".sextant"
    """A folder, or the http(s) address of a Qdrant server."""
    api_key: SecretStr | None = None
    """The Qdrant server's key."""
    chunk_tokens: Annotated[int, Field(ge=16, le=4096)] = 160
    """Hard bound on a chunk, in the encoder's own tokens."""
    chunk_overlap: Annotated[int, Field(ge=0)] = 0
    """Most tokens that a chunk repeats of the one before it."""
    max_document_mb: Annotated[int, Field(ge=1)] = 20
    """A larger document goes to quarantine, in MiB."""
    parse_seconds: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """A document that takes longer to parse goes to quarantine."""
    parse_memory_mb: Annotated[int, Field(ge=64)] = 1024
    """A document that takes more memory to parse goes to quarantine, in MiB."""
    max_removal_share: Annotated[float, Field(ge=0, le=1)] = MAX_REMOVAL_SHARE
    """Part of its sources' stored documents that an ingest removes unasked, if more than a few."""
    include: Annotated[tuple[str, ...], NoDecode] = ()
    """Globs; only documents that match one are in a source. None: all."""
    exclude: Annotated[tuple[str, ...], NoDecode] = ()
    """Globs; documents that match one are not in a source."""

    @field_validator("include", "exclude", mode="before")
    @classmethod
    def _split_globs(cls, globs: Any) -> Any:
        """A list, or one string with commas, as variables have it."""
        if isinstance(globs, str):
            return tuple(part.strip() for part in globs.split(",") if part.strip())
        return globs

    @field_validator("include", "exclude")
    @classmethod
    def _check_globs(cls, globs: tuple[str, ...]) -> tuple[str, ...]:
        try:
            Selection(include=globs)
        except InvalidInput as error:
            raise ValueError(str(error)) from None
        return globs

    @field_validator("chunk_overlap")
    @classmethod
    def _check_overlap(cls, overlap: int, info: ValidationInfo) -> int:
        most = info.data.get("chunk_tokens", 0) // 2
        if "chunk_tokens" in info.data and overlap > most:
            raise ValueError(f"expected 0 to {most}, half of chunk_tokens")
        return overlap

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options, environment, file; no dotenv, no secrets folder."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(**options: Any) -> Settings:
    """The settings in force; options that are None were not given.

    Raises:
        InvalidInput: a value is wrong, or `sextant.toml` is no TOML or names an unknown setting.
    """
    import tomllib

    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{SETTINGS_FILE} is not TOML: {error}; correct or remove it") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{SETTINGS_FILE} is not UTF-8: {error}; save it as UTF-8") from None
    except OSError as error:
        raise InvalidInput(
            f"{SETTINGS_FILE} cannot be read: {error.strerror}; check its mode, or remove it"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise InvalidInput(
                f"unknown setting {name!r} in {SETTINGS_FILE}; "
                f"settings are {', '.join(Settings.model_fields)}"
            ) from None
        expected = first["msg"].removeprefix("Value error, ")
        expected = expected[:1].lower() + expected[1:]
        source = "option" if name in options and options[name] is not None else _source(name)
        # A key that is wrong is still a secret.
        value = "" if name == "api_key" else f" is {first['input']!r}"
        raise InvalidInput(f"setting {name!r}{value} ({source}): {expected}") from None


def _source(name: str) -> str:
    import os

    variable = f"{ENVIRONMENT_PREFIX}{name.upper()}"
    if any(key.upper() == variable for key in os.environ):
        return variable
    return SETTINGS_FILE if Path(SETTINGS_FILE).exists() else "default"
