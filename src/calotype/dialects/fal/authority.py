"""A certificate authority of this installation, for clients that speak HTTPS to fal's names (`wire/fal.md §12.3`).

Its key never leaves the data directory. Who trusts it believes this server when it answers as fal, and only programs
that are started with the bundle do; it may sign for nothing but fal's names and this machine's own.
"""

import ipaddress
import os
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from calotype.dialects.fal.places import HOSTS

LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=800)
"""It is made anew at every start; this is how long a server may run."""
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
DOMAINS = ("fal.run", "falrun.com", "fal.ai", "fal.media", "localhost")
"""What the authority may sign for: these names and everything below them, and loopback addresses."""


class NoAuthorityError(Exception):
    """There is no authority in this data directory yet."""


class Authority:
    """The authority in a folder: `ca.pem`, `ca.key`, and the server's own certificate beside them."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        self._folder = folder

    @property
    def exists(self) -> bool:
        """Say whether it was made."""
        return self.certificate.is_file() and self._key.is_file()

    def make(self) -> bool:
        """Make the authority unless there is one; say whether it was made now."""
        if self.exists:
            return False
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Calotype local authority")])
        allowed: list[x509.GeneralName] = [x509.DNSName(domain) for domain in DOMAINS]
        allowed += [x509.IPAddress(ipaddress.ip_network(net)) for net in ("127.0.0.0/8", "::1/128")]
        builder = (
            _builder(name, name, key.public_key(), LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.NameConstraints(permitted_subtrees=allowed, excluded_subtrees=None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        certificate = builder.sign(key, hashes.SHA256())
        _write(self._key, _private(key))
        _write(self.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        return True

    def leaf(self, names: Iterable[str] = (*HOSTS, *LOCAL_NAMES)) -> tuple[Path, Path]:
        """Make a fresh certificate for these names and return the files of the chain and of its key.

        Raises:
            NoAuthorityError: `make` was never called.

        """
        if not self.exists:
            raise NoAuthorityError("there is no certificate authority yet: calotype ca init makes one")
        authority = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        signer = serialization.load_pem_private_key(self._key.read_bytes(), password=None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Calotype")])
        builder = (
            _builder(subject, authority.subject, key.public_key(), LEAF_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_name(one) for one in names]), critical=False)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        )
        certificate = builder.sign(signer, hashes.SHA256())
        chain, private = self._folder / "server.pem", self._folder / "server.key"
        _write(private, _private(key))
        _write(chain, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        return chain, private

    def bundle(self) -> str:
        """Return this machine's public roots and the authority as one PEM text: `SSL_CERT_FILE` replaces all roots.

        Raises:
            NoAuthorityError: `make` was never called.

        """
        if not self.exists:
            raise NoAuthorityError("there is no certificate authority yet: calotype ca init makes one")
        roots = ssl.create_default_context().get_ca_certs(binary_form=True)
        return "".join(ssl.DER_cert_to_PEM_cert(root) for root in roots) + self.certificate.read_text()


def server_context(chain: Path, private: Path) -> ssl.SSLContext:
    """Return how a server of ours ends TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(chain, private)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, life: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + life)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, body: bytes, mode: int = 0o600) -> None:
    """Write whole or not at all; a private file is never readable for others, not even for a moment."""
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, body)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.rename(path)
