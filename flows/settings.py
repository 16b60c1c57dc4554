"""Settings: options first, then `SEXTANT_*` variables, then `sextant.toml`, then defaults."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from flows.documents.globs import Selection
from flows.documents.records.columns import ColumnName, RecordColumns, TextFormat
from flows.documents.remote.limits import MAX_URLS, RemoteLimits
from flows.errors import InvalidInput
from search.stores import server_options
from search.stores.server_options import ServerOptions

SETTINGS_FILE: Final = "sextant.toml"
ENVIRONMENT_PREFIX: Final = "SEXTANT_"
MAX_REMOVAL_SHARE: Final = 0.2
PARTITION_SECONDS: Final = 21_600.0

NearDuplicates: TypeAlias = Literal["off", "report", "collapse"]
Quantisation: TypeAlias = Literal["none", "int8"]


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
    target_api_key: SecretStr | None = None
    """The key of the server that a copy goes to, where it comes from another one."""
    server_grpc: bool = True
    """Whether requests go by gRPC; false where only HTTP gets through to the server."""
    server_grpc_port: server_options.Port = server_options.GRPC_PORT
    server_timeout_seconds: server_options.Timeout = server_options.TIMEOUT_SECONDS
    """For one request to the server."""
    server_streams: server_options.Streams = server_options.STREAMS
    """Requests with points that are under way to the server at once."""
    server_max_request_mb: server_options.Megabytes = server_options.MAX_REQUEST_MB
    """Most million bytes of points in one request."""
    server_ca: Path | None = None
    """PEM file of the authority that signed the server's certificate; None: the machine's own."""
    server_insecure_key: bool = False
    """Whether the key may go over http:// to another machine, as in a private network."""
    chunk_tokens: Annotated[int, Field(ge=16, le=4096)] = 160
    """Hard bound on a chunk, in the encoder's own tokens."""
    chunk_overlap: Annotated[int, Field(ge=0)] = 0
    """Most tokens that a chunk repeats of the one before it."""
    heading_context: bool = False
    """Whether a chunk is embedded with its document's title and headings before it."""
    near_duplicates: NearDuplicates = "report"
    """What is done of documents that nearly equal another: nothing, said, or not stored twice."""
    max_document_mb: Annotated[int, Field(ge=1)] = 20
    """A larger document goes to quarantine, in MiB."""
    parse_seconds: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """A document that takes longer to parse goes to quarantine."""
    parse_memory_mb: Annotated[int, Field(ge=64)] = 1024
    """A document that takes more memory to parse goes to quarantine, in MiB."""
    partition_seconds: Annotated[float, Field(gt=0)] = PARTITION_SECONDS
    """A part of about a megabyte of documents that takes longer to store ends the run."""
    quantisation: Quantisation = "none"
    """int8: a new collection is searched by bytes, and the best rescored by the whole vectors."""
    search_mode: Literal["hybrid", "dense", "lexical"] = "hybrid"
    """How queries are answered: by vectors, by words, or both."""
    dense_weight: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Of hybrid answers: the weight of the vectors; the words have the rest."""
    on_disk: bool = False
    """Whether a new collection on a server keeps vectors and payloads on the disk."""
    shards: Annotated[int, Field(ge=1)] | None = None
    """Of a new collection on a server; None: the server's default."""
    replicas: Annotated[int, Field(ge=1)] | None = None
    """Copies of each shard on a server; None: the server's default."""
    max_removal_share: Annotated[float, Field(ge=0, le=1)] = MAX_REMOVAL_SHARE
    """Part of its sources' stored documents that an ingest removes unasked, if more than a few."""
    include: Annotated[tuple[str, ...], NoDecode] = ()
    """Globs; only documents that match one are in a source. None: all."""
    exclude: Annotated[tuple[str, ...], NoDecode] = ()
    """Globs; documents that match one are not in a source."""
    allow_network: bool = False
    """Sources may be fetched from the network; without it nothing touches it."""
    allow_private_addresses: bool = False
    """Web sources may lie on this machine or in a private network."""
    max_urls: Annotated[int, Field(ge=1)] = MAX_URLS
    """A web source with more pages is refused before any page is fetched."""
    text_column: ColumnName | None = None
    """Of record files (JSONL, CSV, Parquet...): the column that holds the text of each document."""
    title_column: ColumnName | None = None
    """The column with their titles."""
    id_column: ColumnName | None = None
    """The column that names each row, in all versions of its file. None: rows go by content."""
    metadata_columns: Annotated[tuple[ColumnName, ...], NoDecode] = ()
    """Columns that are stored with each document."""
    text_format: TextFormat = "text"
    """What the text in the text's column is."""
    schedules: Annotated[tuple[dict[str, Any], ...], NoDecode] = ()
    """What runs when, one `[[schedules]]` table each; checked in `flows.schedules`."""
    gpu_slots: Annotated[int, Field(ge=1)] = 1
    """How many GPU slots the scheduled runs share; each entry says how many it occupies."""

    @field_validator("include", "exclude", "metadata_columns", mode="before")
    @classmethod
    def _split_list(cls, names: Any) -> Any:
        """A list, or one string with commas, as variables have it."""
        if isinstance(names, str):
            return tuple(part.strip() for part in names.split(",") if part.strip())
        return names

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

    @property
    def remote_limits(self) -> RemoteLimits:
        """What sources on other machines may do, for `discover`."""
        return RemoteLimits(**self.model_dump(include=set(RemoteLimits.model_fields)))

    @property
    def record_columns(self) -> RecordColumns:
        """Which columns of record files hold what."""
        return RecordColumns(
            text_column=self.text_column,
            title_column=self.title_column,
            id_column=self.id_column,
            metadata_columns=self.metadata_columns,
            text_format=self.text_format,
        )

    @property
    def server_options(self) -> ServerOptions:
        """How to talk to a Qdrant server, for `open_store`."""
        return ServerOptions(
            grpc=self.server_grpc,
            grpc_port=self.server_grpc_port,
            timeout_seconds=self.server_timeout_seconds,
            streams=self.server_streams,
            max_request_mb=self.server_max_request_mb,
            ca_certificate=self.server_ca,
            allow_insecure_key=self.server_insecure_key,
        )

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
        value = "" if name.endswith("api_key") else f" is {first['input']!r}"
        raise InvalidInput(f"setting {name!r}{value} ({source}): {expected}") from None


def _source(name: str) -> str:
    import os

    variable = f"{ENVIRONMENT_PREFIX}{name.upper()}"
    if any(key.upper() == variable for key in os.environ):
        return variable
    return SETTINGS_FILE if Path(SETTINGS_FILE).exists() else "default"
