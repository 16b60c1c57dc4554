"""`sextant keys`: who may ask `sextant serve`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli_options import AsJson, Debug, Store, print_json, settings_of
from flows.cli_serve import KeysFile

if TYPE_CHECKING:
    from search.api.keys import KeyFile, StoredKey

keys_app = typer.Typer(
    help="Make, list and revoke API keys of `sextant serve`.", no_args_is_help=True
)


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is, for log and metrics")],
    rate: Annotated[
        int | None,
        typer.Option(metavar="N", help="Most requests a minute [default: as the server says]"),
    ] = None,
    days: Annotated[
        int | None, typer.Option(metavar="N", help="Valid for so many days [default: for ever]")
    ] = None,
    keys: KeysFile = None,
    store: Store = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make an API key and print it, which happens once: only its hash is kept.

    Several keys may have one name: make the new one, hand it over, revoke the old one by its id.
    """
    from flows import console

    key, stored = _file(store, keys).create(name, rate_per_minute=rate, days=days)
    if as_json:
        print_json({"key": key, **_fields(stored)})
        return
    console.say(key)
    console.complain(
        f"key {stored.id} of {stored.name!r}; it is not shown again. Send it as "
        "`Authorization: Bearer KEY`; a running server takes it within a second or two"
    )


@keys_app.command("list")
def list_keys(
    keys: KeysFile = None, store: Store = None, as_json: AsJson = False, debug: Debug = False
) -> None:
    """List the API keys, without the keys themselves."""
    from flows import console

    held = _file(store, keys).read()
    if as_json:
        print_json({"keys": [_fields(one) for one in held]})
        return
    if not held:
        console.say("no keys; `sextant keys create NAME` makes one")
        return
    columns = ["id", "name", "created_at", "expires_at", "rate_per_minute"]
    console.table(columns, [[str(_fields(one)[name] or "-") for name in columns] for one in held])


@keys_app.command("revoke")
def revoke_key(
    which: Annotated[
        str, typer.Argument(metavar="ID|NAME", help="A key's id, or the name of all to revoke")
    ],
    keys: KeysFile = None,
    store: Store = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Revoke a key, or all keys of a name; a running server refuses them within a second or two."""
    from flows import console

    gone = _file(store, keys).revoke(which)
    if as_json:
        print_json({"revoked": [_fields(one) for one in gone]})
        return
    for one in gone:
        console.say(f"key {one.id} of {one.name!r} is revoked")


def _file(store: str | None, given: Any) -> "KeyFile":
    from flows.serving_keys import key_file

    return key_file(settings_of(store=store), given)


def _fields(key: "StoredKey") -> dict[str, Any]:
    return key.model_dump(mode="json", exclude={"sha256"})
