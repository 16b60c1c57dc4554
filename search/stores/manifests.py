"""Collection names and manifests: what may be kept, and what is read back."""

import json
import math
import re
from typing import Final

from pydantic import ValidationError

from search.errors import InvalidPoint, InvalidRequest, StoreUnavailable
from search.stores.contract import SCHEMA_VERSION, Manifest
from search.stores.plain_json import plain_json

COLLECTION_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
"""Names that are safe as a folder and in a URL: no separators, no leading dot, one case."""


MAX_DIMENSION: Final = 65_536


def check_name(name: str) -> str:
    """The collection name, if it is one.

    Raises:
        InvalidRequest: it is not 1-63 of `a-z 0-9 . _ -` between two letters or digits.
    """
    if not isinstance(name, str) or not COLLECTION_NAME.fullmatch(name):
        raise InvalidRequest(
            f"collection name {name!r}: expected 1-63 characters of a-z, 0-9, '.', '_', '-', "
            "starting and ending with a letter or digit; e.g. docs-v1"
        )
    return name


def check_manifest(manifest: Manifest) -> Manifest:
    """The manifest, if a collection can be made from it.

    Raises:
        InvalidRequest: the name, schema version, dimension, fingerprint, encoder configuration or
            canary.
    """
    check_name(manifest.name)
    if manifest.schema_version != SCHEMA_VERSION:
        raise InvalidRequest(
            f"collection {manifest.name!r}: schema version {manifest.schema_version}; "
            f"expected {SCHEMA_VERSION}"
        )
    if not 1 <= manifest.dimension <= MAX_DIMENSION:
        raise InvalidRequest(
            f"collection {manifest.name!r}: dimension {manifest.dimension}; "
            f"expected 1 to {MAX_DIMENSION}, the encoder's vector size"
        )
    if not manifest.fingerprint:
        raise InvalidRequest(
            f"collection {manifest.name!r}: empty fingerprint; pass the encoder's `fingerprint`"
        )
    try:
        plain_json(manifest.encoder, "encoder")
    except InvalidPoint as error:
        raise InvalidRequest(f"collection {manifest.name!r}: {error}") from None
    if problem := _canary_problem(manifest):
        raise InvalidRequest(f"collection {manifest.name!r}: {problem}; pass the encoder's own")
    return manifest


def manifest_text(manifest: Manifest) -> str:
    """The manifest as JSON that a person can read: a line for each vector of the canary."""
    fields = manifest.model_dump(mode="json")
    vectors = [json.dumps(vector) for vector in fields.pop("canary")]
    text = json.dumps(fields, indent=2, ensure_ascii=False).removesuffix("\n}")
    lines = "".join(f"\n    {vector}," for vector in vectors).removesuffix(",")
    return f'{text},\n  "canary": [{lines}\n  ]\n}}'


def read_manifest(text: str, *, name: str, place: str) -> Manifest:
    """The manifest that a store kept as JSON.

    Args:
        text: What the store kept.
        name: The collection's name, which counts: a copied folder is a collection of its own.
        place: Where the text stands, for the message.

    Raises:
        StoreUnavailable: it is no manifest, or one of another schema version.
    """
    try:
        fields = json.loads(text)
        version = fields.get("schema_version")
    except (ValueError, AttributeError) as error:
        raise StoreUnavailable(f"{place} is no manifest ({error}); restore it") from None
    if version != SCHEMA_VERSION:
        raise StoreUnavailable(
            f"collection {name!r} has schema version {version!r}, this program reads "
            f"{SCHEMA_VERSION}; use the program that made it, or ingest again"
        )
    try:
        manifest = Manifest.model_validate({**fields, "name": name})
    except ValidationError as error:
        problems = "; ".join(f"{item['loc']}: {item['msg']}" for item in error.errors())
        raise StoreUnavailable(f"{place} is no manifest ({problems}); restore it") from None
    if problem := _canary_problem(manifest):
        raise StoreUnavailable(f"{place} is no manifest ({problem}); restore it")
    return manifest


def _canary_problem(manifest: Manifest) -> str | None:
    """What makes the canary useless, if anything does."""
    for row, vector in enumerate(manifest.canary):
        if len(vector) != manifest.dimension:
            return (
                f"canary vector {row} has {len(vector)} values; expected {manifest.dimension}, "
                "the dimension"
            )
        if not (all(map(math.isfinite, vector)) and any(vector)):
            return f"canary vector {row} holds NaN or infinity, or is zero; expected a direction"
    return None
