"""Exchange Online and Gmail, scripted word for word as people have logged them, for logins by access token.

The words come from the trackers of MailKit, email-oauth2-proxy, getmail6, imapsync and
aioimaplib (2015 to 2026), and from Google's page on XOAUTH2.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.servers.hostile import Talk
from tests.servers.imap import ImapMailbox
from tests.servers.odd_smtp import SmtpScript
from tests.servers.pop3 import PopMailbox

CRLF = b"\r\n"
SAID = re.compile(rb"(?:user=|n,a=)([^\x01]*?),?\x01(.*)auth=Bearer ([^\x01]*)\x01\x01\Z", re.DOTALL)
GOOGLES_CHALLENGE = base64.b64encode(
    b'{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}'
)
INVALID_TOKEN = base64.b64encode(
    b'{"status":"invalid_token","scope":"example_scope",'
    b'"openid-configuration":"https://example.com/.well-known/openid-configuration"}'
)  # RFC 7628, 4.3


@dataclass
class Sasl:
    """One server's side of XOAUTH2 and OAUTHBEARER. Every field may be changed by a test."""

    good: set[str] = field(default_factory=set)  # tokens that let in
    challenge: bytes | None = None  # what a refused token gets first
    refusal: bytes = b""
    granted: bytes = b""
    users: list[str] = field(default_factory=list)  # who was named, as sent
    tokens: list[str] = field(default_factory=list)  # what was sent, in order
    endings: list[bytes] = field(default_factory=list)  # how the challenge was answered
    before_refusal: Callable[[Talk], None] = lambda talk: None

    def lets_in(self, talk: Talk, prompt: bytes, initial: bytes | None = None) -> bool:
        """Take the token, in the command or after a prompt, and judge it."""
        if initial is None:
            talk.send(prompt + CRLF)
            initial = talk.line()
        said = SAID.match(base64.b64decode(initial, validate=True))
        assert said, "neither XOAUTH2 nor OAUTHBEARER"
        self.users.append(said[1].decode())
        self.tokens.append(said[3].decode())
        if self.tokens[-1] in self.good:
            return True
        if self.challenge is not None:
            talk.send(prompt.rstrip() + b" " + self.challenge + CRLF)
            self.endings.append(talk.line())
        self.before_refusal(talk)
        return False


@dataclass
class TokenImap(ImapMailbox):
    """IMAP with mail in it, entered by token alone."""

    sasl: Sasl = field(default_factory=Sasl)

    def _answered(self, talk: Talk, command: bytes, inside: bool) -> bytes:
        words = command.split(b" ")
        if words[0] != b"AUTHENTICATE":
            return super()._answered(talk, command, inside)
        if words[1] not in (b"XOAUTH2", b"OAUTHBEARER"):
            return b"NO AUTHENTICATE failed."
        if self.sasl.lets_in(talk, b"+ ", words[2] if len(words) > 2 else None):
            return b"OK " + self.sasl.granted
        return self.sasl.refusal


@dataclass
class TokenPop3(PopMailbox):
    """POP3 with mail in it, entered by token alone."""

    sasl: Sasl = field(default_factory=Sasl)

    def __call__(self, talk: Talk) -> None:
        usual = talk.line

        def line() -> bytes:
            while (command := usual())[:5].upper() == b"AUTH ":
                self.commands.append(command)
                words = command.split(b" ")
                if len(words) > 2 and len(command) > 255:  # Exchange; the RFC's limit too
                    talk.send(b"-ERR Protocol error. Connection is closed. 10\r\n")
                    raise EOFError
                let_in = self.sasl.lets_in(talk, b"+ ")
                talk.send((b"+OK " + self.sasl.granted if let_in else self.sasl.refusal) + CRLF)
            return command

        talk.line = line  # type: ignore[method-assign]
        super().__call__(talk)


@dataclass
class TokenSmtp(SmtpScript):
    """SMTP submission, entered by token alone."""

    sasl: Sasl = field(default_factory=Sasl)

    def _reply(self, talk: Talk, command: bytes) -> bytes:
        if not command.upper().startswith(b"AUTH "):
            return super()._reply(talk, command)
        if len(command) > 510:
            return b"500 5.5.2 Line too long\r\n"
        let_in = self.sasl.lets_in(talk, b"334 ")
        return (b"235 " + self.sasl.granted if let_in else self.sasl.refusal) + CRLF


TokenServer = TokenImap | TokenPop3 | TokenSmtp


