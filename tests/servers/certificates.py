"""A certificate authority of the test run, and the ways in which a server's certificate can be wrong."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """PEM files of one server: its certificate and its private key."""

    chain: Path
    key: Path


class Authority:
    """Issues certificates below `directory`. Trust it with `ca_file`."""

    def __init__(self, directory: Path, name: str = "Test CA") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.ca_file = directory / "ca.pem"
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _builder(self._name, self._name, self._key.public_key(), datetime.now(UTC) - DAY, 30)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def good(self) -> Certificate:
        """For localhost, 127.0.0.1 and ::1."""
        return self.issue("good", ["localhost", "127.0.0.1", "::1"])

    def wrong_name(self) -> Certificate:
        """Signed by the authority, but for another server."""
        return self.issue("wrong-name", ["mail.example.net"])

    def expired(self) -> Certificate:
        """Ended yesterday."""
        return self.issue("expired", ["localhost"], start=datetime.now(UTC) - 10 * DAY, days=9)

    def self_signed(self) -> Certificate:
        """For localhost, signed by its own key."""
        return self.issue("self-signed", ["localhost"], by_itself=True)

    def issue(
        self,
        stem: str,
        names: list[str],
        *,
        start: datetime | None = None,
        days: int = 29,
        by_itself: bool = False,
    ) -> Certificate:
        """Write STEM.pem and STEM.key for `names` (host names and addresses)."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        issuer = subject if by_itself else self._name
        signer = key if by_itself else self._key
        certificate = (
            _builder(subject, issuer, key.public_key(), start or datetime.now(UTC) - DAY, days)
            .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
            .sign(signer, hashes.SHA256())
        )
        made = Certificate(self._directory / f"{stem}.pem", self._directory / f"{stem}.key")
        made.chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return made


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + days * DAY)
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
