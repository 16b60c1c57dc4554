"""Objects of stores through fsspec: in memory, and by a driver that fails as drivers do."""

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from flows.documents.globs import Selection
from flows.documents.remote.limits import RemoteLimits
from flows.documents.remote.object_facts import object_modified, object_size, object_version
from flows.documents.remote.remote_document import RemoteDocument
from flows.documents.sources import discover
from flows.errors import DocumentRejected, InvalidInput, SourceUnavailable

OPEN = RemoteLimits(allow_network=True)


class Bucket(MemoryFileSystem):
    """A store of its own, with ETags, whose calls a test lets fail."""

    protocol = ("bucket", "bkt")
    store: dict[str, Any] = {}  # noqa: RUF012 - as in the class below it
    pseudo_dirs = [""]  # noqa: RUF012
    failing: dict[str, Exception] = {}  # noqa: RUF012
    reads: list[str] = []  # noqa: RUF012
    extra: dict[str, dict[str, Any]] = {}  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        for protocol in cls.protocol:
            path = path.removeprefix(f"{protocol}://")
        path = path.strip("/")
        return f"/{path}" if path else ""

    def _told(self, info: dict[str, Any]) -> dict[str, Any]:
        if info["type"] == "file":
            info = {**info, "ETag": f'"{hash(bytes(self.store[info["name"]].getvalue()))}"'}
        return {**info, **self.extra.get(info["name"], {})}

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """As told, or the failure."""
        self._fail("info", path)
        return self._told(super().info(path, **options))

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[dict[str, Any]]:
        """As told, or the failure."""
        self._fail("ls", path)
        return [self._told(entry) for entry in super().ls(path, detail=True, **options)]

    def cat_file(self, path: str, start: Any = None, end: Any = None, **options: Any) -> bytes:
        """The bytes, or the failure."""
        self._fail("cat", path)
        self.reads.append(path)
        return bytes(super().cat_file(path, start, end, **options))

    def _fail(self, call: str, path: str) -> None:
        for key in (call, f"{call} {self._strip_protocol(path)}"):
            if key in self.failing:
                raise self.failing[key]


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    """An empty store behind `bucket://`."""
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    fsspec.register_implementation("bkt", Bucket, clobber=True)
    made = Bucket(skip_instance_cache=True)
    for kept in (made.store, made.failing, made.reads, made.extra):
        kept.clear()
    made.pseudo_dirs[:] = [""]
    yield made
    MemoryFileSystem.clear_instance_cache()


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    """The process's files in memory."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


def test_a_prefix_is_walked_as_a_folder(memory: MemoryFileSystem) -> None:
    """The worked example: ids, formats, sizes, what was ignored; without the network."""
    for name in ("b.md", "a.txt", "sub/c.html", "photo.PNG", "Makefile", "notes.md.gz"):
        memory.pipe_file(
            f"/docs/{name}", b"# Text" if name != "notes.md.gz" else gzip.compress(b"# N")
        )
    memory.pipe_file("/docs/.git/x.md", b"hidden")
    memory.pipe_file("/docs/.hidden.md", b"hidden")
    memory.pipe_file("/docs-other/x.md", b"another prefix")
    listing = discover(["memory://docs/"])
    assert [d.doc_id for d in listing.documents] == [
        "memory://docs/a.txt",
        "memory://docs/b.md",
        "memory://docs/notes.md.gz",
        "memory://docs/sub/c.html",
    ]
    assert [d.format for d in listing.documents] == ["text", "markdown", "markdown", "html"]
    assert listing.ignored == {"(no suffix)": 1, ".png": 1, "hidden": 2}
    assert listing.complete == {"memory://docs": True}
    first, _, zipped, last = listing.documents
    assert (first.source, first.root, first.size) == ("memory://docs/a.txt", "memory://docs", 6)
    assert first.version == ""  # nothing so reliable is known
    assert first.modified.startswith("20") and first.modified.endswith("+00:00")
    assert (zipped.read(), zipped.name) == (b"# N", "notes.md.gz")
    assert (last.read(), last.name) == (b"# Text", "c.html")


def test_a_single_object(memory: MemoryFileSystem) -> None:
    """Its id is its address; one without a parser is refused."""
    memory.pipe_file("/docs/a.md", b"# A")
    memory.pipe_file("/docs/photo.png", b"x")
    (document,) = discover(["memory://docs/a.md"]).documents
    assert (document.doc_id, document.root) == ("memory://docs/a.md", "memory://docs/a.md")
    assert document.read() == b"# A"
    with pytest.raises(InvalidInput, match=r"no parser for '\.png' files"):
        discover(["memory://docs/photo.png"])
    assert discover(["memory://docs/a.md"], Selection(("*.txt",))).ignored == {"excluded": 1}


def test_globs(bucket: Bucket) -> None:
    """As in a folder; what is left out is not even listed."""
    for name in ("a.md", "b.txt", "drafts/c.md", "sub/d.md"):
        bucket.pipe_file(f"/docs/{name}", b"x")
    bucket.failing["ls /docs/drafts"] = PermissionError("never asked")
    listing = discover(["bucket://docs"], Selection(("*.md",), ("drafts/",)), remote=OPEN)
    assert [d.doc_id for d in listing.documents] == ["bucket://docs/a.md", "bucket://docs/sub/d.md"]
    assert listing.ignored == {"excluded": 2}


def test_one_source_however_it_is_written(bucket: Bucket) -> None:
    """Aliases of a protocol and slashes at the end are one root."""
    bucket.pipe_file("/docs/a.md", b"x")
    listing = discover(["bucket://docs", "BKT://docs/".lower()], remote=OPEN)
    assert listing.roots == ("bucket://docs",)


def test_each_object_is_read_once(bucket: Bucket) -> None:
    """The plan reads it, and storing it takes it from the spool; an empty one is no error."""
    bucket.pipe_file("/docs/a.md", b"# A")
    bucket.pipe_file("/docs/empty.md", b"")
    a, empty = discover(["bucket://docs"], remote=OPEN).documents
    assert [a.read(), a.read(), empty.read()] == [b"# A", b"# A", b""]
    assert bucket.reads == ["/docs/a.md", "/docs/empty.md"]


def test_versions(bucket: Bucket) -> None:
    """An ETag tells that nothing has changed, before anything is read."""

    def listed() -> RemoteDocument:
        (document,) = discover(["bucket://docs"], remote=OPEN).documents
        assert isinstance(document, RemoteDocument)
        return document

    bucket.pipe_file("/docs/a.md", b"# A")
    version = listed().version
    assert version.startswith('etag="')
    assert listed().is_still(version)
    bucket.pipe_file("/docs/a.md", b"# B")
    assert not listed().is_still(version)
    assert not listed().is_still("")
    assert bucket.reads == []
    document = listed()
    document.read()
    assert document.settled() == document


def test_a_vanished_prefix_is_not_an_empty_one(bucket: Bucket) -> None:
    """Gone, forbidden, out of reach: nothing may be concluded; an empty folder is not complete."""
    with pytest.raises(SourceUnavailable, match=r"nothing is there .any more.*nothing was changed"):
        discover(["bucket://docs"], remote=OPEN)
    bucket.makedirs("/docs")
    assert discover(["bucket://docs"], remote=OPEN).complete == {"bucket://docs": False}
    for error in (PermissionError("Forbidden"), ConnectionError(), RuntimeError("odd\nlines")):
        bucket.failing["info"] = error
        with pytest.raises(SourceUnavailable, match=type(error).__name__) as caught:
            discover(["bucket://docs"], remote=OPEN)
        assert "\n" not in str(caught.value)


def test_part_of_a_prefix_cannot_be_listed(bucket: Bucket) -> None:
    """The rest is; the root is not complete, so that nothing of it is removed."""
    for name in ("a.md", "sub/b.md"):
        bucket.pipe_file(f"/docs/{name}", b"x")
    bucket.failing["ls /docs/sub"] = PermissionError("Access Denied")
    listing = discover(["bucket://docs"], remote=OPEN)
    assert [d.doc_id for d in listing.documents] == ["bucket://docs/a.md"]
    assert [(u.path, u.reason) for u in listing.unreadable] == [
        ("bucket://docs/sub", "PermissionError: Access Denied")
    ]
    assert listing.complete == {"bucket://docs": False}


def test_an_object_that_cannot_be_read(bucket: Bucket) -> None:
    """Rejected alone, with what the driver says, but no secret in it."""
    bucket.pipe_file("/docs/a.md", b"# A")
    (document,) = discover(["bucket://docs"], remote=OPEN).documents
    bucket.failing["cat"] = OSError("403 for https://store/a.md?X-Amz-Signature=hunter2&x=1")
    with pytest.raises(DocumentRejected, match="cannot be read: OSError: 403") as caught:
        document.read()
    assert "hunter2" not in str(caught.value)


def test_large_objects(bucket: Bucket) -> None:
    """Refused by their size before they are read, and by their bytes where they have grown."""
    bucket.pipe_file("/docs/a.md", b"a" * 100)
    (document,) = discover(["bucket://docs"], remote=OPEN).documents
    with pytest.raises(DocumentRejected, match=r"the limit is 0\.0 MiB; split it or raise"):
        document.read(max_bytes=99)
    assert bucket.reads == []
    bucket.pipe_file("/docs/a.md", b"a" * 1000)
    with pytest.raises(DocumentRejected, match="more than"):
        document.read(max_bytes=500)


def test_odd_entries(bucket: Bucket) -> None:
    """Links, things that are no files, names with control characters, long names, circles."""
    for name in ("a.md", "link.md", "pipe.md", "bell\a.md", "n" * 900 + ".md"):
        bucket.pipe_file(f"/docs/{name}", b"x")
    bucket.extra["/docs/link.md"] = {"type": "link"}
    bucket.extra["/docs/pipe.md"] = {"type": "other"}
    bucket.extra["/docs/a.md"] = {"islink": False, "size": None}
    listing = discover(["bucket://docs"], remote=OPEN)
    a, bell, long = listing.documents
    assert listing.ignored == {"special": 1, "symlink": 1}
    assert bell.doc_id == r"bucket://docs/bell\x07.md"
    with pytest.raises(DocumentRejected, match="control characters; rename it"):
        bell.read()
    assert (a.size, a.read()) == (0, b"x")
    assert len(long.doc_id) < 600
    assert long.read() == b"x"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("bucket://me:hunter2@docs/x", "'bucket': has a user name or password"),
        ("sftp://hunter2@host/x", "'sftp': has a user name or password"),
        ("abfs://me:hunter2@account.dfs.core.windows.net/x", "'abfs': has a user name or password"),
        ("bucket://docs/x?token=hunter2", "has a parameter that looks like a secret"),
        ("memory://", "the whole store is no source"),
        ("memory:///", "the whole store is no source"),
        ("nothing://x", "no protocol 'nothing' is known"),
        ("zip://x.md::https://me:hunter2@h/a.zip", "one protocol over another"),
        ("simplecache::s3://b/x?token=hunter2", "one protocol over another"),
        ("reference://x", "one protocol over another"),
        ("ftp://127.0.0.1/x", "'ftp' connects by itself.*add --allow-private-addresses"),
        ("bucket://do\ncs/x", "control character"),
    ],
)
def test_bad_addresses(source: str, message: str, bucket: Bucket) -> None:
    """One line, before anything is reached; and never the secret."""
    with pytest.raises(InvalidInput, match=message) as caught:
        discover([source], remote=OPEN)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_drivers_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says what to install."""
    for module in ("s3fs", "gcsfs", "paramiko"):
        monkeypatch.setitem(sys.modules, module, None)
    limits = RemoteLimits(allow_network=True, allow_private_addresses=True)
    for source, remedy in (
        ("s3://bucket/x", r"'s3' is not installed; run `pip install s3fs`"),
        ("gs://bucket/x", r"run `pip install gcsfs`"),
        ("sftp://host/x", r"'sftp' is not installed; .*paramiko"),
    ):
        with pytest.raises(InvalidInput, match=remedy):
            discover([source], remote=limits)


