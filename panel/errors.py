"""Every error that a person may read, in one tree.

An error says what happened (`message`) and what to do about it (`remedy`), and
knows how the two outer faces end with it: `status` over HTTP, `exit_code` in
the shell (1: a problem was found; 2: wrong usage; 3: refused, nothing changed).
The page, the shell and the log show the same two sentences. Neither may ever
hold a secret.
"""

from __future__ import annotations

from panel.program import as_typed


class PanelError(Exception):
    """The root. `str(error)` is the message, followed by the remedy if there is one."""

    status = 500
    exit_code = 1
    field: str | None = None  # of the form, where the error is about one
    help = ""  # the paragraph of the manual with more about it: page#anchor

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = as_typed(remedy)

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class Declined(PanelError):
    """What was asked for is not possible or not allowed. Nothing was changed."""

    exit_code = 3


# -- the install ---------------------------------------------------------------


class SettingsError(Declined):
    """A PANEL_ setting that is unknown or cannot be used. Nothing was started."""

    help = "settings"


class NoInstall(Declined):
    """The settings name a place where Mailkeep was never set up."""

    help = "install"
    status = 503


class NotTheOwner(Declined):
    """A command was run as another Unix user than the `owner` of the data directory."""

    help = "commands"

    def __init__(self, message: str, remedy: str = "", *, owner: str = "") -> None:
        super().__init__(message, remedy)
        self.owner = owner


class AlreadySetUp(Declined):
    """Setup was asked for once more; it is closed for ever."""

    status = 403


class DataDirError(Declined):
    """The data directory cannot be made, written or kept private."""

    help = "install"


class DatabaseError(Declined):
    """The database cannot be used: broken, locked for too long or newer than the code."""

    help = "backup#restoring"
    status = 503


class OtherVersion(DatabaseError):
    """An older or newer version wrote the database."""

    help = "upgrade"


class RestoredCopy(Declined):
    """This is a restored copy, and nobody has said yet that the other install is switched off.

    Nothing is collected until then, so that two never collect one mailbox.
    """

    help = "backup#the-question-of-a-restored-copy"
    status = 409


class ServeError(Declined):
    """The web server or the worker could not be started."""

    help = "install#does-it-work"


# -- people at the door --------------------------------------------------------


class NotAllowed(Declined):
    """Signed in, but in a role that may not do this."""

    status = 403


class NotFound(Declined):
    """What was named does not exist (or must not be seen by who asks)."""

    status = 404


class BadInput(Declined):
    """A value typed by a person cannot be used. Nothing was changed."""

    status = 422

    def __init__(self, message: str, remedy: str = "", field: str | None = None) -> None:
        super().__init__(message, remedy)
        self.field = field


class Conflict(BadInput):
    """A value in order that does not go with what is stored: it is taken, or names what does not exist."""


class Throttled(Declined):
    """Too many tries; `remedy` says how long to wait."""

    help = "forgotten-password#too-many-attempts"
    status = 429


# -- stored secrets and their key ----------------------------------------------


class EditedMeanwhile(Declined):
    """The row was changed since it was read. Nothing was written."""

    status = 409


class PasswordNeeded(Declined):
    """Host, port, security, username or method changes only together with a password."""

    help = "accounts#changing"
    status = 422
    field = "password"


class Refused(Declined):
    """The step does not fit the state of the key, or a proof is missing. Nothing was changed."""

    status = 409


class BadCopy(PanelError):
    """A copy of the key file that would not do as a backup, or holds nothing that is needed."""

    help = "encryption#backing-up"
    status = 422


class KeyFileError(Declined):
    """The key file cannot be used as it is; `remedy` names the command that helps."""

    help = "encryption#every-state-and-its-remedy"
    status = 503


class OutOfFiles(Declined):
    """This process, or the whole system, has no more files to open: nothing is known of the key file."""

    help = "settings"
    status = 503


class DamagedKeyFile(KeyFileError):
    """What is at the key file's path is not a key file any more: only a copy helps."""

    help = "encryption#key-unreadable"


class CannotStore(Declined):
    """A secret cannot be stored in the present state of the key. Nothing was written."""

    help = "encryption#every-state-and-its-remedy"
    status = 503


class CannotOpen(PanelError):
    """A sealed secret could not be opened. Never an empty string instead. See its subclasses."""

    help = "encryption#inconsistent"
    status = 503


