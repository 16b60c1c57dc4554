"""`robots.txt` by RFC 9309: groups, the longest match, wildcards; bounded in time."""

import pytest

from flows.documents.remote.robots import MAX_DELAY_SECONDS, Robots, read_robots


def rules(text: str) -> Robots:
    return read_robots(text.encode(), "sextant")


@pytest.mark.parametrize(
    ("text", "target", "allowed"),
    [
        ("", "/x", True),
        ("User-agent: *\nDisallow: /", "/x", False),
        ("User-agent: *\nDisallow:", "/x", True),
        ("User-agent: *\nAllow: /\nDisallow: /private", "/private/x", False),
        ("User-agent: *\nDisallow: /\nAllow: /docs", "/docs/x", True),
        ("User-agent: *\nDisallow: /x\nAllow: /x", "/x", True),
        ("User-agent: *\nDisallow: /*.pdf$", "/a/b.pdf", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/a/b.pdf?x", True),
        ("User-agent: *\nDisallow: /a*b*c", "/axxbyyc", False),
        ("User-agent: *\nDisallow: /a*b*c", "/axxcyyb", True),
        ("User-agent: *\nDisallow: /x$", "/xy", True),
        ("User-agent: *\nDisallow: /*", "/", False),
        ("User-agent: *\nDisallow: /ü", "/%c3%bc/x", False),
        ("User-agent: *\nDisallow: /%7Ejoe", "/~joe", False),
        ("User-agent: *\nDisallow: /a%2fb", "/a/b", True),
        ("User-agent: *\nDisallow: /s?id=", "/s?id=3", False),
        ("User-agent: *\nDisallow: /\n\nUser-agent: Sextant/1.0\nAllow: /", "/x", True),
        ("User-agent: other\nUser-agent: sextant\nDisallow: /x", "/x", False),
        ("User-agent: sextant\nDisallow: /x\nUser-agent: sextant\nDisallow: /y", "/y", False),
        ("User-agent: sextantbot\nDisallow: /", "/x", True),
        ("Disallow: /\n", "/x", True),
        ("\ufeffuser-AGENT : * # all\r\ndisallow:/x # not\r\nSitemap: https://h/", "/x", False),
        ("User-agent: *\nnonsense\nDisallow: /x", "/x", False),
    ],
)
def test_rules(text: str, target: str, allowed: bool) -> None:
    """Worked examples."""
    assert rules(text).allows(target) is allowed


def test_delays() -> None:
    """Kept to within a bound; nonsense is none."""
    assert rules("User-agent: *\nCrawl-delay: 2.5\nDisallow: /x").delay == 2.5
    assert rules("User-agent: *\nCrawl-delay: 86400").delay == MAX_DELAY_SECONDS
    assert rules("User-agent: *\nCrawl-delay: nan").delay == 0


def test_hostile_patterns_take_no_time() -> None:
    """Hundreds of wildcards against a long path: a backtracking matcher would not come back."""
    assert rules(f"User-agent: *\nDisallow: /{'*a' * 900}*b").allows("/" + "a" * 2000)
