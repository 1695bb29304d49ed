"""To a mail server: the connection, and TLS that always verifies who answers."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable

from panel.errors import MailError
from panel.mail.addresses import Address
from panel.mail.policy import Policy
from panel.mail.wire import Wire

# X509_V_ERR_… of OpenSSL, include/openssl/x509_vfy.h
NOT_YET_VALID, EXPIRED = 9, 10
SELF_SIGNED, SELF_SIGNED_IN_CHAIN, UNKNOWN_ISSUER, UNVERIFIABLE = 18, 19, 20, 21
OTHER_NAME, OTHER_ADDRESS = 62, 64

NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_MESSAGE", "RECORD_LAYER_FAILURE"})
TRUST = "If you trust it, put its CA certificate into the file that PANEL_MAIL_CA_FILE names."


def dial(host: str, addresses: Iterable[Address], policy: Policy, ends_at: float) -> Wire:
    """Connect to the first address that answers. Raises MailError (step `connect`)."""
    error: OSError = OSError("no address")
    for address in addresses:
        seconds = min(policy.connect_timeout, ends_at - time.monotonic())
        if seconds <= 0 or policy.interrupt.ended:
            error = TimeoutError()
            break
        try:
            return Wire(_connected(address, seconds), host, policy, ends_at)
        except OSError as reason:
            error = reason
    raise _unreachable(host, error)


def _connected(address: Address, seconds: float) -> socket.socket:
    connection = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(address.sockaddr)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def _unreachable(host: str, error: OSError) -> MailError:
    if isinstance(error, ConnectionRefusedError):
        return MailError("connect", f"{host} refused the connection on this port.", "Check the port.")
    if isinstance(error, TimeoutError):
        return MailError(
            "connect",
            f"{host} did not answer in time.",
            "Check the name and the port. A firewall may block the connection.",
        )
    return MailError(
        "connect",
        f"{host} cannot be reached: {error.strerror or 'no route'}.",
        "Check the network of this server.",
    )


def tls_context(policy: Policy) -> ssl.SSLContext:
    """Trusts the CAs of the system and those of the policy's file; TLS 1.2 or newer."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if policy.ca_file is not None:
        try:
            context.load_verify_locations(policy.ca_file)
        except OSError:  # ssl.SSLError too
            raise MailError(
                "tls",
                f"The CA file {policy.ca_file} cannot be read as certificates in PEM form.",
                "Correct the file, or remove PANEL_MAIL_CA_FILE from the settings.",
                permanent=True,
            ) from None
    return context


def encrypt(wire: Wire, policy: Policy) -> str:
    """TLS over `wire`, the server verified as `wire.host`. Returns the version. Raises MailError."""
    wire.step = "tls"
    context = tls_context(policy)
    try:
        return wire.encrypt(context)
    except ssl.SSLCertVerificationError as error:
        raise _unverified(wire.host, error) from None
    except ssl.SSLError as error:
        if policy.interrupt.ended:
            raise wire.failure(error) from None
        raise _no_tls(wire.host, error) from None
    except OSError as error:
        raise wire.failure(error) from None


def _unverified(host: str, error: ssl.SSLCertVerificationError) -> MailError:
    code = error.verify_code
    if code in (OTHER_NAME, OTHER_ADDRESS):
        what = "belongs to a server of another name."
        remedy = "Enter the name that the certificate was issued for. The provider knows it."
    elif code == EXPIRED:
        what, remedy = (
            "has expired.",
            "Its operator must renew it. Check the clock of this server too.",
        )
    elif code == NOT_YET_VALID:
        what, remedy = "is not valid yet.", "Check the clock of this server."
    elif code == SELF_SIGNED:
        what, remedy = "is a self-signed certificate.", TRUST
    elif code in (SELF_SIGNED_IN_CHAIN, UNKNOWN_ISSUER, UNVERIFIABLE):
        what, remedy = "is signed by a CA that this server does not trust.", TRUST
    else:
        what, remedy = f"cannot be verified: {error.verify_message}.", TRUST
    return MailError("tls", f"The certificate of {host} {what}", remedy, permanent=True)


def _no_tls(host: str, error: ssl.SSLError) -> MailError:
    if error.reason in NOT_TLS:
        return MailError(
            "tls",
            f"{host} does not begin with TLS on this port.",
            "Choose STARTTLS (port 143), or the port for TLS (993).",
            permanent=True,
        )
    if isinstance(error, ssl.SSLEOFError):
        return MailError("tls", f"{host} closed the connection during the TLS handshake.", "Check the port.")
    return MailError(
        "tls",
        f"{host} and this server could not agree on TLS ({error.reason or 'unknown reason'}).",
        "The server must offer TLS 1.2 or newer.",
    )
