"""The tables. They know no feature: the vault's sealer is connected to the database."""

from panel.models.account import LISTED, Account
from panel.models.base import BaseModel
from panel.models.collection import Collection, Message, Skipped, SpoolCount, Uidl
from panel.models.encryption import Encryption
from panel.models.endpoint import Endpoint
from panel.models.events import Activity, Alert, AlertChannels
from panel.models.install import Heartbeat, InstallCopy, SetupState
from panel.models.job import Job
from panel.models.messages import LoggedMessage, MailCount, MailTotal, RoundLog
from panel.models.oauth import Consent, OauthApp, Pending
from panel.models.secret_row import SecretRow
from panel.models.sign_in import PendingForm, Person, Session, SignInTry
from panel.models.submission import SubmissionAnswer, SubmissionPassword
from panel.models.sweeps import ForgottenSecret, SweepReport

TABLES: tuple[type[BaseModel], ...] = (
    Encryption,
    Person,
    Session,
    PendingForm,
    SignInTry,
    SetupState,
    Account,
    Endpoint,
    OauthApp,
    Consent,
    Pending,
    SubmissionPassword,
    SubmissionAnswer,
    Collection,
    Message,
    Skipped,
    Uidl,
    Activity,
    Heartbeat,
    SpoolCount,
    ForgottenSecret,
    SweepReport,
    Alert,
    AlertChannels,
    InstallCopy,
    Job,
    LoggedMessage,
    MailCount,
    MailTotal,
    RoundLog,
)

# Every table whose rows hold a secret: whatever is done with all secrets walks these.
SECRET_ROWS: tuple[type[SecretRow], ...] = (
    Endpoint, OauthApp, Consent, Pending, SubmissionPassword,
)  # fmt: skip

__all__ = [
    "LISTED",
    "SECRET_ROWS",
    "TABLES",
    "Account",
    "Activity",
    "Alert",
    "AlertChannels",
    "BaseModel",
    "Collection",
    "Consent",
    "Encryption",
    "Endpoint",
    "ForgottenSecret",
    "Heartbeat",
    "InstallCopy",
    "Job",
    "LoggedMessage",
    "MailCount",
    "MailTotal",
    "Message",
    "OauthApp",
    "Pending",
    "PendingForm",
    "Person",
    "RoundLog",
    "SecretRow",
    "Session",
    "SetupState",
    "SignInTry",
    "Skipped",
    "SpoolCount",
    "SubmissionAnswer",
    "SubmissionPassword",
    "SweepReport",
    "Uidl",
]
