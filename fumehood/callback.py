"""Callback: the address that a tenant wants to be told at, taken apart once, so that what was checked is what is used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from fumehood.addresses import Allowed, as_address, refusal

URL_CHARACTERS = 2048
PORTS = {"http": 80, "https": 443}
# Where something listens that takes lines of text for commands: the «bad ports» of the Fetch standard, and two stores of that kind.
PORTS_REFUSED = frozenset(
    [
        *(1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110, 111, 113),
        *(115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556),
        *(563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6379, 6566, 6665, 6666),
        *(6667, 6668, 6669, 6679, 6697, 10080, 11211),
    ]
)
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# What other programs read as an IPv4 address: 127.1, 2130706433, 0x7f.0.0.1.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where a request goes. `host` is a name in small letters, or an address without brackets."""

    scheme: str
    host: str
    port: int
    path: str
    """With its query."""

    @property
    def authority(self) -> str:
        """As the header `Host` has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def target_of(url: str, allowed: Allowed) -> Target:
    """Take an address apart.

    Raises:
        ValueError: it cannot be used, or leads where nobody's request may go, as far as that can be said without asking for its name.
    """
    if len(url) > URL_CHARACTERS:
        raise ValueError(f"has {len(url):,} characters; the limit is {URL_CHARACTERS:,}")
    # Before it is split: the parser leaves out tabs and line ends without a word.
    if not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise ValueError("expected printable ASCII characters, with a name in other letters as xn--…, and no backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is no address; expected one such as https://example.com/hook") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("is no address of http or https; expected one such as https://example.com/hook")
    if "@" in parts.netloc:
        raise ValueError("holds a user or a password; expected none: the message is signed instead")
    if parts.fragment:
        raise ValueError("has a fragment (#…), which is never sent; expected none")
    port = PORTS[parts.scheme] if port is None else port
    if port in PORTS_REFUSED or port == 0:
        raise ValueError(f"port {port} is none that webhooks are sent to: other programs than web servers listen there")
    host = _host(parts.hostname, allowed)
    path = parts.path or "/"
    return Target(scheme=parts.scheme, host=host, port=port, path=f"{path}?{parts.query}" if parts.query else path)


def _host(given: str, allowed: Allowed) -> str:
    """Raises ValueError."""
    host = given.lower().removesuffix(".")
    address = as_address(host) if "%" not in host else None
    if address is not None:
        if not allowed.permits(str(address), address):
            raise ValueError(f"the address {address} is not one of the internet's: {refusal(address)}")
        return str(address)
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("its host is no name; expected letters, digits and '-' between dots")
    if _NUMBER.fullmatch(labels[-1]):
        raise ValueError("its host is a number in an unusual form; expected a name, or an address such as 93.184.216.34")
    if (len(labels) == 1 or labels[-1] == "localhost") and not allowed.has_host(host):
        raise ValueError("its host is a name of a local network; expected one of the internet's")
    return host
