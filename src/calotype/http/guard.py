"""The SSRF guard: which addresses a URL that came from outside may reach.

The text of the URL is checked first, the resolved address again at the moment of the connection (the resolver hands
out only what it checked, so there is no second lookup to poison), and each redirect starts over.
"""

import ipaddress
import re
from collections.abc import Collection
from socket import AddressFamily

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from calotype.http.wire import Wire
from calotype.kernel.errors import Code, Problem

MAX_URL_CHARS = 16_384
KEPT_S = 15.0
DENIED_PORTS = frozenset(
    {1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 53, 69, 79, 110, 111, 113, 119, 123, 135, 137, 139, 143}
    | {161, 179, 389, 427, 445, 465, 512, 513, 514, 515, 540, 548, 554, 556, 563, 587, 601, 636, 873, 989, 990, 993}
    | {995, 1433, 1521, 1719, 1720, 1723, 2049, 2181, 2375, 2376, 2379, 2380, 3306, 3389, 4190, 5060, 5061, 5432, 5672}
    | {5900, 5984, 6000, 6379, 6443, 6665, 6666, 6667, 6668, 6669, 6697, 9042, 9092, 9200, 9300, 10250, 11211, 27017}
)
"""Ports of services that do not speak HTTP, or speak it to administrators only."""

_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_RELAY_V4 = ipaddress.IPv4Network("192.88.99.0/24")
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\Z")
_BAD_CHARS = re.compile(r"[\x00-\x20\x7f\\]")


class Blocked(Problem):
    """The guard's refusal; permanent, and nothing was sent."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(Code.INVALID_INPUT, message, field=field, retryable=False)


class Guard:
    """Refuses URLs that do not lead to a public address.

    `allowed_hosts` holds `host` or `host:port` entries that are exempt (IPv6 in brackets when a port follows).
    `resolver` replaces the system's own; whatever it answers is checked.
    """

    def __init__(self, allowed_hosts: Collection[str] = (), resolver: AbstractResolver | None = None) -> None:
        self._allowed = frozenset(entry.strip().lower().rstrip(".") for entry in allowed_hosts)
        self._inner = resolver
        self._checked: _CheckedResolver | None = None
        self._wire: Wire | None = None

    def check_url(self, url: str, field: str | None = None) -> None:
        """Refuse what can be refused without DNS; raises Blocked (a Problem, `invalid_input`) naming the field."""
        self.parse(url, field)

    def parse(self, url: str | URL, field: str | None = None) -> URL:
        """Check as `check_url` does and return the very value to connect with, so that no second parser differs."""
        if isinstance(url, str):
            if len(url) > MAX_URL_CHARS:
                raise Blocked(f"The URL is longer than {MAX_URL_CHARS} characters.", field)
            if _BAD_CHARS.search(url):
                raise Blocked("The URL holds spaces, backslashes or control characters; percent-encode them.", field)
            try:
                url = URL(url)
            except ValueError:
                raise Blocked("This is not a URL; send one such as https://example.com/picture.png.", field) from None
        if url.scheme not in ("http", "https"):
            raise Blocked("Only http:// and https:// URLs can be fetched.", field)
        try:
            host, port = (url.raw_host or "").lower(), url.port
        except ValueError:
            raise Blocked("The URL's port is not a number from 1 to 65535.", field) from None
        if not host or not port:
            raise Blocked("The URL names no host.", field)
        if url.raw_user is not None or url.raw_password is not None:
            raise Blocked("The URL may not carry a user name or password.", field)
        if self.exempt(host, port):
            return url
        if port in DENIED_PORTS:
            raise Blocked(f"Port {port} is not open to media URLs; use 80, 443 or a port of a web server.", field)
        host = host.rstrip(".")
        if host == "localhost" or host.endswith(".localhost"):
            raise Blocked(_private("localhost"), field)
        if (address := _literal(host, field)) is not None and not is_public(address):
            raise Blocked(_private(host), field)
        return url

    def exempt(self, host: str, port: int) -> bool:
        """Say whether the operator allowed this host although it may be private."""
        if not self._allowed:
            return False
        host = host.lower().rstrip(".")
        return bool(self._allowed & {host, f"{host}:{port}", f"[{host}]", f"[{host}]:{port}"})

    @property
    def resolver(self) -> AbstractResolver:
        """A resolver for connectors, which answers with checked addresses only or raises Blocked."""
        if self._checked is None:
            self._checked = _CheckedResolver(self, self._inner or aiohttp.ThreadedResolver())
        return self._checked

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host that may be connected to.

        Raises:
            Blocked: it has private ones only.
            OSError: it has none.

        """
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return [answer["host"] for answer in await self.resolver.resolve(host, port)]
        if not self.exempt(host, port) and not is_public(host):
            raise Blocked(_private(host))
        return [host]

    @property
    def wire(self) -> Wire:
        """The connections that downloads use: to checked addresses, without cookies or a proxy of the environment."""
        if self._wire is None:
            headers = {"User-Agent": "calotype", "Accept-Encoding": "identity"}
            self._wire = Wire(
                pool_size=256, per_host=64, keepalive_s=KEPT_S, headers=headers, addresses=self.addresses
            )  # fmt: skip
        return self._wire

    async def close(self) -> None:
        """Close the connections of downloads."""
        if self._wire is not None:
            self._wire.close()
        if self._checked is not None:
            await self._checked.close()
        self._wire = self._checked = None


class _CheckedResolver(AbstractResolver):
    def __init__(self, guard: Guard, inner: AbstractResolver) -> None:
        self._guard = guard
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_UNSPEC
    ) -> list[ResolveResult]:
        answers = await self._inner.resolve(host, port, family)
        if self._guard.exempt(host, port):
            return answers
        public = [answer for answer in answers if is_public(answer["host"])]
        if answers and not public:
            raise Blocked(_private(host))
        return public

    async def close(self) -> None:
        await self._inner.close()


def is_public(address: str) -> bool:
    """Say whether an address in text form is globally routable unicast, looking into embedded IPv4 addresses too."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not ip.is_multicast and not ip.is_reserved and ip not in _RELAY_V4
    if ip.scope_id is not None:
        return False
    if ip.ipv4_mapped is not None:
        return is_public(str(ip.ipv4_mapped))
    if ip in _NAT64:
        return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)))
    if ip.sixtofour is not None:  # older Pythons call the whole prefix private, newer ones public
        return is_public(str(ip.sixtofour))
    if ip not in _GLOBAL_V6 or not ip.is_global or ip.is_multicast:
        return False
    if ip.teredo is not None:
        return all(is_public(str(part)) for part in ip.teredo)
    return True


def _literal(host: str, field: str | None) -> str | None:
    """Return the host when it is an IP literal; refuse the odd spellings that a resolver would still take for one."""
    if ":" in host:
        return host
    if not _NUMERIC.match(host.rpartition(".")[2]):
        return None
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        raise Blocked("The host looks like a number; write an IPv4 address as four decimal numbers.", field) from None


def _private(host: str) -> str:
    return (
        f"The host {host[:100]!r} is not on the public internet; give a public address (files also go as data URI or "
        "upload), or have the operator allow the host (security.allowed_private_hosts)."
    )
