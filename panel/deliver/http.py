"""The target that posts a message, over the panel's one HTTP client."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import time
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, quote_from_bytes

from panel import text_file
from panel.deliver.message import Disposition, OutgoingMessage, TryResult, result
from panel.deliver.targets import HttpTarget
from panel.errors import BadInput, MailError
from panel.mail import https
from panel.mail.https import Body, HttpLimits
from panel.mail.policy import Policy
from panel.wording import reason

REFUSED = frozenset({400, 413, 415, 422})
CHUNK = 3 * 2**15  # bytes; divisible by 3, for base64
LONGEST_SECRET = 4096
FORM = "application/x-www-form-urlencoded"


def deliver(target: HttpTarget, message: OutgoingMessage, directory: Path, policy: Policy) -> TryResult:
    """POST the message. 2xx: delivered; 400, 413, 415, 422: refused; everything else: later.

    `directory`: where the target's secrets lie. The message is read once to be measured and signed, and once
    to be sent; it is never held.
    """
    ends_at = time.monotonic() + target.timeout
    try:
        secrets = {name: secret(directory, file) for name, file in target.header_secrets.items()}
        key = secret(directory, target.hmac_secret) if target.hmac_secret else ""
        encoded = partial(_encoded, message, target)
        length, signature = _measured(encoded(), key, ends_at)
        headers = {**target.headers, **secrets, **_ours(message), "Content-Length": str(length)}
        if key:
            headers["Mailkeep-Signature"] = f"sha256={signature}"
        kind = "message/rfc822" if target.encoding == "raw" else FORM
        limits = HttpLimits(seconds=ends_at - time.monotonic(), body=0)
        body = Body(b"", kind, encoded())
        answer = https.fetch(target.url, policy, internal=True, limits=limits, body=body, headers=headers)
    except (BadInput, MailError) as error:
        return result(Disposition.LATER, error.message)
    if 200 <= answer.status < 300:
        return result(Disposition.DELIVERED, _named(answer.status))
    if answer.status in REFUSED:
        return result(Disposition.REFUSED, _named(answer.status))
    return result(Disposition.LATER, _named(answer.status), answer.retry_after or 0)


def _ours(message: OutgoingMessage) -> dict[str, str]:
    """The mailbox's address comes from the database: what no header may hold is escaped."""
    mailbox = quote(message.mailbox, safe="@!#$&'*+=?^_`{|}~-.")
    return {"Mailkeep-Delivery-Id": message.id, "Mailkeep-Mailbox": mailbox, "Mailkeep-Uid": message.uid}


def _named(status: int) -> str:
    """The status alone: the rest of an answer may repeat a secret that was sent."""
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _encoded(message: OutgoingMessage, target: HttpTarget) -> Iterator[bytes]:
    """The body. Of a file that grows meanwhile, which members of the group can write, no more is sent."""
    message.file.seek(0)
    left = message.size
    if target.encoding != "raw":
        yield f"{quote(target.form_field, safe='')}=".encode()
    while chunk := message.file.read(min(CHUNK, left)):
        left -= len(chunk)
        if target.encoding == "base64form":
            chunk = base64.b64encode(chunk)
        yield chunk if target.encoding == "raw" else quote_from_bytes(chunk, safe="").encode()


def _measured(body: Iterator[bytes], key: str, ends_at: float) -> tuple[int, str]:
    """Its length, and its HMAC-SHA256 in hex. Raises MailError where that takes too long."""
    length, digest = 0, hmac.new(key.encode(), digestmod=hashlib.sha256)
    for chunk in body:
        if time.monotonic() > ends_at:  # a sparse file of terabytes costs its author nothing
            raise MailError("send", "The message could not be read in time.")
        length += len(chunk)
        digest.update(chunk)
    return length, digest.hexdigest()


def secret(directory: Path, name: str) -> str:
    """The secret of that name: a credential of systemd, or else a private file beside the targets file.

    Raises BadInput for one that others could read, and for what cannot stand in a header.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(credentials, name) if credentials else directory / name
    if credentials and not path.exists():
        credentials, path = None, directory / name
    try:
        with text_file.open_regular(path) as file:
            found = os.fstat(file.fileno())
            value = file.read(LONGEST_SECRET + 1).removesuffix(b"\n").removesuffix(b"\r")
    except OSError as error:
        raise BadInput(f"The secret {name} cannot be read: {reason(error)}.") from None
    private = credentials or (not found.st_mode & 0o077 and found.st_uid in (0, os.geteuid()))
    if not private:
        raise BadInput(f"The secret {name} must be a file that only its user can read (chmod 600).")
    if not re.fullmatch(rb"[\x21-\x7e](?:[\x20-\x7e]{0,4094}[\x21-\x7e])?", value):
        raise BadInput(f"The secret {name} is empty, too long, or holds what cannot be sent.")
    return value.decode("ascii")
