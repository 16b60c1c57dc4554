"""E-mail (EML): who wrote to whom, when and what; attachments are named and not opened."""

import email
import email.policy
from email.message import EmailMessage, Message
from typing import Final

from flows.documents.decoding import decode
from flows.documents.draft import Draft, unix_lines
from flows.documents.html_pages import declared_charset, html_text
from flows.documents.markdown_outline import markdown_outline
from flows.documents.parsed_document import Drawn
from flows.documents.titles import one_line
from flows.errors import DocumentRejected

_SHOWN: Final = ("From", "To", "Cc", "Date", "Subject")


def email_message(data: bytes) -> Drawn:
    """The headers that people read, the body, and the names of the attachments.

    The plain version of a body is preferred to its HTML version.

    Raises:
        DocumentRejected: It has none of the headers of an e-mail.
    """
    message = email.message_from_bytes(data, policy=email.policy.default)
    headers = {name: _header(message, name) for name in _SHOWN}
    if not any(headers.values()):
        raise DocumentRejected(
            "not an e-mail: no From, To, Date or Subject; expected a message as it was sent"
        )
    draft = Draft()
    draft.add("\n".join(f"{name}: {value}" for name, value in headers.items() if value))
    markup = _add_body(draft, message)
    names = [one_line(part.get_filename() or part.get_content_type()) for part in _others(message)]
    if names:
        draft.add("Attachments: " + ", ".join(names))
    return Drawn(
        text=draft.text,
        title=one_line(headers["Subject"]),
        headings=draft.headings,
        markup="markdown" if markup else "plain",
    )


def _header(message: Message, name: str) -> str:
    return " ".join(str(message.get(name, "")).split())


def _add_body(draft: Draft, message: EmailMessage) -> bool:
    """Add what the message says; whether that is Markdown, drawn from HTML."""
    body = message.get_body(preferencelist=("plain", "html"))
    if body is None:
        return False
    payload = body.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    if not data.strip():
        return False
    charset = body.get_content_charset()
    if body.get_content_subtype() != "html":
        draft.add(decode(data, declared=charset).text)
        return False
    page = html_text(decode(data, declared=charset or declared_charset(data)).text, whole=True)
    text = unix_lines(page.text)
    draft.add_marked_up(text, markdown_outline(text).headings)
    return True


def _others(message: EmailMessage) -> list[EmailMessage]:
    """The parts beside the body and its other version."""
    return list(message.iter_attachments()) if message.is_multipart() else []
