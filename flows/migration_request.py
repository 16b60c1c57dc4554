"""What a migration is asked for, and which versions and encoders that means."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from embedder.errors import EmbedderError
from embedder.specification import EncoderSpecification, specify
from flows.errors import FlowError, InvalidInput
from flows.migration_evidence import MOST_SAMPLED, SAMPLE
from flows.migration_state import MigrationState, UnderWay, utc_now
from flows.session import encoder_of
from search.collections import base_name, encoder_name, open_or_adopt, versions
from search.stores.contract import Manifest, Store
from search.stores.manifests import check_name


class MigrationRequest(BaseModel):
    """What to migrate, to which encoder, and when to switch: the flow's parameter, no secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str
    collection: str
    """The alias."""
    encoder: str | None = None
    """None: that of the migration under way."""
    switch: bool = False
    """Whether the alias moves to the new version, if `min_overlap` does not forbid it."""
    min_overlap: float | None = None
    """Switch if the evidence has this overlap, 0 to 1; see `Evidence.refusal`."""
    queries: str | None = None
    """A file, one query a line."""
    sample: int = SAMPLE
    """Queries taken from the collection itself."""
    skip_unfit: bool = False
    """Whether documents that the new encoder cannot take whole go to the new quarantine."""

    @model_validator(mode="after")
    def _check(self) -> "MigrationRequest":
        if self.min_overlap is not None and not 0 <= self.min_overlap <= 1:
            raise InvalidInput(f"--min-overlap {self.min_overlap:g}: expected 0 to 1")
        if not 1 <= self.sample <= MOST_SAMPLED:
            raise InvalidInput(f"--sample {self.sample}: expected 1 to {MOST_SAMPLED}")
        check_alias_name(self.collection)
        return self

    @property
    def wants_switch(self) -> bool:
        """Whether the run may end in a switch."""
        return self.switch or self.min_overlap is not None


@dataclass(frozen=True, kw_only=True)
class Course:
    """From which version, by which encoder, into which version."""

    old: Manifest
    old_encoder: EncoderSpecification | None
    """None: it is not there any more, or no longer the same."""
    encoder: EncoderSpecification
    new: str | None
    """A version to go on with; None: one is to be made."""
    made: bool
    """Whether that version is, or will be, this migration's own."""


def check_alias_name(name: str) -> str:
    """The name, if it is not that of a version.

    Raises:
        InvalidInput: it is.
        InvalidRequest: it is no collection's name.
    """
    if base_name(check_name(name)) != name:
        raise InvalidInput(
            f"{name!r} is the name of one version; name the collection, {base_name(name)!r}"
        )
    return name


def version_in_use(store: Store, alias: str) -> Manifest:
    """The version that an alias leads to.

    Raises:
        InvalidInput: the collection has no versions.
        CollectionNotFound: there is none of that name.
    """
    manifests = {manifest.name: manifest for manifest in store.list()}
    if alias in manifests:
        raise InvalidInput(
            f"collection {alias!r} has no versions: it has that name itself, which an alias would "
            f"need; copy it under another name and migrate that: `sextant copy --from STORE --to "
            f"STORE --collection {alias} --as NAME`"
        )
    target = store.aliases().get(alias)
    if target in manifests:
        return manifests[target]
    collection = open_or_adopt(store, alias)
    try:
        return collection.manifest
    finally:
        collection.close()


def settled(state: MigrationState, store: Store, in_use: str) -> MigrationState:
    """The state as the store bears it out: versions may have been deleted, or the alias moved.

    Args:
        state: As it was read.
        store: The store.
        in_use: The version that the alias leads to.
    """
    there = {manifest.name for manifest in store.list()}
    switches = tuple(one for one in state.switches if {one.before, one.after} <= there)
    state = state.model_copy(update={"switches": switches})
    under_way = state.under_way
    if under_way is not None and under_way.new == in_use:  # killed after the switch
        if under_way.old in there:
            return state.switched(under_way.old, in_use)
        under_way = None
    elif under_way is not None and under_way.new is not None and under_way.new not in there:
        under_way = under_way.model_copy(update={"new": None, "made": True, "ready": False})
    return state.model_copy(update={"under_way": under_way})


