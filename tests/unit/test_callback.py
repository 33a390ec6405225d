"""Where webhooks may go: addresses in every form, and what is no address."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from fumehood.addresses import Allowed, refusal
from fumehood.callback import PORTS_REFUSED, URL_CHARACTERS, Target, target_of

NOBODY = Allowed()
INSIDE = [
    *("127.0.0.1", "127.255.0.3", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1"),
    *("198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "ff02::1", "2001:db8::1", "3fff::1", "100::1"),
    *("5f00::1", "4000::1", "2001:2::1", "2001:10::1", "2001:20::1"),
    # IPv4 in other clothes: mapped, compatible, 6to4, NAT64 and its local form, Teredo.
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::a9fe:a9fe", "2002:7f00:1::1", "2002:0808:0808::1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2001:0:53aa:64c:0:7a87:f5ff:fffe", "2001::1"),
]
OUTSIDE = ["93.184.216.34", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("text", INSIDE)
def test_an_address_of_the_inside_is_refused_however_it_is_written(text: str) -> None:
    assert refusal(ip_address(text))
    with pytest.raises(ValueError, match="not one of the internet's"):
        target_of(f"http://[{text}]/" if ":" in text else f"http://{text}/", NOBODY)


@pytest.mark.parametrize("text", OUTSIDE)
def test_an_address_of_the_internet_is_not(text: str) -> None:
    assert refusal(ip_address(text)) is None
    assert target_of(f"https://[{text}]/" if ":" in text else f"https://{text}/", NOBODY).host == str(ip_address(text))


def test_nothing_passes_that_the_standard_library_does_not_call_global() -> None:
    chance = random.Random(7)
    for _ in range(20_000):
        for address in (IPv4Address(chance.getrandbits(32)), IPv6Address(chance.getrandbits(128)), IPv6Address(chance.getrandbits(32))):
            assert address.is_global or refusal(address), address
    for head in (0x2001, 0x2002, 0x3FFF, 0xFC00, 0xFE80, 0x0064, 0x0100):
        for _ in range(2_000):
            address = IPv6Address(head << 112 | chance.getrandbits(chance.choice((24, 64, 112))))
            assert address.is_global or refusal(address), address


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://Example.COM", Target(scheme="https", host="example.com", port=443, path="/")),
        ("http://example.com.:8080/a/b?c=%20d&e", Target(scheme="http", host="example.com", port=8080, path="/a/b?c=%20d&e")),
        ("HTTPS://xn--bcher-kva.example/?x", Target(scheme="https", host="xn--bcher-kva.example", port=443, path="/?x")),
        ("http://[2606:4700::1111]:81/x", Target(scheme="http", host="2606:4700::1111", port=81, path="/x")),
    ],
)
def test_an_address_is_taken_apart(url: str, target: Target) -> None:
    assert target_of(url, NOBODY) == target


def test_the_host_is_told_as_the_header_has_it() -> None:
    told = {url: target_of(url, NOBODY).authority for url in ("https://a.example/", "https://a.example:80/", "http://[2606:4700::1]:8080/")}
    assert list(told.values()) == ["a.example", "a.example:80", "[2606:4700::1]:8080"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "printable ASCII"),
        ("ftp://example.com/", "http or https"),
        ("file:///etc/passwd", "http or https"),
        ("gopher://example.com/", "http or https"),
        ("//example.com/", "http or https"),
        ("https:///path", "http or https"),
        ("https:example.com", "http or https"),
        ("https://user@example.com/", "a user or a password"),
        ("https://user:pw@example.com/", "a user or a password"),
        ("https://@example.com/", "a user or a password"),
        ("https://example.com/#top", "fragment"),
        ("https://exa mple.com/", "printable ASCII"),
        ("https://example.com/\r\nHost: x", "printable ASCII"),
        ("https://exam\tple.com/", "printable ASCII"),
        ("https://example.com\\@evil.example/", "no backslash"),
        ("https://bücher.example/", "xn--"),
        ("https://example.com/" + "a" * URL_CHARACTERS, "the limit is 2,048"),
        ("https://example.com:99999/", "is no address"),
        ("https://example.com:x/", "is no address"),
        ("https://[::1/", "is no address"),
        ("https://example.com:0/", "port 0"),
        ("http://example.com:25/", "port 25"),
        ("http://example.com:6379/", "port 6379"),
        ("http://127.1/", "unusual form"),
        ("http://2130706433/", "unusual form"),
        ("http://0x7f.0.0.1/", "unusual form"),
        ("http://0x7f000001/", "unusual form"),
        ("http://0177.0.0.1/", "unusual form"),
        ("http://127.0.0.1./", "not one of the internet's"),
        ("http://1.2.3.4.5/", "unusual form"),
        ("http://[fe80::1%25eth0]/", "no name"),
        ("http://localhost/", "local network"),
        ("http://LOCALHOST./", "local network"),
        ("http://a.localhost/", "local network"),
        ("http://redis:8000/", "local network"),
        ("http://a..b.example/", "no name"),
        ("http://-a.example/", "no name"),
        ("http://" + "a" * 64 + ".example/", "no name"),
        ("http://" + "a." * 130 + "example/", "no name"),
        ("http://a%2eexample/", "no name"),
    ],
)
def test_what_cannot_be_an_address_of_the_internet_is_said_at_once(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        target_of(url, NOBODY)


def test_web_ports_are_taken() -> None:
    assert not {80, 443, 3000, 8000, 8080, 8443, 8765, 9000} & PORTS_REFUSED


def test_what_an_operator_lists_is_allowed_and_nothing_beside_it() -> None:
    allowed = Allowed.of(["10.1.0.0/16", "[fd00::1]", "127.0.0.1", "Hooks", "*.inside.example"])
    for url in ("http://10.1.2.3/", "http://[fd00::1]/", "http://127.0.0.1:8000/", "http://[::ffff:10.1.0.1]/", "http://hooks/"):
        assert target_of(url, allowed)
    for url in ("http://10.2.0.1/", "http://[fd00::2]/", "http://127.0.0.2/", "http://hook/", "http://[::ffff:10.2.0.1]/"):
        with pytest.raises(ValueError, match=r"internet's"):
            target_of(url, allowed)
    inside = ip_address("10.9.9.9")
    assert allowed.permits("a.inside.example", inside)
    assert allowed.permits("b.a.inside.example", inside)
    assert not allowed.permits("inside.example", inside)
    assert not allowed.permits("ainside.example", inside)


@pytest.mark.parametrize("entry", ["10.1.0.1/16", "10.1", "http://a.example", "a.example:80", "*", "a..b", "-", "1.2.3.4.5", "a/b"])
def test_what_an_operator_lists_is_a_network_or_a_host(entry: str) -> None:
    with pytest.raises(ValueError, match="is neither a network"):
        Allowed.of([entry])
