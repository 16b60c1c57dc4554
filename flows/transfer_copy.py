"""Copying a collection from one store to another, whichever engines they have."""

import time

from flows.errors import InvalidInput
from flows.progress import Progress
from flows.transfer import TransferReport, fill, leftover, verify
from search.collections import base_name, check_alias, create_version
from search.errors import CollectionExists, FingerprintMismatch
from search.stores.contract import Manifest, StorageOptions, Store


def copy_collection(
    source: Store, target: Store, *, collection: str, name: str | None, progress: Progress
) -> TransferReport:
    """Copy all points of a collection into a new version, and let its name lead there at the end.

    Whoever searches the target meanwhile gets what was there before. A copy that was killed is
    taken up by the same command; one that finds the target's name in use moves it over, and leaves
    what it led to before.

    Args:
        source: Where the collection is.
        target: Where the copy goes; may be the same store.
        collection: Its name or alias.
        name: The copy's alias; None: the same.
        progress: Told of the points.

    Raises:
        CollectionNotFound: there is no such collection.
        CollectionExists: a collection without versions has the target's name.
        FingerprintMismatch: the target's name leads to a collection of another encoder.
        TransferFailed: the copy is not the same; the alias stays where it was.
    """
    began = time.perf_counter()
    alias = check_alias(base_name(name or collection))
    if source.location == target.location and alias == base_name(collection):
        raise InvalidInput(
            f"collection {collection!r} would be copied onto itself; give --as another name"
        )
    opened = source.open(collection)
    manifest = opened.manifest
    replaced = require_room(target, alias, manifest)
    kept = manifest.model_copy(update={"storage": _storage(manifest, target)})
    unfinished = leftover(target, alias, manifest)
    copy = target.open(unfinished.name) if unfinished else create_version(target, alias, kept)
    progress.stage(f"copying {collection}", opened.count())
    filled = fill(copy, opened.scroll(with_vectors=True), progress)
    progress.stage("indexing")
    copy.optimize()
    progress.stage("comparing")
    difference = verify(copy, filled)
    target.set_alias(alias, copy.manifest.name)
    return TransferReport(
        source=f"{collection} in {source.location}",
        store=target.location,
        collection=alias,
        version=copy.manifest.name,
        replaced=replaced,
        points=filled.points,
        kinds=dict(filled.kinds),
        written=filled.written,
        present=filled.present,
        removed=filled.removed,
        sampled=len(filled.sample),
        max_difference=difference,
        seconds=round(time.perf_counter() - began, 3),
    )


def require_room(target: Store, alias: str, manifest: Manifest) -> str:
    """What an alias leads to now, if that may be replaced; empty if there is no such alias.

    Raises:
        CollectionExists: a collection without versions has the name.
        FingerprintMismatch: it leads to a collection of another encoder.
    """
    there = {found.name: found for found in target.list()}
    if alias in there:
        raise CollectionExists(
            f"collection {alias!r} is there already in {target.location}, without versions; "
            "give --as another name, or delete it first"
        )
    current = target.aliases().get(alias, "")
    if current in there and there[current].fingerprint != manifest.fingerprint:
        raise FingerprintMismatch(
            f"{alias!r} in {target.location} leads to {current!r}, which another encoder built "
            f"(fingerprint {there[current].fingerprint[:12]}, to be copied "
            f"{manifest.fingerprint[:12]}); give --as another name"
        )
    return current


def _storage(manifest: Manifest, target: Store) -> StorageOptions:
    """The options that the target's engine knows: the others are for servers only."""
    if "://" in target.location:
        return manifest.storage
    return StorageOptions(quantisation=manifest.storage.quantisation)
