"""A self-signed certificate for an emulator, because some clients speak HTTPS only (`wire/fal.md §0.7`).

It is written as DER by hand (RFC 5280, RFC 8410), so that no cryptography package is needed.
"""

import base64
import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from calotype.sandbox.ed25519 import SigningKey

VALID = timedelta(days=30)
_ED25519 = bytes.fromhex("300506032b6570")
_COMMON_NAME, _BASIC, _NAMES = bytes.fromhex("0603550403"), bytes.fromhex("0603551d13"), bytes.fromhex("0603551d11")


def write_certificate(folder: Path, names: Iterable[str]) -> tuple[str, str]:
    """Write `sandbox.pem` and `sandbox.key` for these host names and addresses; return both paths."""
    key = SigningKey()
    signed = _signed_part(key, list(names), datetime.now(UTC))
    certificate = _seq(signed, _ED25519, _bits(key.sign(signed)))
    private = _seq(_tag(2, b"\0"), _ED25519, _tag(4, _tag(4, key.seed)))
    pem, private_pem = folder / "sandbox.pem", folder / "sandbox.key"
    pem.write_text(_armoured("CERTIFICATE", certificate))
    private_pem.touch(mode=0o600)
    private_pem.write_text(_armoured("PRIVATE KEY", private))
    return str(pem), str(private_pem)


def _signed_part(key: SigningKey, names: list[str], now: datetime) -> bytes:
    name = _seq(_tag(0x31, _seq(_COMMON_NAME, _tag(0x0C, b"calotype sandbox"))))
    life = _seq(_time(now - timedelta(hours=1)), _time(now + VALID))
    authority = _seq(_BASIC, _tag(1, b"\xff"), _tag(4, _seq(_tag(1, b"\xff"))))
    hosts = _seq(_NAMES, _tag(4, _seq(*map(_host, names))))
    return _seq(
        _tag(0xA0, _tag(2, b"\2")), _tag(2, b"\1" + key.public[:8]), _ED25519, name, life, name,
        _seq(_ED25519, _bits(key.public)), _tag(0xA3, _seq(authority, hosts)),
    )  # fmt: skip


def _tag(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < 0x80:
        return bytes([tag, size]) + body
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(digits)]) + digits + body


def _seq(*parts: bytes) -> bytes:
    return _tag(0x30, b"".join(parts))


def _bits(body: bytes) -> bytes:
    return _tag(3, b"\0" + body)


def _time(when: datetime) -> bytes:
    return _tag(0x17, when.strftime("%y%m%d%H%M%SZ").encode())


def _host(name: str) -> bytes:
    try:
        return _tag(0x87, ipaddress.ip_address(name).packed)
    except ValueError:
        return _tag(0x82, name.encode())


def _armoured(what: str, body: bytes) -> str:
    text = base64.encodebytes(body).decode()
    return f"-----BEGIN {what}-----\n{text}-----END {what}-----\n"
