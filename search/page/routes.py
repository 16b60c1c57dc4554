"""Serves the search page: a fixed set of files, under a policy that lets nothing else run.

The files are read once, when the routes are added. What is not among them is not found, however its
name is spelt, so that no request reaches the disk. All data comes from the API's own routes.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from fastapi import FastAPI, HTTPException, Request, Response

INDEX: Final = "index.html"
MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What is served, by suffix; the room's other files are not."""
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""No inline script or style, nothing from elsewhere, and no text that becomes markup."""
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
}
"""Of every file. `no-cache` lets a browser keep it and ask each time whether it has changed."""

_FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFile:
    """One file as it is served."""

    content: bytes
    media_type: str
    etag: str


def page_files() -> dict[str, PageFile]:
    """The page's files by name."""
    found: dict[str, PageFile] = {}
    for path in sorted(_FOLDER.iterdir()):
        if path.suffix in MEDIA_TYPES:
            content = path.read_bytes()
            found[path.name] = PageFile(
                content=content,
                media_type=MEDIA_TYPES[path.suffix],
                etag=f'"{sha256(content).hexdigest()[:32]}"',
            )
    return found


def add_page(app: FastAPI) -> None:
    """Serve the page at `/`, and its style, scripts and icon at `/page/NAME`.

    Args:
        app: The application that serves the API, to whose routes the page talks.
    """
    files = page_files()

    async def index(request: Request) -> Response:
        return _answer(files[INDEX], request)

    async def file(request: Request) -> Response:
        found = files.get(request.path_params["file"])
        if found is None or found is files[INDEX]:
            raise HTTPException(404, "the page has no such file")
        return _answer(found, request)

    methods = ["GET", "HEAD"]
    app.router.add_route("/", index, methods=methods, include_in_schema=False)
    app.router.add_route("/page/{file}", file, methods=methods, include_in_schema=False)


def _answer(file: PageFile, request: Request) -> Response:
    headers = {**HEADERS, "ETag": file.etag}
    if _is_known(file.etag, request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


def _is_known(etag: str, known: str) -> bool:
    """Whether an `If-None-Match` names the tag; a proxy that compresses makes it a weak one."""
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    return etag in tags or "*" in tags
