"""Certificates: made here, one's own, and what is wrong with either."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from fwdcap.errors import Invalid
from fwdcap.tls import certificate
from fwdcap.tls.certificate import RENEW, VALID

pytestmark = pytest.mark.unit

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = ["appliance", "localhost", "10.0.0.7", "fd00::7"]


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def files(directory: Path, chain: bytes, key: bytes) -> tuple[Path, Path]:
    paths = directory / "c.pem", directory / "k.pem"
    for path, data in zip(paths, (chain, key), strict=True):
        path.write_bytes(data)
    return paths


def own(ca: trustme.CA, name: str = "pages.example") -> tuple[bytes, bytes]:
    issued = ca.issue_cert(name)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    return chain, issued.private_key_pem.bytes()


def test_what_is_made_names_hosts_and_addresses_and_signs_itself() -> None:
    pair = certificate.make(NAMES, NOW)
    assert pair.names == frozenset(NAMES)
    assert pair.self_signed
    assert pair.begins < NOW
    assert pair.ends - pair.begins == VALID


def test_a_client_that_trusts_it_accepts_it(tmp_path: Path) -> None:
    """Both ends of a handshake by OpenSSL, in memory and with its strict rules."""
    pair = certificate.make(NAMES, datetime.now(UTC))
    chain, key = files(tmp_path, pair.certificate, pair.key)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(chain, key)
    asking = ssl.create_default_context(cafile=str(chain))
    asking.verify_flags |= ssl.VERIFY_X509_STRICT
    for name in NAMES:
        assert shake_hands(serving, asking, name) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake_hands(serving, asking, "other")


def shake_hands(serving: ssl.SSLContext, asking: ssl.SSLContext, name: str) -> str | None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(to_client, to_server, server_hostname=name)
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client.version()


def test_it_is_kept_private_and_not_made_twice(tmp_path: Path) -> None:
    first = certificate.ensure(tmp_path / "tls", NAMES, NOW)
    for path in (tmp_path / "tls").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    assert certificate.ensure(tmp_path / "tls", NAMES[::-1], NOW + timedelta(days=700)) == first


@pytest.mark.parametrize(
    ("names", "later"),
    [(NAMES, VALID - RENEW), (NAMES, VALID * 2), ([*NAMES, "10.0.0.8"], timedelta(0))],
    ids=["soon to end", "ended", "another address"],
)
def test_it_is_renewed_with_the_same_key(
    tmp_path: Path, names: list[str], later: timedelta
) -> None:
    first = certificate.ensure(tmp_path, NAMES, NOW)
    second = certificate.ensure(tmp_path, names, NOW + later)
    assert second.certificate != first.certificate
    assert second.key == first.key
    assert second.names == frozenset(names)
    assert certificate.ensure(tmp_path, names, NOW + later) == second


def test_one_that_was_damaged_is_made_anew(tmp_path: Path) -> None:
    first = certificate.ensure(tmp_path, NAMES, NOW)
    (tmp_path / "key.pem").write_text("")
    assert certificate.ensure(tmp_path, NAMES, NOW).key != first.key


def test_ones_own_is_taken_with_its_chain(tmp_path: Path, ca: trustme.CA) -> None:
    chain, key = own(ca)
    pair = certificate.read(*files(tmp_path, chain, key))
    assert (pair.certificate, pair.key) == (chain, key)
    assert pair.names == {"pages.example"}
    assert not pair.self_signed


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, ca: trustme.CA) -> None:
    chain, _ = own(ca)
    _, key = own(ca)
    with pytest.raises(Invalid, match=r"The key .*k\.pem is not that of the certificate"):
        certificate.read(*files(tmp_path, chain, key))


def test_a_key_with_a_passphrase_is_refused(tmp_path: Path, ca: trustme.CA) -> None:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    with pytest.raises(Invalid, match="passphrase"):
        certificate.read(*files(tmp_path, own(ca)[0], key))


def test_files_the_wrong_way_round_are_refused(tmp_path: Path, ca: trustme.CA) -> None:
    with pytest.raises(Invalid, match="holds no certificate"):
        certificate.read(*files(tmp_path, *own(ca)[::-1]))


@pytest.mark.parametrize("broken", [b"", b"\0\xff" * 50, b"-----BEGIN PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(tmp_path: Path, ca: trustme.CA, broken: bytes) -> None:
    with pytest.raises(Invalid, match="holds no private key"):
        certificate.read(*files(tmp_path, own(ca)[0], broken))


@pytest.mark.parametrize("cut", [20, 400, -40])
def test_a_certificate_cut_short_is_refused(tmp_path: Path, ca: trustme.CA, cut: int) -> None:
    chain, key = own(ca)
    with pytest.raises(Invalid, match="holds no certificate"):
        certificate.read(*files(tmp_path, chain[:cut], key))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"c\.pem cannot be read: No such file"):
        certificate.read(tmp_path / "c.pem", tmp_path / "k.pem")


def test_an_rsa_key_of_ones_own_is_fine(tmp_path: Path, ca: trustme.CA) -> None:
    issued = ca.issue_cert("pages.example", key_type=trustme.KeyType.RSA)
    key = issued.private_key_pem.bytes()
    pair = certificate.read(*files(tmp_path, issued.cert_chain_pems[0].bytes(), key))
    made = certificate.make(NAMES, NOW, pair.key)  # kept where a user had put it
    assert made.names == frozenset(NAMES)