def test_file_addresses_are_the_folders_that_they_name(tmp_path: Path) -> None:
    """The very same documents, with all that is checked of folders; no network."""
    folder = tmp_path / "my notes"
    folder.mkdir()
    (folder / "a.md").write_text("# A")
    assert discover([folder.as_uri()]) == discover([str(folder)])
    with pytest.raises(InvalidInput, match="no such file or folder"):
        discover(["file:///nowhere/at/all"])


def test_local_and_remote_documents_never_share_an_id(
    memory: MemoryFileSystem, tmp_path: Path
) -> None:
    """Not even of a folder that is named as a bucket is."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("# A")
    memory.pipe_file("/docs/a.md", b"# A")
    listing = discover([str(folder), "memory://docs"])
    assert [d.doc_id for d in listing.documents] == ["docs/a.md", "memory://docs/a.md"]


def test_facts() -> None:
    """Drivers' words for one thing."""
    assert object_version({"md5Hash": "abc"}) == "md5hash=abc"
    assert object_version({"generation": 17}) == "generation=17"
    assert object_version({"content_md5": bytearray(b"\x01")}) == "contentmd5=01"
    assert object_version({"ETag": 'W/"1"', "mtime": 3, "size": 4}) == ""
    for info in (
        {"LastModified": "2024-05-01T10:00:00.5Z"},
        {"last_modified": "2024-05-01T12:00:00+02:00"},
        {"mtime": 1714557600.0},
    ):
        assert object_modified(info) == "2024-05-01T10:00:00+00:00"
    assert object_modified({"mtime": "never"}) == object_modified({"mtime": 1e300}) == ""
    assert [object_size({"size": size}) for size in (3, None, -1, "3")] == [3, None, None, None]
