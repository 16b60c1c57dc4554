"""Documentation drawn from Python packages and modules; nothing is imported or executed."""

import ast
import email
import email.policy
import io
import re
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from flows.documents.decoding import Decoded, decode
from flows.documents.parsed_document import Heading
from flows.documents.titles import one_line
from flows.errors import DocumentRejected

_MAX_SIGNATURE_CHARACTERS: Final = 300
_BEGINS_WITH_STRING: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:[ \t\f]*(?:#[^\n]*)?\r?\n)*[rRuU]?['\"]{3}\s*\w"
)
"""Blank lines and comments, then a string in triple quotes that says something."""


@dataclass(frozen=True, kw_only=True)
class PackageDescription:
    """A package's `METADATA`: title, text, and the content type of the description."""

    title: str
    text: str
    content_type: str


@dataclass(frozen=True, kw_only=True)
class ModuleDocs:
    """A module's docstrings as one text, with a heading for each name that has one."""

    text: str
    headings: tuple[Heading, ...]
    encoding: str


@dataclass(frozen=True, kw_only=True)
class _Entry:
    level: int
    name: str
    line: str
    docstring: str


def package_description(metadata: str) -> PackageDescription:
    """Summary and long description from core metadata (RFC 822 headers, the body or a header).

    Raises:
        DocumentRejected: There is no `Name`.
    """
    message = email.message_from_string(metadata, policy=email.policy.compat32)
    name, version = str(message.get("Name", "")).strip(), str(message.get("Version", "")).strip()
    if not name:
        raise DocumentRejected("no Name header; expected a package's METADATA file")
    body = message.get_payload()
    description = body if isinstance(body, str) and body.strip() else _folded(message)
    summary = one_line(str(message.get("Summary", "")))
    if summary == "UNKNOWN":
        summary = ""
    if description.strip() == "UNKNOWN":
        description = ""
    text = "\n\n".join(part for part in (summary, description.strip("\r\n")) if part)
    content_type = str(message.get("Description-Content-Type", "text/plain"))
    return PackageDescription(
        title=one_line(f"{name} {version}"),
        text=text,
        content_type=content_type.split(";")[0].strip().lower(),
    )


def _folded(message: email.message.Message) -> str:
    """A description in a header (metadata before 2.1): continuation lines begin with `|`."""
    lines = str(message.get("Description", "")).splitlines()
    return "\n".join(line.removeprefix("        ").removeprefix("       |") for line in lines)


def module_docs(data: bytes, *, module: str) -> ModuleDocs:
    """Docstrings of a module and of its public classes, functions and methods.

    Each public name that has a docstring becomes a heading (`json.dumps`) whose line is its
    signature, followed by the docstring.

    Raises:
        DocumentRejected: Not Python of this interpreter's grammar, too deeply nested, no docstring.
    """
    source = _source(data)
    entries = _documented(source, module)
    if not entries:
        raise DocumentRejected("no text: the module has no docstrings")
    text = io.StringIO()
    headings = []
    for entry in entries:
        headings.append(Heading(level=entry.level, title=entry.name, start=text.tell()))
        text.write(f"{entry.line}\n\n{entry.docstring}\n\n")
    return ModuleDocs(
        text=text.getvalue().rstrip() + "\n", headings=tuple(headings), encoding=source.encoding
    )


def has_docstrings(data: bytes) -> bool:
    """Whether `module_docs` would find any docstring; also True for what is not valid Python.

    Most modules begin with theirs, which is seen without parsing them.
    """
    if _BEGINS_WITH_STRING.match(data):
        return True
    try:
        return bool(_documented(_source(data), "module"))
    except DocumentRejected:
        return True  # `module_docs` has the reason


def _documented(source: Decoded, module: str) -> list[_Entry]:
    """The documented public names of a module, in source order.

    Raises:
        DocumentRejected: Not Python of this interpreter's grammar, or too deeply nested.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(source.text)
        return list(_entries(tree, module))
    except SyntaxError as error:
        raise DocumentRejected(
            f"not valid Python at line {error.lineno}: {one_line(error.msg)}; fix it or skip it"
        ) from error
    except (RecursionError, MemoryError) as error:
        raise DocumentRejected("Python nested too deeply to parse; skip it") from error
    except ValueError as error:  # NULs, in some versions of Python
        raise DocumentRejected(f"not valid Python: {one_line(str(error))}; skip it") from error


def _source(data: bytes) -> Decoded:
    """Decode as Python does: a byte order mark, a coding line (PEP 263), else UTF-8."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except SyntaxError:
        encoding = "utf-8"
    return decode(data, declared=encoding)


def _entries(tree: ast.Module, module: str) -> Iterator[_Entry]:
    """Documented public names in source order; methods come after their class."""
    if docstring := _docstring(tree):
        yield _Entry(level=1, name=module, line=module, docstring=docstring)
    pending: list[tuple[ast.stmt, str, int]] = [(node, module, 2) for node in reversed(tree.body)]
    while pending:
        node, owner, level = pending.pop()
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") and node.name != "__init__":
            continue
        name = f"{owner}.{node.name}"
        if docstring := _docstring(node):
            line = name + _signature(node)
            yield _Entry(level=level, name=one_line(name), line=line, docstring=docstring)
        if isinstance(node, ast.ClassDef):
            pending += [(inner, name, level + 1) for inner in reversed(node.body)]


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return (ast.get_docstring(node, clean=True) or "").strip()


def _signature(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    if isinstance(node, ast.ClassDef):
        inner = ", ".join(ast.unparse(base) for base in node.bases)
        shown = f"({inner})" if inner else ""
    else:
        shown = f"({ast.unparse(node.args)})"
    shown = " ".join(shown.split())
    return shown if len(shown) <= _MAX_SIGNATURE_CHARACTERS else "(...)"
