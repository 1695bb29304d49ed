"""Mail servers of the large providers, as their help pages name them; and what is special there.

Only what is known for sure stands here: a wrong line costs more than a missing one.
"""

from __future__ import annotations

from dataclasses import dataclass

WANTS_APP_KEY = (
    "It requires an app password, created in the mailbox's security settings, not the usual password."
)
LOCAL_PART = "If it refuses the address as username, try the part before the @ alone."
SWITCH_ON = "Access by mail programs must be switched on in the mailbox's settings first."


@dataclass(frozen=True)
class Provider:
    """Where to log in: host, port and security of each; the username is the whole address."""

    imap: tuple[str, int, str]
    smtp: tuple[str, int, str]
    pop3: tuple[str, int, str] | None = None
    note: str = ""

    def server(self, protocol: str) -> tuple[str, int, str]:
        return {"smtp": self.smtp, "pop3": self.pop3}.get(protocol) or self.imap


def _tls(imap: str, smtp: str, pop3: str = "", note: str = "", smtp_starttls: bool = False) -> Provider:
    sending = (smtp, 587, "starttls") if smtp_starttls else (smtp, 465, "tls")
    return Provider((imap, 993, "tls"), sending, (pop3, 995, "tls") if pop3 else None, note)


GMAIL = _tls(
    "imap.gmail.com", "smtp.gmail.com", "pop.gmail.com",
    "You sign in at Google, or create an app password once two-step verification is on.",
)  # fmt: skip
MICROSOFT_365 = _tls(
    "outlook.office365.com", "smtp.office365.com", "outlook.office365.com",
    "You sign in at Microsoft, which accepts no password from mail programs.", smtp_starttls=True,
)  # fmt: skip
GMX = _tls("imap.gmx.net", "mail.gmx.net", "pop.gmx.net", SWITCH_ON)
ICLOUD = _tls(
    "imap.mail.me.com", "smtp.mail.me.com", note=f"{WANTS_APP_KEY} {LOCAL_PART}", smtp_starttls=True
)
YAHOO = _tls("imap.mail.yahoo.com", "smtp.mail.yahoo.com", "pop.mail.yahoo.com", WANTS_APP_KEY)

PROVIDERS: dict[str, Provider] = {
    "gmail.com": GMAIL, "googlemail.com": GMAIL,
    **dict.fromkeys(
        (
            "outlook.com", "outlook.de", "outlook.fr", "outlook.it", "outlook.es", "outlook.at",
            "hotmail.com", "hotmail.de", "hotmail.co.uk", "hotmail.fr", "hotmail.it", "hotmail.es",
            "live.com", "live.de", "live.fr", "live.co.uk", "windowslive.com", "msn.com",
        ),
        MICROSOFT_365,
    ),
    "gmx.de": GMX, "gmx.net": GMX, "gmx.at": GMX, "gmx.ch": GMX,
    "gmx.com": _tls("imap.gmx.com", "mail.gmx.com", "pop.gmx.com", SWITCH_ON),
    "web.de": _tls(
        "imap.web.de", "smtp.web.de", "pop3.web.de", f"{SWITCH_ON} {LOCAL_PART}", smtp_starttls=True,
    ),
    "icloud.com": ICLOUD, "me.com": ICLOUD, "mac.com": ICLOUD,
    "yahoo.com": YAHOO, "yahoo.de": YAHOO, "yahoo.co.uk": YAHOO, "yahoo.fr": YAHOO, "ymail.com": YAHOO,
    "aol.com": _tls("imap.aol.com", "smtp.aol.com", "pop.aol.com", WANTS_APP_KEY),
    "t-online.de": _tls(
        "secureimap.t-online.de", "securesmtp.t-online.de", "securepop.t-online.de",
        "It requires the password for mail programs, created in the email settings of the customer centre.",
    ),
    "posteo.de": _tls("posteo.de", "posteo.de", "posteo.de"),
    "posteo.net": _tls("posteo.de", "posteo.de", "posteo.de"),
    "mailbox.org": _tls(
        "imap.mailbox.org", "smtp.mailbox.org", "pop3.mailbox.org",
        "With two-factor sign-in on, it requires an app password.",
    ),
    "fastmail.com": _tls("imap.fastmail.com", "smtp.fastmail.com", "pop.fastmail.com", WANTS_APP_KEY),
    "zoho.com": _tls(
        "imap.zoho.com", "smtp.zoho.com", "pop.zoho.com",
        f"{SWITCH_ON} Other regions and plans have other servers.",
    ),
    "orange.fr": _tls("imap.orange.fr", "smtp.orange.fr", "pop.orange.fr"),
    "wanadoo.fr": _tls("imap.orange.fr", "smtp.orange.fr", "pop.orange.fr"),
    "free.fr": _tls("imap.free.fr", "smtp.free.fr", "pop.free.fr", LOCAL_PART),
    "libero.it": _tls("imapmail.libero.it", "smtp.libero.it", "popmail.libero.it"),
    "mail.ru": _tls("imap.mail.ru", "smtp.mail.ru", "pop.mail.ru", WANTS_APP_KEY),
    "yandex.ru": _tls("imap.yandex.ru", "smtp.yandex.ru", "pop.yandex.ru", WANTS_APP_KEY),
    "yandex.com": _tls("imap.yandex.com", "smtp.yandex.com", "pop.yandex.com", WANTS_APP_KEY),
}  # fmt: skip

# Whose servers receive a domain's mail, by the end of their names.
MAIL_HOSTS = {
    "microsoft": (".mail.protection.outlook.com", ".mx.microsoft"),
    "google": (".google.com", ".googlemail.com"),
}

# Domains whose mailboxes no mail program reaches directly.
WITHOUT_PASSWORDS = dict.fromkeys(
    ("proton.me", "protonmail.com", "pm.me"),
    "Proton is reached only through its Bridge, a program on this server. Enter localhost as host.",
)