def exchange(protocol: str, *good: str, **over: object) -> TokenServer:
    """Exchange Online. It sends no challenge."""
    if protocol == "imap":
        return TokenImap(
            {1: b"Subject: x\r\n\r\nmail"},
            capabilities=b"IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE "
            b"NAMESPACE LITERAL+",
            later=b"IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES "
            b"CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+",
            greeting=b"* OK The Microsoft Exchange IMAP4 service is ready. [RgBSADMAUAAyADgAMQBDAEEAMAAxAA==]",
            sasl=Sasl(set(good), None, b"NO AUTHENTICATE failed.", b"AUTHENTICATE completed."),
            **over,  # type: ignore[arg-type]
        )
    if protocol == "pop3":
        return TokenPop3(
            [("AAAAAA==", b"Subject: x\r\n\r\nmail")],
            capabilities=(b"TOP", b"UIDL", b"SASL PLAIN XOAUTH2", b"USER"),
            greeting=b"+OK The Microsoft Exchange POP3 service is ready. [UwBDADEAUABSADgAMABDAEEAMAAxAA==]\r\n",
            sasl=Sasl(
                set(good), None,
                b"-ERR Authentication failure: unknown user name or bad password.",
                b"User successfully authenticated.",
            ),
            **over,  # type: ignore[arg-type]
        )  # fmt: skip
    place = b"[AM0PR06CA0126.eurprd06.prod.outlook.com 2026-11-27T14:50:26.590Z 08DC2D372B4C3DED]"
    return TokenSmtp(
        offers=b"SIZE 157286400\r\nPIPELINING\r\nDSN\r\nENHANCEDSTATUSCODES\r\nAUTH LOGIN XOAUTH2\r\n8BITMIME\r\n"
        b"BINARYMIME\r\nCHUNKING\r\nSMTPUTF8",
        greeting=b"220 AM3PR05CA0094.outlook.office365.com Microsoft ESMTP MAIL Service ready at "
        b"Fri, 27 Nov 2026 10:09:41 +0000\r\n",
        sasl=Sasl(
            set(good), None, b"535 5.7.3 Authentication unsuccessful " + place,
            b"2.7.0 Authentication successful",
        ),
        **over,  # type: ignore[arg-type]
    )  # fmt: skip


def gmail(protocol: str, *good: str, **over: object) -> TokenServer:
    """Gmail. A refused token gets a challenge with status 400 first."""
    if protocol == "imap":
        return TokenImap(
            {1: b"Subject: x\r\n\r\nmail"},
            capabilities=b"IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 XYZZY SASL-IR "
            b"AUTH=XOAUTH2 AUTH=PLAIN AUTH=PLAIN-CLIENTTOKEN AUTH=OAUTHBEARER",
            later=b"IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 UIDPLUS ENABLE MOVE "
            b"CONDSTORE ESEARCH UTF8=ACCEPT LIST-EXTENDED LIST-STATUS LITERAL- SPECIAL-USE",
            greeting=b"* OK Gimap ready for requests from 192.0.2.1 cf29mb85450632edb",
            sasl=Sasl(
                set(good), GOOGLES_CHALLENGE, b"NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)",
                b"somebody@example.com authenticated (Success)",
            ),
            **over,  # type: ignore[arg-type]
        )  # fmt: skip
    if protocol == "pop3":
        return TokenPop3(
            [("GmailId1", b"Subject: x\r\n\r\nmail")],
            capabilities=(
                b"USER", b"RESP-CODES", b"EXPIRE 0", b"LOGIN-DELAY 300", b"TOP", b"UIDL", b"X-GOOGLE-RICO",
                b"SASL PLAIN XOAUTH2 OAUTHBEARER",
            ),
            greeting=b"+OK Gpop ready for requests from 192.0.2.1 cf29mb85450632edb\r\n",
            sasl=Sasl(
                set(good), GOOGLES_CHALLENGE, b"-ERR [AUTH] Username and password not accepted.",
                b"Welcome.",
            ),
            **over,  # type: ignore[arg-type]
        )  # fmt: skip
    return TokenSmtp(
        offers=b"SIZE 35882577\r\n8BITMIME\r\nAUTH LOGIN PLAIN XOAUTH2 PLAIN-CLIENTTOKEN OAUTHBEARER XOAUTH\r\n"
        b"ENHANCEDSTATUSCODES\r\nPIPELINING\r\nCHUNKING\r\nSMTPUTF8",
        greeting=b"220 smtp.gmail.com ESMTP x144sm11813878oif.23 - gsmtp\r\n",
        sasl=Sasl(
            set(good), GOOGLES_CHALLENGE,
            b"535-5.7.8 Username and Password not accepted. For more information, go to\r\n"
            b"535 5.7.8  https://support.google.com/mail/?p=BadCredentials b3sm2891515lff.190 - gsmtp",
            b"2.7.0 Accepted",
        ),
        **over,  # type: ignore[arg-type]
    )  # fmt: skip


def rfc7628(protocol: str, *good: str) -> TokenServer:
    """A server by the book: OAUTHBEARER alone."""
    server = gmail(protocol, *good)
    server.sasl.challenge = INVALID_TOKEN
    if isinstance(server, TokenImap):
        server.capabilities = b"IMAP4rev1 AUTH=OAUTHBEARER SASL-IR"
        server.sasl.refusal = b"NO SASL authentication failed"
    elif isinstance(server, TokenPop3):
        server.capabilities = (b"SASL OAUTHBEARER", b"UIDL")
    else:
        server.offers = b"AUTH OAUTHBEARER"
        server.sasl.refusal = b"535 5.7.1 authentication failed"
    return server


SERVERS: dict[str, Callable[..., TokenServer]] = {"Exchange": exchange, "Gmail": gmail, "RFC 7628": rfc7628}
