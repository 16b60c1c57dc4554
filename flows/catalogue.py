"""The collections of a store as people name them: an alias with its versions, or a plain one."""

from dataclasses import dataclass

from search.collections import base_name, version_number
from search.errors import CollectionNotFound
from search.stores.contract import Manifest, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One collection of a store."""

    name: str
    """What people call it: for a version, its alias."""
    manifest: Manifest
    in_use: bool
    """Whether searches and ingests that say `name` get this one: not so an old version."""


def catalogue(store: Store) -> list[Listed]:
    """All collections, by name; of several versions the one in use first, then the newest."""
    leads_to = store.aliases()
    named = {target: alias for alias, target in leads_to.items()}
    found = []
    for manifest in store.list():
        name = named.get(manifest.name, base_name(manifest.name))
        in_use = manifest.name in named or not version_number(manifest.name)
        found.append(Listed(name=name, manifest=manifest, in_use=in_use))
    return sorted(
        found, key=lambda one: (one.name, not one.in_use, -version_number(one.manifest.name))
    )


def delete_named(store: Store, name: str) -> list[str]:
    """Delete a collection with all its versions and its alias; of a version's own name, only that.

    Returns:
        The names of what was deleted.

    Raises:
        CollectionNotFound: there is none of that name.
        InvalidRequest: a version that its alias leads to.
        StoreInUse: another process has one of them open; those before it are deleted.
    """
    aliases = store.aliases()
    if name not in aliases:
        found = [one.manifest.name for one in catalogue(store) if one.name == name]
        if version_number(name) or name in found:
            store.delete(name)
            return [name]
        if not found:
            raise CollectionNotFound(
                f"no collection {name!r} in {store.location}; see `sextant collections list`"
            )
        for version in found:
            store.delete(version)
        return found
    current = aliases[name]
    versions = [one.manifest.name for one in catalogue(store) if one.name == name]
    for version in versions:
        if version != current:
            store.delete(version)
    store.open(current).close()  # in use by another process: refused while the alias still stands
    store.set_alias(name, None)
    store.delete(current)
    return versions
