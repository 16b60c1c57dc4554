"""Objects of a store as a source, through fsspec: a prefix is walked as a folder is.

Credentials come from the environment or fsspec's own configuration, never from the address.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flows.documents.compression import compression_of, full_suffix, inner_name
from flows.documents.formats import Format, format_of, supported_suffixes
from flows.documents.globs import EXCLUDED, Selection
from flows.documents.listing import RootListing, Unreadable
from flows.documents.remote.access import RemoteAccess
from flows.documents.remote.answers import Answer, FetchFailed, too_large
from flows.documents.remote.object_facts import object_modified, object_size, object_version
from flows.documents.remote.redaction import redacted_query, redacted_text
from flows.documents.remote.remote_document import RemoteDocument
from flows.documents.remote.web_address import identity
from flows.documents.titles import one_line
from flows.errors import InvalidInput, SourceUnavailable

IN_MEMORY: Final = "memory"
"""The one protocol that needs no network."""

_WRAPPERS_LIST: Final = (
    "asynclocal async_wrapper asyncwrapper blockcache cached data dir filecache generic git http "
    "https jlab jupyter libarchive pyscript reference simplecache tar zip"
)
_WRAPPERS: Final = frozenset(_WRAPPERS_LIST.split())
"""Protocols over others, which would lead around what is checked here."""
_HOSTS_LIST: Final = "arrow_hdfs dask ftp hdfs lakefs root sftp smb ssh webdav webhdfs"
_HOSTS: Final = frozenset(_HOSTS_LIST.split())
"""Protocols whose address names a host; their drivers connect by themselves, unchecked."""
_CONTAINER_AT_ACCOUNT: Final = frozenset({"abfs", "abfss", "az"})
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class ObjectPlace:
    """One object."""

    files: Any
    """The file system, as fsspec has it."""
    path: str
    size: int | None
    version: str
    modified: str
    key: str

    @property
    def knows_versions(self) -> bool:
        """The listing has told the version already, if there is one."""
        return False

    def fetch(self, *, max_bytes: int, version: str = "") -> Answer | None:
        """See `Place.fetch`."""
        if self.size is not None and self.size > max_bytes:
            raise too_large(self.size, max_bytes)
        try:
            # a range of an empty object is an error in some stores
            data = (
                self.files.cat_file(self.path, start=0, end=max_bytes + 1)
                if self.size
                else (self.files.cat_file(self.path))
            )
        except Exception as error:  # noqa: BLE001 - drivers raise what they like
            raise FetchFailed(f"cannot be read: {_reason(error)}; run again later") from None
        if len(data) > max_bytes:
            raise too_large(None, max_bytes)
        return Answer(data=bytes(data), version=self.version, modified=self.modified)


def list_objects(source: str, selection: Selection, access: RemoteAccess) -> RootListing:
    """An object, or all below a prefix: hidden ones and links left out, as in a folder.

    Raises:
        InvalidInput: The address is wrong or holds a secret, its driver is not installed, or the
            network may not be used.
        SourceUnavailable: There is nothing at the address, or it cannot be reached.
    """
    protocol = _checked_protocol(source, access)
    files, path = _file_system(source, protocol)
    root = _shown_root(source, files, path, protocol)
    if not path.strip("/"):
        raise InvalidInput(
            f"source {root!r}: the whole store is no source; give a bucket or folder"
        )
    access.claim(root, root)
    try:
        files.invalidate_cache()
        info = files.info(path)
    except FileNotFoundError:
        raise SourceUnavailable(
            f"source {root!r}: nothing is there (any more); check the address; nothing was changed"
        ) from None
    except Exception as error:  # noqa: BLE001 - drivers raise what they like
        raise SourceUnavailable(f"source {root!r}: {_reason(error)}; nothing was changed") from None
    walk = _Walk(files, path, root, selection, access)
    if info.get("type") != "directory":
        walk.take_single(info)
    else:
        walk.take_all()
    return walk.listing


class _Walk:
    """Fills a listing."""

    def __init__(
        self, files: Any, path: str, root: str, selection: Selection, access: RemoteAccess
    ) -> None:
        self.listing = RootListing(root=root)
        self._files = files
        self._path = path
        self._selection = selection
        self._access = access

    def take_single(self, info: Mapping[str, Any]) -> None:
        """The root itself, which is an object.

        Raises:
            InvalidInput: No parser takes it.
        """
        root = self.listing.root
        name = root.rpartition("/")[2]
        file_format = format_of(inner_name(name))
        if file_format is None:
            raise InvalidInput(
                f"source {root!r}: no parser for {_printable(full_suffix(name))!r} files; "
                f"expected one of {supported_suffixes()}"
            )
        if not self._selection.takes(name):
            self.listing.ignored[EXCLUDED] += 1
        else:
            self._add(file_format, root, self._path, info)

    def take_all(self) -> None:
        """Every object, folder by folder, in order."""
        for below, path, info in self._objects():
            name = below.rpartition("/")[2]
            file_format = format_of(inner_name(name))
            if file_format is None:
                self.listing.ignored[_printable(full_suffix(name))] += 1
            elif not self._selection.takes(below):
                self.listing.ignored[EXCLUDED] += 1
            else:
                self._add(file_format, f"{self.listing.root}/{below}", path, info)

    def _objects(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """The path below the root, the driver's own path, and what it says of each object."""
        listing = self.listing
        pending, seen = [("", self._path)], set()
        while pending:
            prefix, folder = pending.pop()
            if folder in seen:  # a driver that goes in circles
                continue
            seen.add(folder)
            try:
                entries = self._files.ls(folder, detail=True)
            except Exception as error:  # noqa: BLE001 - drivers raise what they like
                where = f"{listing.root}/{prefix}".rstrip("/")
                listing.unreadable.append(Unreadable(path=_printable(where), reason=_reason(error)))
                continue
            for entry in sorted(entries, key=lambda entry: str(entry["name"])):
                path = str(entry["name"])
                name = path.rstrip("/").rpartition("/")[2]
                if path.strip("/") == folder.strip("/") or not name:
                    continue  # the folder's own marker
                below = f"{prefix}{name}"
                kind = "link" if entry.get("islink") else entry.get("type")
                if name.startswith("."):
                    listing.ignored["hidden"] += 1
                elif kind == "link":
                    listing.ignored["symlink"] += 1
                elif kind == "directory" and self._selection.skips_folder(below):
                    listing.ignored[EXCLUDED] += 1
                elif kind == "directory":
                    pending.append((f"{below}/", path))
                elif kind == "file":
                    yield below, path, entry
                else:
                    listing.ignored["special"] += 1

    def _add(self, file_format: Format, address: str, path: str, info: Mapping[str, Any]) -> None:
        name = address.rpartition("/")[2]
        size, shown = object_size(info), _printable(address)
        version, modified = object_version(info), object_modified(info)
        self.listing.documents.append(
            RemoteDocument(
                doc_id=identity(shown),
                source=shown,
                root=self.listing.root,
                format=file_format,
                size=size or 0,
                path="",
                refusal="" if shown == address else "its name has control characters; rename it",
                compression=compression_of(name),
                modified=modified,
                version=version,
                place=ObjectPlace(
                    files=self._files,
                    path=path,
                    size=size,
                    version=version,
                    modified=modified,
                    key=address,
                ),
                spool=self._access.spool,
                filename=_printable(name),
            )
        )


