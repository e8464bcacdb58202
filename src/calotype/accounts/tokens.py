"""The text of API keys: `ct_live_<id>_<secret>`, `ct_test_<id>_<secret>`, or `<id>:<secret>` as fal's clients write it.

The secret has 192 random bits, so one SHA-256 is enough: there is nothing to guess and no password to stretch.
"""

import hashlib
import secrets
from typing import NamedTuple

from calotype.kernel.generation import KeyClass
from calotype.kernel.ids import KeyId

ID_CHARS = 16
SECRET_CHARS = 48
_TOKEN_CHARS = len("ct_live_") + ID_CHARS + 1 + SECRET_CHARS
_FAL_CHARS = ID_CHARS + 1 + SECRET_CHARS


class Parsed(NamedTuple):
    """A key's text in parts; `test` is None in fal's form, which does not say."""

    id: KeyId
    secret: str
    test: bool | None


def new_id() -> KeyId:
    """Return a new key id of 16 hex digits."""
    return KeyId(secrets.token_hex(ID_CHARS // 2))


def new_secret() -> str:
    """Return a new secret of 48 hex digits."""
    return secrets.token_hex(SECRET_CHARS // 2)


def text_of(key_id: KeyId, secret: str, key_class: KeyClass) -> str:
    """Write a key as it is shown once."""
    return f"ct_{'test' if key_class is KeyClass.TEST else 'live'}_{key_id}_{secret}"


def parse(token: str) -> Parsed | None:
    """Take a key's text apart; None when it has neither form."""
    size = len(token)
    if size == _TOKEN_CHARS and token[24] == "_":
        prefix = token[:8]
        if prefix == "ct_live_":
            return Parsed(KeyId(token[8:24]), token[25:], False)
        if prefix == "ct_test_":
            return Parsed(KeyId(token[8:24]), token[25:], True)
    elif size == _FAL_CHARS and token[ID_CHARS] == ":":
        return Parsed(KeyId(token[:ID_CHARS]), token[ID_CHARS + 1 :], None)
    return None


def hash_of(secret: str) -> str:
    """Return the SHA-256 of a secret in hex: what is stored."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
