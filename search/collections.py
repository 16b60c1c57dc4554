"""Collections as people name them: whether an encoder belongs to one, and its versions.

What people name is an **alias**, `docs`; it leads to a **version**, `docs--3f9a01c2-1`: alias,
beginning of the encoder's fingerprint, number. Another encoder makes another version beside the
first, and the alias moves over in one step. A collection that has the plain name itself, as older
ones do, works as it is, without versions.
"""

import re
from typing import Final

from search.errors import CollectionExists, CollectionNotFound, FingerprintMismatch, InvalidRequest
from search.stores.contract import Collection, Manifest, Store
from search.stores.manifests import check_name

SHOWN: Final = 12
"""Characters of a fingerprint in a message: enough to tell two apart."""
SEPARATOR: Final = "--"
MAX_ALIAS: Final = 48
"""Characters of an alias: a version's name is longer, and has a limit of its own."""

_VERSION: Final = re.compile(
    rf"(?P<alias>.+){SEPARATOR}(?P<digest>[0-9a-f]{{8}})-(?P<number>[1-9]\d*)"
)


def encoder_name(manifest: Manifest) -> str:
    """What the collection calls the encoder that built it."""
    return str(manifest.encoder.get("name", "of unknown name"))


def require_fingerprint(
    manifest: Manifest, fingerprint: str, *, current_encoder: str | None = None
) -> None:
    """Refuse an encoder other than the one that built the collection.

    Vectors of two encoders do not compare: a search would answer, and every answer be noise.

    Args:
        manifest: The collection's.
        fingerprint: The encoder's in use.
        current_encoder: That encoder's name, for the message.

    Raises:
        FingerprintMismatch: they differ; the message names both, and the ways out.
    """
    if manifest.fingerprint == fingerprint:
        return
    built = encoder_name(manifest)
    current = "in use" if current_encoder is None else f"{current_encoder!r} in use"
    if built == current_encoder:
        raise FingerprintMismatch(
            f"collection {base_name(manifest.name)!r} was built by an earlier state of encoder "
            f"{built!r} "
            f"(fingerprint {manifest.fingerprint[:SHOWN]}, now {fingerprint[:SHOWN]}): its files, "
            "or how Sextant reads them, have changed; ingest again into another `--collection`"
        )
    raise FingerprintMismatch(
        f"collection {base_name(manifest.name)!r} was built by encoder {built!r} "
        f"(fingerprint {manifest.fingerprint[:SHOWN]}), the encoder {current} has fingerprint "
        f"{fingerprint[:SHOWN]}; use `--encoder {built}`, or another `--collection`, or ingest "
        "again into a new one"
    )


def check_alias(name: str) -> str:
    """The name, if it can be that of an alias with versions.

    Raises:
        InvalidRequest: it is no collection name, too long, or reads like a version's own name.
    """
    check_name(name)
    if len(name) > MAX_ALIAS or _VERSION.fullmatch(name):
        raise InvalidRequest(
            f"collection name {name!r}: expected at most {MAX_ALIAS} characters, and not the form "
            f"NAME{SEPARATOR}FINGERPRINT-NUMBER, which versions have; choose another"
        )
    return name


def base_name(name: str) -> str:
    """The alias that a version belongs to, by its name; any other name as it is.

    >>> base_name("docs--3f9a01c2-1"), base_name("docs")
    ('docs', 'docs')
    """
    parts = _VERSION.fullmatch(name)
    return parts["alias"] if parts else name


def version_number(name: str) -> int:
    """The number of a version, 0 for a collection that is none."""
    parts = _VERSION.fullmatch(name)
    return int(parts["number"]) if parts else 0


def versions(store: Store, alias: str) -> list[Manifest]:
    """All versions of an alias, oldest first, whether or not the alias leads to one of them."""
    found = [
        manifest
        for manifest in store.list()
        if version_number(manifest.name) and base_name(manifest.name) == alias
    ]
    return sorted(found, key=lambda manifest: version_number(manifest.name))


def create_version(store: Store, alias: str, manifest: Manifest) -> Collection:
    """Make the next version of an alias; the alias itself stays where it is.

    Args:
        store: Where.
        alias: What people call it.
        manifest: All but the name, which follows from the alias, fingerprint and number.

    Raises:
        InvalidRequest: see `check_alias`.
        CollectionExists: somebody else made this version at the same moment.
    """
    check_alias(alias)
    last = max((version_number(one.name) for one in versions(store, alias)), default=0)
    name = f"{alias}{SEPARATOR}{manifest.fingerprint[:8]}-{last + 1}"
    return store.create(manifest.model_copy(update={"name": name}))


def open_or_adopt(store: Store, alias: str) -> Collection:
    """Open what the alias leads to, or what it was about to lead to when its maker was killed.

    Raises:
        CollectionNotFound: there is neither.
    """
    try:
        return store.open(alias)
    except CollectionNotFound:
        found = versions(store, alias)
        if len(found) != 1:  # several: which of them was in use cannot be told
            raise
        store.set_alias(alias, found[0].name)
        return store.open(alias)


def create_aliased(store: Store, alias: str, manifest: Manifest) -> Collection:
    """Make the first version of a collection, and the alias that leads to it.

    Raises:
        InvalidRequest: see `check_alias`.
        CollectionExists: the alias, or a collection of its name, is there already.
    """
    if alias in store.aliases():
        raise CollectionExists(f"collection {alias!r} is there already in {store.location}")
    collection = create_version(store, alias, manifest)
    store.set_alias(alias, collection.manifest.name)
    return collection
