"""Damage: files changed at random, as disks, networks, editors and malice change them."""

import gzip
import io
import random
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final, TypeAlias

from flows.documents.compression import compression_of

Mutation: TypeAlias = Callable[[bytes, random.Random], bytes]

MAX_BYTES: Final = 4 * 1024 * 1024
"""No mutation makes more of a file."""
_ZIPS: Final = (".docx", ".pptx", ".xlsx", ".epub")
_NESTS: Final = (
    b"[", b"{\"a\":", b"(", b"<div>", b"<w:p>", b"> ", b"* ", b"((((", b"<</A ", b"&lt;",
)  # fmt: skip


def bit_flips(data: bytes, rng: random.Random) -> bytes:
    """One to thirty bits are others."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 30) if data else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncation(data: bytes, rng: random.Random) -> bytes:
    """The file breaks off, perhaps before its first byte."""
    return data[: rng.randint(0, len(data))]


def splice(data: bytes, rng: random.Random) -> bytes:
    """A piece of the file stands in another place of it."""
    start, end = _span(data, rng)
    at = rng.randint(0, len(data))
    return data[:at] + data[start:end] + data[at:]


def removal(data: bytes, rng: random.Random) -> bytes:
    """A piece is missing."""
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def repetition(data: bytes, rng: random.Random) -> bytes:
    """A piece stands there many times."""
    start, end = _span(data, rng)
    times = min(rng.choice((2, 10, 1000, 100_000)), MAX_BYTES // max(1, end - start))
    return data[:start] + data[start:end] * times + data[end:]


def lengths(data: bytes, rng: random.Random) -> bytes:
    """Numbers of two, four or eight bytes are very large, negative, or nought."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        width = rng.choice((2, 4, 8))
        if len(changed) >= width:
            at = rng.randrange(len(changed) - width + 1)
            value = rng.choice((0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), 2**15, 2**31 - 1))
            changed[at : at + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(changed)


def digits(data: bytes, rng: random.Random) -> bytes:
    """Numbers that are written out are others."""
    places = [i for i, byte in enumerate(data) if byte in b"0123456789"]
    changed = bytearray(data)
    for at in rng.sample(places, min(len(places), rng.randint(1, 20))):
        changed[at] = rng.choice(b"0123456789-e")
    return bytes(changed)


def nesting(data: bytes, rng: random.Random) -> bytes:
    """Something is opened again and again, and never closed."""
    opened = rng.choice(_NESTS) * rng.choice((100, 3_000, 100_000))
    at = rng.choice((0, len(data), rng.randint(0, len(data))))
    return data[:at] + opened[:MAX_BYTES] + data[at:]


def noise(data: bytes, rng: random.Random) -> bytes:
    """A run of random bytes takes the place of others."""
    start, end = _span(data, rng)
    return data[:start] + rng.randbytes(end - start) + data[end:]


def zeros(data: bytes, rng: random.Random) -> bytes:
    """A run of zero bytes, as a crash leaves it."""
    start, end = _span(data, rng)
    return data[:start] + bytes(end - start) + data[end:]


MUTATIONS: Final[Sequence[Mutation]] = (
    bit_flips,
    truncation,
    splice,
    removal,
    repetition,
    lengths,
    digits,
    nesting,
    noise,
    zeros,
)


def mutate(name: str, data: bytes, rng: random.Random) -> tuple[str, bytes, str]:
    """A damaged file: its name, its bytes, and what was done to it.

    Half of the compressed files and archives are damaged inside, and sound outside: otherwise
    little of them would get past their checksums. A few sound files have another's suffix, see
    `misnamed`.
    """
    done = [rng.choice(MUTATIONS) for _ in range(rng.choice((1, 1, 2, 3)))]

    def damage(content: bytes) -> bytes:
        for mutation in done:
            content = mutation(content, rng)[:MAX_BYTES]
        return content

    inside = rng.random() < 0.5 and (
        PurePosixPath(name).suffix in _ZIPS or compression_of(name) is not None
    )
    damaged = _inside(name, data, damage, rng) if inside else damage(data)
    words = "+".join(mutation.__name__ for mutation in done)
    return name, damaged, f"{words} inside" if inside else words


def misnamed(names: Mapping[str, bytes], rng: random.Random) -> tuple[str, bytes, str]:
    """A sound file under the suffix of another."""
    name, other = rng.sample(sorted(names), 2)
    stem = PurePosixPath(name).name.split(".")[0]
    return f"{stem}.{other.split('.', 1)[1]}", names[name], "wrong suffix"


def _inside(name: str, data: bytes, damage: Callable[[bytes], bytes], rng: random.Random) -> bytes:
    """Damage what a sound container holds."""
    kind = compression_of(name)
    if kind == "gzip":
        return gzip.compress(damage(gzip.decompress(data)))
    if kind == "zstd":
        import zstandard

        return zstandard.compress(damage(zstandard.decompress(data)))
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w", 8) as new:
        victim = rng.choice([m for m in old.namelist() if m.endswith((".xml", ".xhtml", ".opf"))])
        for member in old.namelist():
            content = old.read(member)
            new.writestr(member, damage(content) if member == victim else content)
    return made.getvalue()


def _span(data: bytes, rng: random.Random) -> tuple[int, int]:
    """A piece of the file: mostly a short one, sometimes most of it."""
    start = rng.randint(0, len(data))
    most = len(data) - start
    return start, start + (rng.randint(0, most) if rng.random() < 0.3 else min(most, 16))