def _checked_protocol(source: str, access: RemoteAccess) -> str:
    """The protocol of an address that may be given to a driver."""
    shown = _printable(redacted_text(source))
    protocol, _, rest = source.partition("://")
    protocol = protocol.lower()
    if "::" in source or protocol in _WRAPPERS:
        raise InvalidInput(
            f"source {shown!r}: one protocol over another is not taken; give the store's own "
            "address, such as s3://bucket/folder"
        )
    if _CONTROLS.search(source):
        raise InvalidInput(f"source {shown!r}: holds a control character; correct the address")
    place = rest.partition("/")[0]
    user, at, _ = place.rpartition("@")
    if at and (":" in user or protocol not in _CONTAINER_AT_ACCOUNT):
        raise InvalidInput(
            f"source of {protocol!r}: has a user name or password in it, which would be stored; "
            "remove it, and set the driver's own variables or fsspec's configuration"
        )
    _, mark, query = rest.partition("?")
    if mark and redacted_query(query) != query:
        raise InvalidInput(
            f"source {shown!r}: has a parameter that looks like a secret; remove it, and set the "
            "driver's own variables or fsspec's configuration"
        )
    if protocol != IN_MEMORY:
        access.limits.refuse_network(shown)
    if protocol in _HOSTS and not access.limits.allow_private_addresses:
        raise InvalidInput(
            f"source {shown!r}: the driver of {protocol!r} connects by itself, so that it may "
            "reach private addresses; if that is meant, add --allow-private-addresses"
        )
    return protocol


def _file_system(source: str, protocol: str) -> tuple[Any, str]:
    """The driver, and the address's path as the driver has it."""
    import fsspec
    from fsspec.registry import known_implementations

    shown = repr(source)
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError:
        raise InvalidInput(
            f"source {shown}: no protocol {protocol!r} is known; expected a folder, a file, "
            "http(s)://, or what fsspec knows, such as s3://, gs://, az://"
        ) from None
    except ImportError:
        known = known_implementations.get(protocol, {})
        module = str(known.get("class", protocol)).partition(".")[0]
        remedy = str(known.get("err", "")) if module == "fsspec" else f"run `pip install {module}`"
        raise InvalidInput(
            f"source {shown}: the driver of {protocol!r} is not installed; {one_line(remedy)}"
        ) from None
    try:
        files, path = fsspec.url_to_fs(source)
    except Exception as error:  # noqa: BLE001 - drivers raise what they like
        raise SourceUnavailable(f"source {shown}: {_reason(error)}; nothing was changed") from None
    return files, str(path).rstrip("/")


def _shown_root(source: str, files: Any, path: str, protocol: str) -> str:
    """One spelling of the address: `s3a://b/x/` and `s3://b/x` are one source."""
    own = files.protocol if isinstance(files.protocol, str) else files.protocol[0]
    place = source.partition("://")[2].partition("/")[0]
    below = path.strip("/")
    if place and protocol != IN_MEMORY and below != place and not below.startswith(f"{place}/"):
        below = f"{place}/{below}".rstrip("/")  # a host, which the driver keeps apart
    return f"{own}://{below}"


def _reason(error: Exception) -> str:
    """What a driver complains of, in one line without secrets."""
    name, said = type(error).__name__, one_line(redacted_text(str(error)))
    return f"{name}: {said}" if said else name


def _printable(text: str) -> str:
    r"""The text, with each control character as `\xNN`."""
    return _CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