def noted(state: MigrationState, course: Course, **changes: Any) -> MigrationState:
    """The state of a migration that has come further.

    Args:
        state: So far; that of a migration that has just begun says nothing of it yet.
        course: Its course.
        **changes: Fields of `UnderWay`.
    """
    under_way = state.under_way or UnderWay(
        encoder=course.encoder.describe(),
        fingerprint=course.encoder.fingerprint,
        old=course.old.name,
        new=course.new,
        made=course.made,
        started_at=utc_now(),
    )
    under_way = under_way.model_copy(update={"old": course.old.name, **changes})
    return state.model_copy(update={"under_way": under_way})


def course_of(request: MigrationRequest, store: Store, state: MigrationState) -> Course:
    """Resolve a request; loads no weights and opens no collection.

    Raises:
        InvalidInput: there is nothing to migrate, or something else is under way.
        FlowError: the request needs the old encoder, and it is gone.
        EmbedderError: the new encoder cannot be used.
        SearchError: see `version_in_use`.
    """
    old = version_in_use(store, request.collection)
    encoder = _wanted(request, state.under_way)
    if encoder.fingerprint == old.fingerprint:
        raise InvalidInput(
            f"collection {request.collection!r} is built by encoder {encoder.name!r} already; "
            "nothing to migrate"
        )
    old_encoder = _still_there(old)
    if old_encoder is None and request.min_overlap is not None:
        raise FlowError(
            f"--min-overlap compares with the encoder that built {old.name!r}, "
            f"{encoder_name(old)!r}, which is gone or has changed; leave it out, and use --switch"
        )
    new, made = _version_to_go_on_with(request, store, old, encoder, state.under_way)
    return Course(old=old, old_encoder=old_encoder, encoder=encoder, new=new, made=made)


def _wanted(request: MigrationRequest, under_way: UnderWay | None) -> EncoderSpecification:
    """The new encoder."""
    alias = request.collection
    if under_way is None:
        if request.encoder is None:
            raise InvalidInput(
                f"no migration of collection {alias!r} is under way; name the new encoder with "
                "--encoder"
            )
        return specify(request.encoder)
    name = under_way.encoder["name"]
    if request.encoder is None:
        if request.wants_switch and not under_way.ready:
            raise InvalidInput(
                f"the migration of collection {alias!r} to {name!r} is not finished "
                f"({under_way.done} of {under_way.documents} documents); finish it first: "
                f"`sextant migrate --collection {alias}`"
            )
        return specify(name, under_way.encoder["config"])
    encoder = specify(request.encoder)
    if encoder.fingerprint == under_way.fingerprint:
        return encoder
    raise InvalidInput(
        f"a migration of collection {alias!r} to {name!r} is under way, and --encoder "
        f"{request.encoder!r} is another one, or has changed since; finish it without --encoder, "
        f"or give it up: `sextant migrate --collection {alias} --abandon`"
    )


def _still_there(old: Manifest) -> EncoderSpecification | None:
    try:
        found = encoder_of(old, None)
    except (FlowError, EmbedderError):
        return None
    return found if found.fingerprint == old.fingerprint else None


def _version_to_go_on_with(
    request: MigrationRequest,
    store: Store,
    old: Manifest,
    encoder: EncoderSpecification,
    under_way: UnderWay | None,
) -> tuple[str | None, bool]:
    """A version by the new encoder that is there already, and whether a migration made it for this.

    Without a state the newest such version is taken, whatever it holds: it is brought in line.
    """
    if under_way is not None and under_way.new is not None:
        return under_way.new, under_way.made
    found = [
        one.name
        for one in versions(store, request.collection)
        if one.fingerprint == encoder.fingerprint and one.name != old.name
    ]
    if not found:
        return None, True
    return found[-1], under_way is not None and under_way.made
