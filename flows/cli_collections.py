"""`sextant collections`: list, show and delete."""

import sys
from contextlib import closing
from typing import Annotated

import typer

from flows.cli_options import AsJson, Debug, Name, Store, print_json, settings_of
from flows.errors import InvalidInput

collections_app = typer.Typer(
    help="List, show and delete collections and their versions.", no_args_is_help=True
)


@collections_app.command("list")
def list_collections(store: Store = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """List the collections of a store, each with its versions."""
    from flows import console
    from flows.catalogue import catalogue
    from flows.stores import store_of

    settings = settings_of(store=store)
    with closing(store_of(settings)) as place:
        listed = catalogue(place)
        location = place.location
    if as_json:
        print_json(
            {
                "collections": [
                    {
                        **one.manifest.model_dump(mode="json", exclude={"canary"}),
                        "name": one.name,
                        "version": one.manifest.name,
                        "in_use": one.in_use,
                    }
                    for one in listed
                ]
            }
        )
    else:
        console.show_collections(listed, location)


@collections_app.command("show")
def show_collection(
    name: Name, store: Store = None, as_json: AsJson = False, debug: Debug = False
) -> None:
    """Show what a collection holds and which encoder built it."""
    from flows import console
    from flows.commands import describe_collection

    fields = describe_collection(name, settings_of(store=store))
    if as_json:
        print_json(fields)
    else:
        console.show_fields(fields)


@collections_app.command("delete", short_help="Delete a collection with all its versions.")
def delete_collection(
    name: Name,
    store: Store = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Delete a collection and all it holds, with all its versions; or one unused version."""
    from flows import console
    from flows.catalogue import delete_named
    from flows.stores import store_of

    settings = settings_of(store=store)
    if not yes:
        if not sys.stdin.isatty():
            raise InvalidInput(f"deleting collection {name!r} wants confirmation; add --yes")
        typer.confirm(f"Delete collection {name!r} and all it holds?", abort=True, err=True)
    with closing(store_of(settings)) as place:
        versions = delete_named(place, name)
    if as_json:
        print_json({"collection": name, "deleted": True, "versions": versions})
    else:
        console.say(f"collection {name!r} is deleted ({', '.join(versions)})")
