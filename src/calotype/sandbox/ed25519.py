"""Ed25519 signatures (RFC 8032 §5.1) in plain integers, for the webhooks and the certificate of an emulator.

Slow and not constant in time: it signs with keys that are worth nothing.
"""

import hashlib
import secrets

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P

Point = tuple[int, int, int, int]


def _base() -> Point:
    y = 4 * pow(5, P - 2, P) % P
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    x = P - x if x & 1 else x
    return x, y, 1, x * y % P


def _add(a: Point, b: Point) -> Point:
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    i, j, k, m = f - e, h - g, h + g, f + e
    return i * j % P, k * m % P, j * k % P, i * m % P


def _times(factor: int, point: Point) -> Point:
    total: Point = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            total = _add(total, point)
        point = _add(point, point)
        factor >>= 1
    return total


def _packed(point: Point) -> bytes:
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE = _base()


class SigningKey:
    """A private key: 32 bytes, new ones unless given."""

    def __init__(self, seed: bytes | None = None) -> None:
        self.seed = seed or secrets.token_bytes(32)
        digest = hashlib.sha512(self.seed).digest()
        low = int.from_bytes(digest[:32], "little")
        self._secret = low & (1 << 254) - 8 | 1 << 254
        self._prefix = digest[32:]
        self.public = _packed(_times(self._secret, BASE))

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        once = int.from_bytes(hashlib.sha512(self._prefix + message).digest(), "little") % L
        point = _packed(_times(once, BASE))
        challenge = int.from_bytes(hashlib.sha512(point + self.public + message).digest(), "little") % L
        return point + ((once + challenge * self._secret) % L).to_bytes(32, "little")
