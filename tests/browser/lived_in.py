"""An install as it is after a busy fortnight: 120 mailboxes, their mail, what fails, who did what.

`python -m tests.browser.lived_in` serves it until Enter is pressed, for whoever wants to look around
(admin@example.org, agent@example.org and user@example.org; the password is printed).
"""

from __future__ import annotations

import math
import random
import tempfile
from dataclasses import replace
from pathlib import Path

from panel import db
from panel.accounts import service
from panel.accounts.auth import Auth, Login, Oauth, Outside
from panel.accounts.service import Seen
from panel.alerts.watch import Watch
from panel.audit import Actor
from panel.deliver import mailboxes as targets
from panel.health import heartbeat, spool
from panel.mail.server import MailServer
from panel.models import Account, Activity, Collection, Endpoint, Message
from panel.models.messages import LoggedMessage, MailCount, MailTotal, RoundLog
from panel.models.oauth import Consent, new_uid
from panel.oauth import app_rules, apps
from panel.secret import Secret
from panel.submission import passwords
from panel.vault import verification
from tests.browser.served import served
from tests.encryption.conftest import House, new_endpoint
from tests.sign_in.browser import PASSWORD

DOMAINS = (
    ("northwind.example", "imap.northwind.example"), ("alpenverlag.example", "imap.alpenverlag.example"),
    ("bergmann-heizung.example", "imap.ionos.example"), ("cedarandpine.example", "mail.cedarandpine.example"),
    ("dr-lindqvist.example", "mail.dr-lindqvist.example"), ("eastgate-legal.example", "imap.fastmail.example"),
    ("fenwick-maschinen.example", "imap.fenwick-maschinen.example"), ("grandhotel-seeblick.example", "pop.seeblick.example"),
    ("hafenwerk.example", "imap.hafenwerk.example"), ("jansen-logistik.example", "mx.jansen-logistik.example"),
    ("lumen-energie.example", "imap.lumen-energie.example"), ("bremer-spedition.example", "mail.bremer-spedition.example"),
)  # fmt: skip
NAMES = (
    "support",
    "orders",
    "info",
    "service",
    "billing",
    "returns",
    "dispatch",
    "office",
    "hello",
    "team",
)
LETTERS = (
    ("Petra Hollmann", "petra@kunden.example", "Re: Delivery 40-2281, two boxes missing", 38_000),
    ("", "no-reply@shop.example", "New order 100-48213", 12_000),
    ("Jonas Wiberg", "jonas@wiberg.example", "Heating shows error F28 since this morning", 1_400_000),
    ("Amélie Fournier", "amelie@voyages.example", "Réservation 3 nuits, arrivée le 4 décembre", 21_000),
    ("Stadtwerke Lindau", "zaehler@lindau.example", "Zählerstand Oktober", 86_000),
    ("Tomasz Wójcik", "t.wojcik@czesci.example", "Spare part 7731-A, price and delivery time?", 54_000),
    ("Cedar & Pine Store", "shop@cedar.example", "Return request RT-9043", 17_000),
    ("Priya Raman", "priya@raman.example", "Re: [#20418] Invoice shows wrong VAT", 61_000),
    ("Marek Dvořák", "marek@dvorak.example", "Cannot log in since the update", 24_000),
    ("", "", "", 900),
)
DAY, HOUR = 86_400, 3_600
MICROSOFT = MailServer("imap", "outlook.office365.com", 993, "tls", "")
TARGETS = """
zammad = { type = "http", url = "https://desk.northwind.example/mail" }
rt = { type = "command", command = ["/usr/bin/rt-mailgate"] }
"""
ADA = Actor("ada@northwind.example")


def settings(directory: Path) -> dict[str, str]:
    """Settings with which mail goes out, helpdesks send and passwords may be kept outside."""
    (secrets := directory / "secrets").mkdir(mode=0o700)
    (file := directory / "targets.toml").write_text(TARGETS)
    file.chmod(0o600)
    return {
        "PANEL_TARGETS_FILE": str(file), "PANEL_SUBMISSION_BIND": "127.0.0.1:2525",
        "PANEL_SECRETS_DIR": str(secrets), "PANEL_CONTACT": "Dana, extension 17",
    }  # fmt: skip


