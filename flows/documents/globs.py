"""Which of a source's documents count: include and exclude globs, as in a `.gitignore`.

A glob without a slash names a file or folder at any depth; one with a slash starts at the source's
folder. `*`, `?` and `[a-z]` stay within one name, `**` spans folders, a slash at the end means a
folder only. A folder that matches stands for all that lies in it. There is no `!`: what one option
takes in and the other leaves out is left out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from flows.errors import InvalidInput

EXCLUDED: Final = "excluded"
"""Why a document was left out, in counts."""


@dataclass(frozen=True)
class Selection:
    """Globs that a document's path below its source must match, and must not match.

    Raises:
        InvalidInput: a glob is wrong.
    """

    include: tuple[str, ...] = ()
    """At least one of these, where there are any."""
    exclude: tuple[str, ...] = ()
    """None of these."""

    def __post_init__(self) -> None:
        """Check all globs."""
        for glob in (*self.include, *self.exclude):
            compile_glob(glob)

    @cached_property
    def _included(self) -> tuple[re.Pattern[str], ...]:
        return tuple(compile_glob(glob) for glob in self.include)

    @cached_property
    def _excluded(self) -> tuple[re.Pattern[str], ...]:
        return tuple(compile_glob(glob) for glob in self.exclude)

    def takes(self, path: str) -> bool:
        """Whether a document counts, by its path below its source, with forward slashes."""
        if any(pattern.fullmatch(path) for pattern in self._excluded):
            return False
        return not self.include or any(pattern.fullmatch(path) for pattern in self._included)

    def skips_folder(self, path: str) -> bool:
        """Whether all that a folder holds is left out, so that it need not be looked into."""
        # No document's path ends in a slash: what matches one stands for all that lies below it.
        return any(pattern.fullmatch(f"{path}/") for pattern in self._excluded)


EVERYTHING: Final = Selection()


@lru_cache(maxsize=256)
def compile_glob(glob: str) -> re.Pattern[str]:
    """A pattern that fully matches the paths of documents for which the glob stands.

    Examples: `*.md` matches `a.md` and `sub/a.md`; `/*.md` and `./*.md` match `a.md` alone;
    `drafts/**` and `/drafts/` match all in the folder `drafts`, `drafts/` in any such folder;
    `a/**/b` matches `a/b` and `a/x/y/b`.

    Raises:
        InvalidInput: it is empty, starts with `!`, holds `..` or a backslash, or a bracket stays
            open.
    """
    anchored, names, folder_only = _parts(glob)
    pattern = "" if anchored else "(?:.*/)?"
    for number, name in enumerate(names):
        last = number == len(names) - 1
        if name == "**":
            pattern += ".*" if last else "(?:[^/]+/)*"
        else:
            pattern += _name(name, glob) + ("" if last else "/")
    if names[-1] != "**":
        pattern += "/.*" if folder_only else "(?:/.*)?"
    return re.compile(pattern, re.DOTALL)


def _parts(glob: str) -> tuple[bool, Sequence[str], bool]:
    """Whether the glob starts at the source, its names, whether it means folders only."""
    for wrong, remedy in (
        ("!" if glob.startswith("!") else "", "name what counts with --include instead"),
        ("\\" if "\\" in glob else "", "write folders with forward slashes, and * as [*]"),
    ):
        if wrong:
            raise InvalidInput(f"glob {glob!r}: {wrong!r} has no meaning here; {remedy}")
    names = [name for name in glob.split("/") if name not in ("", ".")]
    if not names:
        raise InvalidInput(f"glob {glob!r} names nothing; expected e.g. *.md or drafts/**")
    if ".." in names:
        raise InvalidInput(f"glob {glob!r} leads out of its source; globs start at its folder")
    return "/" in glob.rstrip("/"), names, glob.endswith("/")


def _name(name: str, glob: str) -> str:
    """The pattern of one name of a path."""
    pattern, at = "", 0
    while at < len(name):
        character = name[at]
        at += 1
        if character == "*":
            pattern += "[^/]*"
            at += len(name[at:]) - len(name[at:].lstrip("*"))
        elif character == "?":
            pattern += "[^/]"
        elif character == "[":
            # as in a shell: a bracket that comes first is one of the characters
            first = at + 1 if name[at : at + 1] in ("!", "^") else at
            end = name.find("]", first + 1)
            if end < 0:
                raise InvalidInput(f"glob {glob!r}: a '[' is not closed; write it as [[]")
            pattern += _characters(name[at:end], glob)
            at = end + 1
        else:
            pattern += re.escape(character)
    return pattern


def _characters(inside: str, glob: str) -> str:
    """The pattern of what stands between brackets."""
    negated = inside[:1] in ("!", "^")
    members = re.sub(r"([\[\]^&~|])", r"\\\1", inside[1:] if negated else inside)
    members = re.sub(r"-{2,}", r"\\-", members)  # which `re` keeps for set difference
    pattern = f"(?!/)[{'^' if negated else ''}{members}]"
    try:
        re.compile(pattern)
    except re.error as error:
        raise InvalidInput(f"glob {glob!r}: [{inside}] is no set of characters: {error}") from None
    return pattern
