"""Certificate and key of the pages: one's own, or one made here.

A pair is checked before anybody gets to see it: nginx would refuse a bad one in
words of OpenSSL's. What is made here signs itself, for the machine's names and
addresses, and is renewed with the same key, so that a client that pinned the
key goes on working.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fwdcap.errors import Forbidden, Invalid

# As long as Apple's systems take one that a user trusts (support.apple.com/103769).
VALID = timedelta(days=825)
RENEW = timedelta(days=30)
_EARLIER = timedelta(days=1)  # for clients whose clock is behind
_MODE = 0o600
_COMMON_NAME_MOST = 64  # ub-common-name, RFC 5280 appendix A


@dataclass(frozen=True)
class Pair:
    """A certificate with its chain, and its key, both in PEM; times are UTC."""

    certificate: bytes
    key: bytes
    names: frozenset[str]
    begins: datetime
    ends: datetime
    self_signed: bool


def parse(certificate: bytes, key: bytes, certificate_name: str, key_name: str) -> Pair:
    """The pair, checked: the two belong together. Raises Invalid."""
    try:
        leaf = x509.load_pem_x509_certificates(certificate)[0]
    except ValueError:
        raise _bad(f"{certificate_name} holds no certificate in PEM.") from None
    private = _private(key, key_name)
    if _public(private.public_key()) != _public(leaf.public_key()):
        raise _bad(f"The key {key_name} is not that of the certificate {certificate_name}.")
    return Pair(
        certificate,
        key,
        frozenset(_names(leaf)),
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
        leaf.issuer == leaf.subject,
    )


def read(certificate: Path, key: Path) -> Pair:
    """The pair in two files; raises Invalid or Forbidden."""
    return parse(_read(certificate), _read(key), str(certificate), str(key))


def make(names: Iterable[str], now: datetime, key: bytes | None = None) -> Pair:
    """A pair that signs itself, for host names and addresses; `key` is used again."""
    private = load_pem_private_key(key, None) if key else None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        private = ec.generate_private_key(ec.SECP256R1())
    wanted = list(dict.fromkeys(names))
    common = next((name for name in wanted if len(name) <= _COMMON_NAME_MOST), "fwdcap")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    public = private.public_key()
    usage = x509.KeyUsage(True, *[False] * 8)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now - _EARLIER + VALID)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in wanted]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(usage, True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return parse(built.public_bytes(Encoding.PEM), pem, "certificate", "key")


def ensure(directory: Path, names: Sequence[str], now: datetime) -> Pair:
    """The pair kept in `directory`; made or renewed where that is due. Raises OSError.

    Due: none there, unreadable, soon to end, or another set of names.
    """
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    wanted = frozenset(names)
    try:
        kept: Pair | None = read(certificate, key)
    except (Invalid, Forbidden):
        kept = None
    if kept is not None and kept.names == wanted and now < kept.ends - RENEW:
        return kept
    pair = make(names, now, kept.key if kept else None)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(key, pair.key)
    write(certificate, pair.certificate)
    return pair


def write(path: Path, data: bytes) -> None:
    """Replace the file at once, readable by its owner alone. Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def _private(key: bytes, name: str) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(key, None)
    except TypeError:
        raise _bad(
            f"The key {name} is protected by a passphrase, which nobody can enter at start."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise _bad(f"{name} holds no private key in PEM.") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        kind = Forbidden if isinstance(error, PermissionError) else Invalid
        raise kind(
            f"{path} cannot be read: {error.strerror}.",
            code="bad-certificate",
            hint="Correct [web] certificate and key.",
        ) from None


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    hosts = found.get_values_for_type(x509.DNSName)
    return [*hosts, *map(str, found.get_values_for_type(x509.IPAddress))]


def _general(name: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(name)) if _is_address(name) else x509.DNSName(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _public(key: object) -> bytes:
    data: bytes = key.public_bytes(  # type: ignore[attr-defined]
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return data


def _bad(sentence: str) -> Invalid:
    return Invalid(sentence, code="bad-certificate", hint="Correct [web] certificate and key.")