def fill(house: House, mailboxes: int = 120, messages: int = 400) -> None:
    """Fill the install of `house`, whose encryption is turned on."""
    chance, now = random.Random(1), db.now()
    with db.database.atomic():
        Account.delete().execute()
        Activity.delete().execute()
        accounts = [_mailbox(number, now) for number in range(mailboxes)]
    Activity.insert_many(_events(accounts, now)).execute()
    house.enable()
    house.prove()
    _connected(house, accounts, now)
    _sends(house, accounts)
    with db.database.atomic():
        _collected(accounts, now, chance)
        _counted(accounts, now, chance)
        _logged(accounts, now, messages, chance)
    heartbeat.beat()
    verification.run_and_note(house.vault)
    spool.store(spool.count(house.settings.mail_spool))
    Watch(house.settings, house.vault).check()


def _mailbox(number: int, now: int) -> Account:
    domain, host = DOMAINS[number % len(DOMAINS)]
    name = NAMES[number // len(DOMAINS) % len(NAMES)]
    again = number // (len(DOMAINS) * len(NAMES))
    address = f"{name}{again or ''}@{domain}"
    account = Account.create(
        address=address, created_at=now - 60 * DAY, paused_at=now if number == 17 else None
    )
    pop = host.startswith("pop.")
    row = new_endpoint(account, host=host, protocol="pop3" if pop else "imap", port=995 if pop else 993)
    row.secret = Secret(f"the password of {address}")
    row.save()
    return account


def _connected(house: House, accounts: list[Account], now: int) -> None:
    """Apps, and a mailbox of each way to sign in without a password."""
    for name, provider, more, days in (
        ("Northwind", "microsoft", {"tenant": "northwind.example"}, 300),
        ("Workspace", "google", {}, None),
        ("Keycloak", "issuer", {"issuer": "https://login.hafenwerk.example", "scopes": "mail"}, 12),
    ):  # fmt: skip
        place = app_rules.place(new_uid(), name, provider, client_id=f"{name}-5f2c", **more)  # type: ignore[arg-type]
        apps.add(house.vault, place, Secret(f"of {name}"), days and now + days * DAY, ADA)
    _signs_in(house, accounts[0], Oauth("Northwind"))
    _signs_in(house, accounts[12], Oauth("Northwind", "ada@northwind.example"))
    _signs_in(house, accounts[13], Oauth("Northwind"))
    _signs_in(house, accounts[3], Outside("cedar-and-pine"))
    for number, ended in ((0, None), (12, now - 3 * HOUR)):
        consent = Consent.get(Consent.account == accounts[number])
        consent.secret, consent.connected_at = Secret("a refresh token"), now - 20 * DAY
        consent.ended_at, consent.ended_code = ended, "AADSTS50173" if ended else None
        consent.save(place=consent.place)


def _signs_in(house: House, account: Account, how: Auth) -> None:
    host = replace(MICROSOFT, username=account.address) if isinstance(how, Oauth) else None
    service.edit(house.vault, account.uuid, service.mailbox_of(account), host, how, Seen(), ADA)


def _sends(house: House, accounts: list[Account]) -> None:
    """Two mailboxes send, one of them for a helpdesk; the mail of some goes out."""
    for account in accounts[1:3]:
        server = MailServer("smtp", "smtp.northwind.example", 465, "tls", account.address)
        with Endpoint.storing():
            service.insert_endpoint(house.vault, account, "out", Login(server, Secret("x")), ADA)
    passwords.create(accounts[1].uuid, ["sales@alpenverlag.example"], ADA)
    if house.settings.targets_file is not None:
        for number, account in enumerate(accounts[:6]):
            targets.choose(house.settings, account.uuid, "rt" if number == 5 else "zammad", ADA)


def _collected(accounts: list[Account], now: int, chance: random.Random) -> None:
    for number, account in enumerate(accounts):
        failing = account.address.endswith("@bremer-spedition.example")
        wrong = number == 4
        row = {
            "account": account, "last_uid": 100, "uidvalidity": 1,
            "last_success_at": now - (11 * HOUR if failing or wrong else chance.randrange(5, 58)),
            "next_due_at": now + 3 * HOUR if failing else now + 30, "waits": 4 * HOUR if failing else 60,
        }  # fmt: skip
        if failing or wrong:
            host = Endpoint.get(Endpoint.account == account).host
            row |= {"failures": 9, "failing_since": now - 11 * HOUR, "permanent": wrong}
            row["problem"] = (
                "The mail server refused the password."
                if wrong
                else f"{host} did not answer within 30 seconds."
            )
            row["remedy"] = "Enter the new one." if wrong else "Check that the server is running."
        Collection.insert(**row).on_conflict_replace().execute()


def _counted(accounts: list[Account], now: int, chance: random.Random) -> None:
    hour = now - now % HOUR
    totals: dict[int, int] = {}
    rows = []
    for at in range(hour - 14 * DAY, hour + 1, HOUR):
        day = math.sin(math.pi * max(0, min(1, (at % DAY / HOUR - 5) / 15)))
        weekend = 0.25 if (at // DAY + 4) % 7 in (0, 6) else 1.0
        for number, account in enumerate(accounts):
            if found := round(chance.random() * 4 * day * weekend * (1 + number % 3) / 2):
                rows.append((account.uuid, at, found))
                totals[at] = totals.get(at, 0) + found
    for start in range(0, len(rows), 5000):
        MailCount.insert_many(
            rows[start : start + 5000], [MailCount.account, MailCount.at, MailCount.delivered]
        ).execute()
    MailTotal.insert_many(list(totals.items()), [MailTotal.at, MailTotal.delivered]).execute()


def _logged(accounts: list[Account], now: int, count: int, chance: random.Random) -> None:
    for number in range(count):
        account = accounts[chance.randrange(min(30, len(accounts)))]
        name, sender, subject, size = LETTERS[number % len(LETTERS)]
        at = now - (count - number) * 90
        if number % 57 == 56:
            LoggedMessage.create(
                account=account, at=at, size=62_000_000, sender=sender, sender_name=name, subject=subject,
                reason="It is larger than 50 MB.", uidvalidity=1, uid=number, waiting=False,
            )  # fmt: skip
            continue
        fetched = Message.create(
            account=account,
            uidvalidity=1,
            uid=number,
            name=f"{number}.x",
            digest=bytes([number % 256]) * 32,
            ready=False,
        )
        LoggedMessage.create(
            account=account, at=at, size=size, sender=sender, sender_name=name, subject=subject, fetched=fetched,
            waiting=number > count - 4, message_id=f"<{number}@kunden.example>",
        )  # fmt: skip
    for account in accounts[:30]:
        for ago, error in ((3 * HOUR, "The server closed the connection."), (600, None), (70, None)):
            RoundLog.create(
                account=account, started_at=now - ago, took=30_000 if error else 700, found=0 if error else 2,
                delivered=0 if error else 2, skipped=0, error=error, first_at=now - ago,
            )  # fmt: skip


def _events(accounts: list[Account], now: int) -> list[dict[str, object]]:
    happened = (
        (2 * DAY, "shell (root)", "passwords verified", "", "120 of 120 OK"),
        (2 * DAY, "ada@northwind.example", "key backup verified", "", "Key 2a1a-917a-c9f8-d3d3"),
        (DAY, "ada@northwind.example", "mailbox added", accounts[0].address, "imap.northwind.example:993"),
        (HOUR, "lena@northwind.example", "signed in", "", ""),
        (20 * 60, "ada@northwind.example", "signed in", "", ""),
    )
    return [
        {
            "at": now - ago,
            "who": who,
            "what": what,
            "subject": subject,
            "detail": detail,
            "address": "198.51.100.23",
        }
        for ago, who, what, subject, detail in happened
    ]


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as directory,
        served(Path(directory), PANEL_TIMEZONE="Europe/Berlin", **settings(Path(directory))) as site,
    ):
        with db.database.connection_context():
            fill(site.house)
        print(f"{site.url}/ admin@example.org {PASSWORD}", flush=True)
        input()
