"""The tables, one file each. They know no feature: what seals a secret is connected to the database."""

from panel.models.account import Account
from panel.models.activity import Activity
from panel.models.alert import Alert, AlertChannels
from panel.models.base import BaseModel
from panel.models.collection import Collection
from panel.models.encryption import Encryption
from panel.models.endpoint import Endpoint
from panel.models.forgotten_secret import ForgottenSecret
from panel.models.heartbeat import Heartbeat
from panel.models.message import Message, Skipped, Uidl
from panel.models.person import Person
from panel.models.session import Session
from panel.models.set_up import SetUp
from panel.models.sign_in_try import SignInTry
from panel.models.sweep_report import SweepReport
from panel.models.this_copy import ThisCopy
from panel.models.waiting import Waiting

TABLES: tuple[type[BaseModel], ...] = (
    Encryption,
    Person,
    Session,
    SignInTry,
    SetUp,
    Account,
    Endpoint,
    Collection,
    Message,
    Skipped,
    Uidl,
    Activity,
    Heartbeat,
    Waiting,
    ForgottenSecret,
    SweepReport,
    Alert,
    AlertChannels,
    ThisCopy,
)

__all__ = [
    "TABLES",
    "Account",
    "Activity",
    "Alert",
    "AlertChannels",
    "BaseModel",
    "Collection",
    "Encryption",
    "Endpoint",
    "ForgottenSecret",
    "Heartbeat",
    "Message",
    "Person",
    "Session",
    "SetUp",
    "SignInTry",
    "Skipped",
    "SweepReport",
    "ThisCopy",
    "Uidl",
    "Waiting",
]
