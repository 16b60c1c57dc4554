"""How a command that failed ends: one clear line on standard error, and an exit code."""

import os
import sys
from typing import Final

import typer

from flows import console
from flows.errors import FlowError, InvalidInput

DONE: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2
WITH_QUARANTINE: Final = 3
INTERRUPTED: Final = 130

MESSAGE_CHARACTERS: Final = 2000


def explain(error: Exception) -> int:
    """Say what failed in one line (the value, what was expected, the remedy).

    Returns:
        `WRONG_USAGE` if the command line as typed cannot be right, `FAILED` if the world refused.
    """
    from typer._click.exceptions import NoArgsIsHelpError

    from embedder.errors import EmbedderError, InvalidConfig
    from search.errors import InvalidRequest, SearchError

    if isinstance(error, NoArgsIsHelpError):
        console.say(error.format_message())
        return WRONG_USAGE
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "sextant"
        message = error.format_message().strip().rstrip(".")
        console.complain(f"{message[:1].lower()}{message[1:]}; see `{command} --help`")
        return WRONG_USAGE
    if isinstance(error, typer.Abort):
        console.complain("nothing was done")
        return FAILED
    if isinstance(error, BrokenPipeError):
        # nobody reads on; what is still buffered must not fail again when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if isinstance(error, InvalidInput | InvalidRequest | InvalidConfig):
        console.complain(_first_line(error))
        return WRONG_USAGE
    if isinstance(error, FlowError | SearchError | EmbedderError):
        console.complain(_first_line(error))
        return FAILED
    console.complain(
        f"unexpected {type(error).__name__}: {_first_line(error)}; "
        "`sextant --debug ...` shows where; what was committed stays"
    )
    return FAILED


def _first_line(error: Exception) -> str:
    """The first line that says something, without control characters."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return console.one_line(lines[0] if lines else type(error).__name__, MESSAGE_CHARACTERS)
