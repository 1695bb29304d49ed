"""SQLAlchemy with StringEncryptedType, and Airflow's way on SQLAlchemy's ORM, for `bench.sweep`."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, MultiFernet
from sqlalchemy import (
    Boolean,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    event,
    select,
)
from sqlalchemy.orm import Session, declarative_base
from sqlalchemy.orm.attributes import flag_modified
from sqlalchemy_utils import StringEncryptedType
from sqlalchemy_utils.types.encrypted.encrypted_type import AesEngine, AesGcmEngine

from bench._programs import NEW, OLD, PRAGMAS, Peer, passwords

BATCH = 1000


def _engine(path: Path) -> Any:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 60})

    @event.listens_for(engine, "connect")
    def pragmas(connection: Any, _record: Any) -> None:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    return engine


class Cbc(Peer):
    """StringEncryptedType with its default engine: AES-CBC with a fixed vector, nothing authenticated.

    Quickest form: Core instead of the ORM, pages by key, one executemany and one commit a page.
    """

    cipher: Any = AesEngine

    def open(self) -> None:
        """Connect, and name the table once with each key."""
        self.engine = _engine(self.database)
        self.old, self.new = self._table(OLD), self._table(NEW)

    def _table(self, key: str) -> Any:
        secret = Column("secret", StringEncryptedType(String, key, self.cipher, "pkcs5"))
        return Table(
            "account", MetaData(), Column("id", Integer, primary_key=True), Column("clear", String), secret
        )

    def enable(self) -> None:
        """Pages of clear values, encrypted on the way in."""
        self._move(self.old.c.clear, self.old)

    def rotate(self) -> None:
        """Pages decrypted with the old key on the way out, encrypted with the new one on the way in."""
        self._move(self.old.c.secret, self.new)

    def _move(self, source: Any, into: Any) -> None:
        write = (
            into.update().where(into.c.id == bindparam("row")).values(clear=None, secret=bindparam("value"))
        )
        last = 0
        while True:
            with self.engine.begin() as connection:
                query = select(self.old.c.id, source).where(self.old.c.id > last)
                page = connection.execute(query.order_by(self.old.c.id).limit(BATCH)).all()
                if not page:
                    return
                connection.execute(write, [{"row": number, "value": value} for number, value in page])
            last = page[-1][0]

    def check(self) -> int:
        """How many come back, under whichever key is in use."""
        for table in (self.new, self.old):
            try:
                with self.engine.connect() as connection:
                    found = connection.execute(select(table.c.id, table.c.secret)).all()
            except Exception:  # noqa: BLE001, S112 - what a wrong key raises differs from engine to engine
                continue
            wanted = {number: secret for number, _, secret in passwords(len(found))}
            if dict(map(tuple, found)) == wanted:
                return len(found)
        return 0


class Gcm(Cbc):
    """StringEncryptedType with AesGcmEngine, its authenticated one."""

    cipher: Any = AesGcmEngine


class Orm(Peer):
    """StringEncryptedType as its manual shows it: ORM objects, the default engine, the key from a callable.

    Pages by key, a session and a commit a page.
    """

    def open(self) -> None:
        self.engine = _engine(self.database)
        self.key = OLD
        base: Any = declarative_base()

        class Account(base):
            __tablename__ = "account"
            id = Column(Integer, primary_key=True)
            address = Column(String)
            host = Column(String)
            port = Column(Integer)
            username = Column(String)
            clear = Column(String)
            secret = Column(StringEncryptedType(String, lambda: self.key, AesEngine, "pkcs5"))

        self.model: Any = Account

    def enable(self) -> None:
        """Objects whose clear value moves to the encrypted column."""
        self._move(OLD)

    def rotate(self) -> None:
        """Objects decrypted as they load, marked as changed, encrypted as they are flushed."""
        self._move(NEW)

    def _move(self, key: str) -> None:
        last = 0
        while True:
            self.key = OLD
            with Session(self.engine) as session, session.begin():
                query = select(self.model).where(self.model.id > last).order_by(self.model.id).limit(BATCH)
                page = session.scalars(query).all()
                if not page:
                    break
                for row in page:
                    row.secret, row.clear = row.clear or row.secret, None
                    flag_modified(row, "secret")
                last, self.key = page[-1].id, key
        self.key = key

    def check(self) -> int:
        with Session(self.engine) as session:
            found = session.execute(select(self.model.id, self.model.secret)).all()
        wanted = {number: secret for number, _, secret in passwords(len(found))}
        return sum(secret == wanted[number] for number, secret in found)


class Airflow(Peer):
    """Airflow's way: the ORM's objects, all rotated in one session with one commit.

    In the manner of apache/airflow, airflow-core/src/airflow/cli/commands/rotate_fernet_key_command.py
    (commit 152e4c07), which streams the query by hundreds while the session keeps every changed
    object until the commit, and of `Connection.rotate_fernet_key`, which is MultiFernet's `rotate`.
    """

    def open(self) -> None:
        self.engine = _engine(self.database)
        base: Any = declarative_base()

        class Connection(base):
            __tablename__ = "account"
            id = Column(Integer, primary_key=True)
            address = Column(String)
            host = Column(String)
            port = Column(Integer)
            username = Column(String)
            is_encrypted = Column(Boolean)
            clear = Column(String)
            secret = Column(String)

        self.model: Any = Connection
        self.old_key, self.new_key = (Fernet(_fernet_key(text)) for text in (OLD, NEW))

    def enable(self) -> None:
        """Every object loaded and encrypted, one commit."""
        with Session(self.engine) as session, session.begin():
            for row in self._streamed(session, ~self.model.is_encrypted):
                row.secret = self.old_key.encrypt(row.clear.encode()).decode()
                row.clear, row.is_encrypted = None, True

    def rotate(self) -> None:
        """Every object loaded and rotated, one commit."""
        both = MultiFernet([self.new_key, self.old_key])
        with Session(self.engine) as session, session.begin():
            for row in self._streamed(session, self.model.is_encrypted):
                row.secret = both.rotate(row.secret.encode()).decode()

    def _streamed(self, session: Any, wanted: Any) -> Any:
        with session.no_autoflush:
            yield from session.scalars(select(self.model).where(wanted)).yield_per(100)

    def check(self) -> int:
        both = MultiFernet([self.new_key, self.old_key])
        with Session(self.engine) as session:
            found = session.execute(select(self.model.id, self.model.secret)).all()
        wanted = {number: secret for number, _, secret in passwords(len(found))}
        return sum(both.decrypt(text).decode() == wanted[number] for number, text in found)


def _fernet_key(text: str) -> bytes:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