class KeyAbsent(CannotOpen):
    """No usable key file on this server: the state is one of key-missing, -unreadable, -wrong."""

    help = "encryption#key-missing"


class UnknownKey(CannotOpen):
    """The record was sealed under a key that is not in the key file."""


class WrongKey(CannotOpen):
    """The record names a key of the file, but its commitment does not match that key."""


class Tampered(CannotOpen):
    """The record, or the endpoint it was sealed for, was changed since it was sealed."""


class Malformed(CannotOpen):
    """The stored bytes are no record of a known version."""


class OutsideSecretError(PanelError):
    """A secret of PANEL_SECRETS_DIR is missing, unsafe or not for this server; it was not read."""

    help = "outside-secrets#when-a-secret-is-not-read"
    status = 503


# -- speaking to mail servers --------------------------------------------------


class MailError(PanelError):
    """Talking to a mail server failed at `step`: name, connect, tls, login, folder, fetch, or after
    (what is to become of delivered mail on its server).

    `permanent` is true where trying again cannot help until a person changes
    something (a refused password, a certificate for another name). `retry_after`: how many
    whole seconds the server asked to be left alone, where it did (`panel.mail.throttling`).

    `reason`: a stable word for what was recognised ("" for others), by which a caller that knows more,
    such as who signed in, may say it better: not-connected, no-mailbox, send-as, service-principal,
    smtp-auth-disabled, smtp-auth-disabled-tenant, sign-in-rules, no-scope, token-refused, token-too-long,
    no-token-login, connections (too many are open), unanswered (of a relayed message).
    `token_refused`: the access token itself was refused, so that a fresh one may be taken: worth one
    forced refresh and one retry, no more. False for every refusal that another token would meet too.
    `session_ended`: a server that had let us in ended the session by its own clock (the token or the
    session expired). That is no failure: log in again at once, but only once for each round.
    """

    help = "accounts#when-the-test-fails"
    status = 502

    def __init__(
        self,
        step: str,
        message: str,
        remedy: str = "",
        *,
        permanent: bool = False,
        retry_after: int | None = None,
        reason: str = "",
        token_refused: bool = False,
        session_ended: bool = False,
    ) -> None:
        super().__init__(message, remedy)
        self.step = step
        self.permanent = permanent
        self.retry_after = retry_after
        self.reason = reason
        self.token_refused = token_refused
        self.session_ended = session_ended


class MessageTooLarge(MailError):
    """A message is larger than is taken. `uid` is None if the server named the size first."""

    help = "collecting#when-something-is-wrong"

    def __init__(self, uid: int | None, size: int, limit: int) -> None:
        super().__init__(
            "fetch",
            f"A message of {size} bytes is larger than the {limit} bytes that are taken.",
            "Collect it by hand; the others are collected.",
        )
        self.uid = uid
        self.size = size


class SpoolError(PanelError):
    """The Maildir cannot be written. Collecting stops; nothing on the server is touched."""

    help = "handing-over#where-it-lies"


# -- signing in with OAuth2 -----------------------------------------------------


class ConsentNeeded(Declined):
    """The mailbox waits for its consent, or the provider has ended it: a person connects it again.

    `code`: what the provider called it, to look up; empty where it was never connected.
    """

    help = "oauth#when-a-consent-ends"
    status = 409

    def __init__(self, message: str, remedy: str = "", *, code: str = "") -> None:
        super().__init__(message, remedy)
        self.code = code


class AppFault(PanelError):
    """The provider refuses the app itself (`app`: its uid), and with it each of its mailboxes."""

    help = "oauth#when-the-app-is-at-fault"
    status = 502

    def __init__(self, message: str, remedy: str = "", *, app: str = "", code: str = "") -> None:
        super().__init__(message, remedy)
        self.app = app
        self.code = code


class TokenUnavailable(PanelError):
    """No access token just now: the provider is down, busy or not reachable. It passes by itself.

    `retry_after`: the seconds until it is worth asking again.
    """

    help = "oauth#when-the-app-is-at-fault"
    status = 502

    def __init__(self, message: str, remedy: str = "", *, retry_after: int | None = None) -> None:
        super().__init__(message, remedy)
        self.retry_after = retry_after


# -- telling administrators ------------------------------------------------------


class WebhookFailed(PanelError):
    """The webhook did not accept an alert."""

    help = "alerts#when-an-alert-cannot-be-sent"
    status = 502
