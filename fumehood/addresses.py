"""Addresses: where on the network a request of the service may go that a tenant asked for, and where it may not.

A tenant's address is a name that somebody else answers for, so only the numbers that the name means are judged, and a connection goes
to a number that was judged. What an operator lists is allowed whatever else stands here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

# Not for everybody, by the registries of special-purpose addresses (RFC 6890 and what amends it), and what clouds answer secrets at.
_REFUSED_4: dict[str, str] = {
    "0.0.0.0/8": "this host",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by a carrier",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "a cloud's own",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved",
    "192.0.2.0/24": "for documentation",
    "192.88.99.0/24": "reserved",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "for measurements",
    "198.51.100.0/24": "for documentation",
    "203.0.113.0/24": "for documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
}
# Of IPv6 only 2000::/3 is anybody's at all; these lie in it.
_GLOBAL_6 = IPv6Network("2000::/3")
_REFUSED_6: dict[str, str] = {
    "2001::/23": "reserved",  # Teredo (2001::/32), which holds an IPv4 address, and others that lead to no host of their own
    "2001:db8::/32": "for documentation",
    "2002::/16": "a way to an IPv4 address",  # 6to4
    "3fff::/20": "for documentation",
}
# Names of what is refused outside of 2000::/3; all the rest is «reserved».
_NAMED_6: dict[str, str] = {
    "::/128": "this host",
    "::1/128": "loopback",
    "::/96": "a way to an IPv4 address",
    "64:ff9b:1::/48": "a way to an IPv4 address",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "fec0::/10": "private",
    "ff00::/8": "multicast",
}
# An IPv4 address in another form, judged as that: mapped, and what a translator of the host's own network makes of it (NAT64).
_WRAPPED = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))

_TABLE_4 = [(IPv4Network(network), what) for network, what in _REFUSED_4.items()]
_TABLE_6 = [(IPv6Network(network), what) for network, what in (_REFUSED_6 | _NAMED_6).items()]
_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9])?")


def refusal(address: Address) -> str | None:
    """What kind of address this is, where nobody's request may go there; None where it is one of the internet's."""
    if isinstance(address, IPv4Address):
        return next((what for network, what in _TABLE_4 if address in network), None)
    if any(address in network for network in _WRAPPED):
        return refusal(IPv4Address(int(address) & 0xFFFFFFFF))
    named = next((what for network, what in _TABLE_6 if address in network), None)
    return named if named or address in _GLOBAL_6 else "reserved"


@dataclass(frozen=True, slots=True)
class Allowed:
    """What an operator permits beyond the internet: networks, and hosts whatever they resolve to."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Allowed:
        """Raises ValueError for what is neither an address, a network nor a name."""
        networks, hosts = [], set()
        for entry in entries:
            text = entry.strip().lower()
            try:
                networks.append(ip_network(text.removeprefix("[").removesuffix("]")))
                continue
            except ValueError:
                pass
            if not _HOST.fullmatch(text) or ".." in text or text.rpartition(".")[2].isdecimal():
                raise ValueError(f"{entry!r} is neither a network such as 10.1.0.0/16 nor a host such as hook.example.com or *.example.com")
            hosts.add(text)
        return cls(tuple(networks), frozenset(hosts))

    def has_host(self, host: str) -> bool:
        """Whether the host itself is listed, or one of the domains above it with `*.`."""
        labels = host.split(".")
        return host in self.hosts or any("*." + ".".join(labels[n:]) in self.hosts for n in range(1, len(labels)))

    def permits(self, host: str, address: Address) -> bool:
        if refusal(address) is None or self.has_host(host):
            return True
        # The form that is listed counts, and the one that it stands for.
        forms = {address}
        if isinstance(address, IPv6Address) and any(address in network for network in _WRAPPED):
            forms.add(IPv4Address(int(address) & 0xFFFFFFFF))
        return any(form in network for form in forms for network in self.networks if form.version == network.version)


def as_address(text: str) -> Address | None:
    """An address that is written as one, in its usual form."""
    try:
        return ip_address(text)
    except ValueError:
        return None
