"""Connecting: from the click to the provider's sign-in page and back, or with a code for another device.

Who began a flow goes on with it, and nobody else; a code is redeemed once (`panel.oauth.flow_rows`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

from panel import db
from panel.config import Settings
from panel.errors import BadInput, CannotOpen, EditedMeanwhile, PanelError, PasswordNeeded, TokenUnavailable
from panel.mail.policy import Policy
from panel.models.oauth import AppPlace, Pending
from panel.oauth import apps, client, known_apps, sentences
from panel.oauth.client import Tokens
from panel.oauth.flow_rows import (
    BEGUN,
    DEVICE,
    GRANTED,
    REDEEMING,
    SHELL,
    Details,
    Flow,
    Owner,
    Wish,
    end,
    find,
    move,
    opened,
    over,
    shown,
    store_new,
    uid_of,
)  # fmt: skip
from panel.secret import Secret
from panel.vault import credential
from panel.vault.vault import Vault

LONGEST_ANSWER = 4_096  # characters of an address that is pasted back
LONGEST_CODE, LONGEST_STATE = 4_096, 200
CALLBACK = "/oauth/callback/"
ANSWER = ("code", "state", "iss", "error", "error_description")


@contextmanager
def _asked_once() -> Iterator[None]:
    """What is asked for while a person waits is not asked for again by itself."""
    try:
        yield
    except TokenUnavailable as error:
        error.remedy = error.remedy.replace(sentences.AGAIN, sentences.CONNECT_AGAIN)
        raise


# -- in a browser: code and PKCE -------------------------------------------------------------


def begin(vault: Vault, settings: Settings, wish: Wish, owner: Owner) -> Flow:
    """Begin a sign-in in the browser; `Flow.url` is where it goes on.

    Raises NotFound, CannotOpen (app), CannotStore, and PanelError where an issuer's discovery fails.
    """
    app, _ = open_app(vault, wish.app)
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    redirect = apps.redirect_address(settings, app.uid)
    person = wish.signs_in_as or wish.address
    url = client.authorization_url(app, verifier, state, redirect, person, Policy.of(settings))
    details = Details(BEGUN, wish, owner, db.now(), verifier=verifier, redirect=redirect, url=url)
    return store_new(uid_of(state), details)


def open_app(vault: Vault, uid: str) -> tuple[AppPlace, Secret]:
    """The app and its client secret, opened now. Raises NotFound, CannotOpen."""
    row = apps.find(uid)
    secret = known_apps.opened(row, vault)
    return row.place, secret


def _uid(answer: Mapping[str, str]) -> str:
    return uid_of(answer.get("state", "")[:LONGEST_STATE])


def of_answer(vault: Vault, answer: Mapping[str, str], owner: Owner) -> Flow:
    """The flow that an answer belongs to. Raises Refused."""
    return find(vault, _uid(answer), owner)


def require_of(flow: Flow, answer: Mapping[str, str]) -> None:
    """Raise BadInput unless the answer belongs to `flow`."""
    if _uid(answer) != flow.uid:
        raise BadInput("This is the address of another sign-in.", "Copy the one of this sign-in.", "address")


def hand_over(vault: Vault, app_uid: str, answer: Mapping[str, str]) -> bool:
    """Keep the answer for the shell that began the sign-in and waits for it; False where none does.

    Any browser may bring it, signed in or not: its state, which the shell printed, is known to nobody else.
    """
    row = Pending.get_or_none(Pending.uid == _uid(answer))
    try:
        details = Details.read(credential.open_row(row, vault)) if row is not None else None
    except (CannotOpen, PasswordNeeded):
        return False
    if row is None or details is None or not details.owner.session.startswith(SHELL) or details.is_over:
        return False
    if details.wish.app != app_uid or details.stage != BEGUN:
        return False
    if not details.answer:  # else it came twice: the shell may be redeeming it by now
        with suppress(EditedMeanwhile):
            move(row, replace(details, answer={name: answer[name] for name in ANSWER if name in answer}))
    return True


def handed_over(vault: Vault, uid: str, owner: Owner) -> Mapping[str, str]:
    """The answer that a browser brought for this shell; empty so far. Raises Refused."""
    return opened(vault, uid, owner)[1].answer


def redeem(vault: Vault, settings: Settings, app_uid: str, answer: Mapping[str, str], owner: Owner) -> Flow:
    """Exchange the provider's answer, which came to the redirect address of `app_uid`, for tokens.

    Once: a second answer shows how far the flow is and asks nobody. Raises Refused for a flow that is over or
    another's, and PanelError where provider or person refused; the flow is over then.
    """
    uid = _uid(answer)
    row, details = opened(vault, uid, owner)
    if details.wish.app != app_uid:  # this issuer has got the state of another (mix-up): it is known to both
        end(str(row.uid))
        raise over()
    if details.stage != BEGUN:
        return shown(uid, details)
    app, secret = open_app(vault, app_uid)
    try:
        with _asked_once():
            code = _code(app, answer)
            move(row, replace(details, stage=REDEEMING, url="", answer={}))
            tokens = client.redeem_code(
                app, secret, code, details.verifier, details.redirect, answer.get("iss"), Policy.of(settings)
            )
        return _grant(vault, uid, owner, tokens)
    except EditedMeanwhile:  # the same answer came twice, and the other one is being redeemed
        return find(vault, uid, owner)
    except PanelError:
        end(uid)
        raise


def _code(app: AppPlace, answer: Mapping[str, str]) -> str:
    """The code of the answer. Raises PanelError where there is none."""
    if "error" in answer:
        raise sentences.refusal(app, answer["error"], answer.get("error_description", ""), of_code=True)
    code = answer.get("code", "")
    if not 0 < len(code) <= LONGEST_CODE:
        raise BadInput("The provider's answer holds no code.", "Connect the mailbox again.", "address")
    return code


def parse(pasted: str) -> tuple[str, dict[str, str]]:
    """App and answer of an address that was pasted back. Raises BadInput (field `address`)."""
    text = pasted.strip()
    try:
        if not text or len(text) > LONGEST_ANSWER:
            raise ValueError
        parts = urlsplit(text)
        values = dict(parse_qsl(parts.query, max_num_fields=20, errors="strict"))
    except ValueError:
        parts, values = urlsplit(""), {}
    app = parts.path.rpartition(CALLBACK)[2]
    if CALLBACK not in parts.path or "state" not in values:
        raise BadInput(
            "This is not the address that the sign-in ended at.",
            f"Copy the whole address of the browser: it contains “{CALLBACK}” and “state=”.",
            "address",
        )
    return app, values


# -- with a code for another device ------------------------------------------------------------


def begin_device(vault: Vault, settings: Settings, wish: Wish, owner: Owner) -> Flow:
    """Have the provider issue a code that is typed on any device.

    Raises as `begin`, AppFault, and Refused where the provider has none.
    """
    app, secret = open_app(vault, wish.app)
    with _asked_once():
        device = client.start_device(app, secret, Policy.of(settings))
    details = Details(
        DEVICE, wish, owner, db.now(), device_code=device.code.reveal(), user_code=device.user_code,
        verification_url=device.verification_uri, interval=device.interval,
        next_at=db.now() + device.interval,
    )  # fmt: skip
    return store_new(uid_of(secrets.token_urlsafe(32)), details)


def poll(vault: Vault, settings: Settings, uid: str, owner: Owner) -> Flow:
    """Ask whether the code was entered, unless it is too early to ask again.

    Raises Refused for a flow that is over or another's, PanelError where the person or the provider refused.
    """
    row, details = opened(vault, uid, owner)
    if details.stage != DEVICE or db.now() < details.next_at:
        return shown(uid, details)
    try:
        asked = replace(details, next_at=db.now() + details.interval)
        move(row, asked)  # before the call, so that two pages never ask twice
        app, secret = open_app(vault, details.wish.app)
        code = Secret(details.device_code)
        answer = client.poll_device(app, secret, code, details.interval, Policy.of(settings))
        if isinstance(answer, Tokens):
            return _grant(vault, uid, owner, answer)
        slower = replace(asked, interval=answer.interval, next_at=db.now() + answer.interval)
        if slower.interval != asked.interval:
            move(opened(vault, uid, owner)[0], slower)
        return shown(uid, slower)
    except EditedMeanwhile:
        return find(vault, uid, owner)
    except TokenUnavailable:
        raise
    except PanelError:
        end(uid)
        raise


# -- what was granted --------------------------------------------------------------------------


def _grant(vault: Vault, uid: str, owner: Owner, tokens: Tokens) -> Flow:
    """Keep what was granted, sealed, until the person has seen who signed in."""
    assert tokens.refresh is not None  # the client refuses an answer without one
    row, details = opened(vault, uid, owner)
    granted = Details(
        GRANTED, details.wish, details.owner, details.began_at, refresh=tokens.refresh.reveal(),
        signed_in_as=tokens.id_claims.shown, subject=tokens.id_claims.subject,
    )  # fmt: skip
    move(row, granted)
    return shown(uid, granted)


def connect_application(vault: Vault, settings: Settings, app_uid: str) -> None:
    """Raise PanelError unless the provider lets the app in by itself."""
    app, secret = open_app(vault, app_uid)
    with _asked_once():
        client.application_token(app, secret, Policy.of(settings))
