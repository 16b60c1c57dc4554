"""What `sextant migrate` does: run, say where it stands, go back, give up."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from flows.errors import InvalidInput
from flows.migration import Migration
from flows.migration_report import MigrationReport, MigrationStatus
from flows.migration_request import (
    MigrationRequest,
    check_alias_name,
    settled,
    version_in_use,
)
from flows.migration_session import migrating
from flows.migration_spool import Spool
from flows.migration_state import MigrationFolder, MigrationState
from flows.orchestration import PrefectAPI, no_heartbeat
from flows.progress import Progress
from flows.runs import recorded, runs_folder
from flows.settings import Settings
from flows.state import prefect_home
from flows.stores import store_of
from search.collections import encoder_name, version_number, versions
from search.errors import CollectionNotFound
from search.stores.contract import Manifest, Store


def run_migrate(request: MigrationRequest, progress: Progress) -> MigrationReport:
    """Bring the new version in line with the old one, compare their answers, switch if asked.

    A run that finds both versions equal does not start Prefect.

    Raises:
        InvalidInput, FlowError, SearchError, EmbedderError: see `Migration`.
    """
    with migrating(request, progress) as migration:
        course = migration.versions.course
        with recorded(
            runs_folder(request.store, request.collection),
            run_id=migration.run_id,
            kind="migrate",
            collection=request.collection,
            store=migration.versions.store.location,
            encoder=course.encoder.name,
            fingerprint=course.encoder.fingerprint,
        ) as record:
            report = _concluded_at_once(migration) or _through_prefect(request, migration)
            record.done(report)
            return report


def _concluded_at_once(migration: Migration) -> MigrationReport | None:
    """The report, where there is nothing to embed."""
    return None if migration.next_round() else migration.conclude()


def _through_prefect(request: MigrationRequest, migration: Migration) -> MigrationReport:
    """Do it all in a flow; what is spooled by now it finds there."""
    api = PrefectAPI.start(prefect_home(request.store))
    migration.progress.stage("starting Prefect")
    api.wait()
    api.end_with_it()
    from flows.migrate import migrate_flow

    with no_heartbeat():
        return migrate_flow(request)


def migration_status(settings: Settings) -> MigrationStatus:
    """Where a collection stands between its versions; opens none of them, and disturbs nothing.

    Raises:
        InvalidInput, SearchError: see `version_in_use`.
    """
    alias = check_alias_name(settings.collection)
    with _store(settings) as store:
        in_use = version_in_use(store, alias)
        state = _folder(settings, store).read()
        state = settled(state, store, in_use.name)
        found = [manifest.name for manifest in versions(store, alias)]
        before = _before(store, alias, in_use, state)
    under_way = state.under_way
    return MigrationStatus(
        collection=alias,
        in_use=in_use.name,
        encoder=encoder_name(in_use),
        versions=tuple(found),
        rollback_to=before,
        under_way=str(under_way.encoder["name"]) if under_way else None,
        new=under_way.new if under_way else None,
        documents=under_way.documents if under_way else 0,
        done=under_way.done if under_way else 0,
        ready=bool(under_way and under_way.ready),
        started_at=under_way.started_at if under_way else None,
    )


def roll_back(settings: Settings) -> tuple[str, str]:
    """Let the alias lead to the version before; returns that one left, and that one taken up.

    Raises:
        InvalidInput: there is no version before, or the collection has no versions.
        FlowError: a migration of it is running.
        SearchError: the store cannot be used.
    """
    alias = check_alias_name(settings.collection)
    with _store(settings) as store, _locked(settings, store, alias) as (folder, in_use):
        state = settled(folder.read(), store, in_use.name)
        before = _before(store, alias, in_use, state)
        if before is None:
            raise InvalidInput(
                f"there is no version before {in_use.name!r} to go back to; `sextant migrate "
                f"--collection {alias} --status` shows what there is"
            )
        store.set_alias(alias, before)
        kept = state.switches
        if kept and kept[-1].after == in_use.name:
            kept = kept[:-1]
        folder.write(state.model_copy(update={"switches": kept}))
        return in_use.name, before


def abandon_question(settings: Settings) -> str:
    """What an `abandon` would delete, as a question.

    Raises:
        InvalidInput: no migration is under way.
    """
    status = migration_status(settings)
    if status.under_way is None:
        raise _nothing_under_way(status.collection)
    what = f", version {status.new!r}, {status.done} documents" if status.new else ""
    return f"Give up the migration of {status.collection!r} to {status.under_way!r}{what}?"


def abandon(settings: Settings) -> tuple[str | None, bool]:
    """Give the unfinished migration up; returns its version, and whether that was deleted.

    A version that was there before the migration stays.

    Raises:
        InvalidInput: no migration is under way.
        FlowError: it is running.
        SearchError: the store cannot be used.
    """
    alias = check_alias_name(settings.collection)
    with _store(settings) as store, _locked(settings, store, alias) as (folder, in_use):
        state = settled(folder.read(), store, in_use.name)
        under_way = state.under_way
        if under_way is None:
            raise _nothing_under_way(alias)
        delete = under_way.new is not None and under_way.made
        if under_way.new is not None and delete:
            with suppress(CollectionNotFound):
                store.delete(under_way.new)
        Spool(folder.path).drop()
        folder.write(state.model_copy(update={"under_way": None}))
        return under_way.new, delete


def _nothing_under_way(alias: str) -> InvalidInput:
    return InvalidInput(
        f"no migration of collection {alias!r} is under way; `sextant collections delete` removes "
        "a version"
    )


def _before(store: Store, alias: str, in_use: Manifest, state: MigrationState) -> str | None:
    """The version to go back to: the one switched from, or else the one made before.

    A version that a migration is still writing is none.
    """
    if state.switches and state.switches[-1].after == in_use.name:
        return state.switches[-1].before
    unfinished = state.under_way.new if state.under_way and state.under_way.made else None
    older = [
        manifest.name
        for manifest in versions(store, alias)
        if version_number(manifest.name) < version_number(in_use.name)
        and manifest.name != unfinished
    ]
    return older[-1] if older else None


@contextmanager
def _store(settings: Settings) -> Iterator[Store]:
    store = store_of(settings)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _locked(
    settings: Settings, store: Store, alias: str
) -> Iterator[tuple[MigrationFolder, Manifest]]:
    """The migration's folder, for this process alone, and the version in use."""
    version_in_use(store, alias)  # refuse before a folder is made
    folder = _folder(settings, store)
    with ExitStack() as stack:
        folder.acquire()
        stack.callback(folder.release)
        yield folder, version_in_use(store, alias)


def _folder(settings: Settings, store: Store) -> MigrationFolder:
    return MigrationFolder(settings.store, settings.collection, location=store.location)
