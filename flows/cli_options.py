"""Options that several commands share, and what is made of them."""

import json
import os
import sys
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from flows.session import Target
    from flows.settings import Settings


class Debugging:
    """Whether `--debug` was given, before or after the command's name."""

    wanted = False


def _debug(wanted: bool) -> None:
    if wanted:
        Debugging.wanted = True
        warnings.simplefilter("default")
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")


Debug = Annotated[
    bool,
    typer.Option("--debug", callback=_debug, help="Show tracebacks, warnings and Prefect's logs"),
]
Collection = Annotated[
    str | None, typer.Option("--collection", metavar="NAME", help="Collection [default: docs]")
]
Encoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="starter|PRESET|DIR|HUB-ID",
        help="Encoder [default: the collection's own; starter for a new one]",
    ),
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="DIR|URL",
        help="Folder, or a Qdrant server's address (key: SEXTANT_API_KEY) [default: .sextant]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection's name")]


def settings_of(**options: Any) -> "Settings":
    """The settings in force; an option that is None was not given."""
    from flows.settings import load_settings

    return load_settings(**options)


def target_of(**options: Any) -> "Target":
    """What a run works on, from the settings in force."""
    from flows.session import Target

    return Target.of(settings_of(**options))


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on one line of standard output, in ASCII where it takes nothing else."""
    from flows import console

    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(value, allow_nan=False)
    console.say(text)
