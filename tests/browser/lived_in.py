"""An install as it is after a busy fortnight: 120 mailboxes, their mail, what fails, who did what.

`python -m tests.browser.lived_in` serves it until Enter is pressed, for whoever wants to look around
(admin@example.org, agent@example.org and user@example.org; the password is printed).
"""

from __future__ import annotations

import math
import random
import tempfile
from pathlib import Path

from panel import db
from panel.alerts.watch import Watch
from panel.health import heartbeat, spool
from panel.models import Account, Activity, Collection, Endpoint, Message
from panel.models.messages import LoggedMessage, MailCount, MailTotal, RoundLog
from panel.secret import Secret
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


def fill(house: House, mailboxes: int = 120, messages: int = 400) -> None:
    """Fill the install of `house`, whose encryption is turned on."""
    chance, now = random.Random(1), db.now()
    with db.database.atomic():
        Account.delete().execute()
        accounts = [_mailbox(number, now) for number in range(mailboxes)]
    house.enable()
    house.prove()
    with db.database.atomic():
        _collected(accounts, now, chance)
        _counted(accounts, now, chance)
        _logged(accounts, now, messages, chance)
        Activity.insert_many(_events(accounts, now)).execute()
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
    row.password = Secret(f"the password of {address}")
    row.save()
    return account


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
        (20 * 60, "ada@northwind.example", "signed in", "", ""),
        (HOUR, "lena@northwind.example", "signed in", "", ""),
        (DAY, "ada@northwind.example", "account added", accounts[0].address, "imap.northwind.example:993"),
        (2 * DAY, "ada@northwind.example", "key backup verified", "", "Key 2a1a-917a-c9f8-d3d3"),
        (2 * DAY, "shell (root)", "passwords verified", "", "120 of 120 OK"),
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
        served(Path(directory), PANEL_TIMEZONE="Europe/Berlin") as site,
    ):
        with db.database.connection_context():
            fill(site.house)
        print(f"{site.url}/ admin@example.org {PASSWORD}", flush=True)
        input()
