"""`robots.txt` as RFC 9309 has it: the longest rule that matches a path decides.

Python's own parser takes the first rule instead of the longest, and knows no wildcards.
"""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

MAX_ROBOTS_BYTES: Final = 512 * 1024
"""What follows is not read."""
MAX_DELAY_SECONDS: Final = 10.0
"""A longer `Crawl-delay` is not kept to; with it, few sites could be read at all."""

_ASCII: Final = "".join(chr(code) for code in range(33, 127))
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]")


@dataclass(frozen=True)
class Robots:
    """What one site asks of one crawler."""

    rules: tuple[tuple[str, bool], ...] = ()
    """Patterns, and whether what they match may be fetched."""
    delay: float = 0.0
    """Seconds between two requests."""

    def allows(self, target: str) -> bool:
        """Whether a path, with its query, may be fetched."""
        path = _normal(target)
        found = [(len(p), allowed) for p, allowed in self.rules if _matches(p, path)]
        return max(found, default=(0, True))[1]  # of two that are equally long, the one that allows


@dataclass
class _Group:
    agents: set[str] = field(default_factory=set)
    rules: list[tuple[str, bool]] = field(default_factory=list)
    delay: float = 0.0


def read_robots(data: bytes, agent: str) -> Robots:
    """The rules for a crawler, or those for all where it is not named.

    Args:
        data: The file; what cannot be read of it is skipped.
        agent: The crawler's name, in lower case.
    """
    groups: list[_Group] = []
    in_rules = True
    for line in data[:MAX_ROBOTS_BYTES].decode("utf-8-sig", "replace").splitlines():
        name, _, value = (part.strip() for part in line.partition("#")[0].partition(":"))
        name = name.lower()
        if name == "user-agent":
            if in_rules:
                groups.append(_Group())
                in_rules = False
            groups[-1].agents.add(value.split("/")[0].strip().lower())
        elif groups and name in ("allow", "disallow", "crawl-delay"):
            in_rules = True
            if name == "crawl-delay":
                groups[-1].delay = _seconds(value)
            elif value:
                groups[-1].rules.append((_normal(value), name == "allow"))
    for wanted in (agent, "*"):
        meant = [group for group in groups if wanted in group.agents]
        if meant:
            return Robots(
                rules=tuple(rule for group in meant for rule in group.rules),
                delay=max(group.delay for group in meant),
            )
    return Robots()


def _seconds(value: str) -> float:
    return min(float(value), MAX_DELAY_SECONDS) if re.fullmatch(r"\d{1,6}(\.\d*)?", value) else 0.0


def _normal(path: str) -> str:
    """One spelling of a path: `%7E` as `~`, `%2f` as `%2F`, `ü` as `%C3%BC`."""

    def octet(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if _UNRESERVED.fullmatch(character) else match[0].upper()

    return re.sub(r"%([0-9A-Fa-f]{2})", octet, quote(path, safe=_ASCII))


def _matches(pattern: str, path: str) -> bool:
    """Whether a pattern matches a path from its start; in time linear in the path, whatever it is.

    `*` stands for anything, `$` at the end for the path's end.
    """
    ends = pattern.endswith("$")
    first, *others = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    last = others.pop() if others and ends else None
    for piece in others:
        at = path.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    if last is not None:
        return path.endswith(last) and len(path) - len(last) >= at
    return not ends or at == len(path)
