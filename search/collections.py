"""Whether an encoder and a collection belong together: the fingerprint decides, nothing else."""

from search.errors import FingerprintMismatch
from search.stores.contract import Manifest

SHOWN = 12
"""Characters of a fingerprint in a message: enough to tell two apart."""


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
            f"collection {manifest.name!r} was built by an earlier state of encoder {built!r} "
            f"(fingerprint {manifest.fingerprint[:SHOWN]}, now {fingerprint[:SHOWN]}): its files, "
            "or how Sextant reads them, have changed; ingest again into another `--collection`"
        )
    raise FingerprintMismatch(
        f"collection {manifest.name!r} was built by encoder {built!r} "
        f"(fingerprint {manifest.fingerprint[:SHOWN]}), the encoder {current} has fingerprint "
        f"{fingerprint[:SHOWN]}; use `--encoder {built}`, or another `--collection`, or ingest "
        "again into a new one"
    )
