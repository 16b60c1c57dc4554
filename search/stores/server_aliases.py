"""Aliases on a server: Qdrant's own, changed in one request, so that no reader sees a gap.

Aliases that lead to collections that Sextant did not make are another program's: they are neither
listed nor moved nor removed.
"""

import contextlib
from collections.abc import Callable, Sequence

from qdrant_client import models

from search.errors import CollectionExists, CollectionNotFound, InvalidRequest
from search.stores import manifests
from search.stores.server_failures import Refused
from search.stores.server_link import ServerLink


class Aliases:
    """The aliases of one server."""

    def __init__(self, link: ServerLink, *, is_ours: Callable[[str], bool]) -> None:
        """Sends nothing.

        Args:
            link: The way to the server.
            is_ours: Whether Sextant made the collection of that name.
        """
        self._link = link
        self._is_ours = is_ours

    def all(self) -> dict[str, str]:
        """Alias -> collection, whosever they are."""
        answer = self._link.call("aliases", self._link.client.get_aliases)
        return {one.alias_name: one.collection_name for one in answer.aliases}

    def ours(self) -> dict[str, str]:
        """Alias -> collection, ordered by alias, of collections that Sextant made."""
        every = self.all()
        made_here = {name for name in set(every.values()) if self._is_ours(name)}
        return {alias: name for alias, name in sorted(every.items()) if name in made_here}

    def resolve(self, name: str) -> str:
        """The collection that an alias leads to; any other name is its own.

        A key that may read one collection only may not list aliases; it knows the collection's
        own name.
        """
        with contextlib.suppress(Refused):
            return self.all().get(name, name)
        return name

    def set(self, alias: str, target: str | None) -> None:
        """Let an alias lead to a collection, or remove it; see `contract.Store.set_alias`."""
        manifests.check_name(alias)
        if target is not None:
            manifests.check_name(target)
        every = self.all()
        current = every.get(alias)
        if current is not None and not self._is_ours(current):
            taken = CollectionNotFound if target is None else CollectionExists
            raise taken(
                f"alias {alias!r} on {self._link.location} leads to a collection that Sextant did "
                "not make; choose another name"
            )
        if target is None:
            if current is None:
                raise CollectionNotFound(
                    f"no alias {alias!r} on {self._link.location}; "
                    f"there are: {', '.join(self.ours()) or 'none'}"
                )
        else:
            self._check_target(alias, target, every)
        if target != current:
            self._change(alias, current, target)

    def require_unaliased(self, name: str) -> None:
        """Refuse to delete what an alias leads to, or an alias itself.

        Raises:
            InvalidRequest: the name is an alias, or one leads to it.
        """
        every = self.all()
        if name in every:
            raise InvalidRequest(
                f"{name!r} is an alias of collection {every[name]!r}; remove the alias first, "
                "then delete the collection by its own name"
            )
        leading = sorted(alias for alias, target in every.items() if target == name)
        if leading:
            raise InvalidRequest(
                f"collection {name!r} is in use as {', '.join(map(repr, leading))}; "
                "remove the alias first, or let it lead elsewhere"
            )

    def _check_target(self, alias: str, target: str, every: dict[str, str]) -> None:
        if target in every:
            raise CollectionNotFound(
                f"{target!r} on {self._link.location} is an alias; "
                f"name the collection itself: {every[target]!r}"
            )
        if not self._is_ours(target):
            raise CollectionNotFound(
                f"no collection {target!r} of Sextant's on {self._link.location}; check the name"
            )
        found = self._link.call("collections", self._link.client.get_collections).collections
        if alias in {description.name for description in found}:
            raise CollectionExists(
                f"collection {alias!r} is there on {self._link.location}; choose another name for "
                "the alias, or delete the collection"
            )

    def _change(self, alias: str, current: str | None, target: str | None) -> None:
        operations: list[models.AliasOperations] = []
        if current is not None:
            removed = models.DeleteAlias(alias_name=alias)
            operations.append(models.DeleteAliasOperation(delete_alias=removed))
        if target is not None:
            made = models.CreateAlias(alias_name=alias, collection_name=target)
            operations.append(models.CreateAliasOperation(create_alias=made))
        self._send(alias, operations, target)

    def _send(
        self, alias: str, operations: Sequence[models.AliasOperations], target: str | None
    ) -> None:
        subject = f"collection {target!r}" if target is not None else f"alias {alias!r}"
        self._link.change(
            subject,
            lambda: self._link.client.update_collection_aliases(operations),
            is_done=lambda: self.all().get(alias) == target,
        )
