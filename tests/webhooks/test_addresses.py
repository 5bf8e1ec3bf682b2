"""Where webhooks may go (contract sections A3 and B6): addresses, and URLs at registration."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oklp.addresses import address_allowed, check_webhook_url
from oklp.errors import InvalidRequest

# --- addresses -------------------------------------------------------------------------------------------------------

FORBIDDEN = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::2",
    "::127.0.0.1",
    "::ffff:0.0.0.0",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2606:4700::1%eth0",
    "127.1",
    "0x7f.1",
    "2130706433",
    "010.0.0.1",
    "8.8.8",
    "8.8.8.8.",
    "localhost",
    "example.com",
    "8.8.8.8:80",
    "[::1]",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "64:ff9b::8.8.8.8",
    "::ffff:8.8.8.8",
]
LOOPBACK = ["127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "::ffff:127.0.0.1"]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_forbidden_addresses(address: str) -> None:
    assert not address_allowed(address, allow_loopback=False)
    assert address_allowed(address, allow_loopback=True) == (address in LOOPBACK)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert address_allowed(address, allow_loopback=False)
    assert address_allowed(address, allow_loopback=True)


# Whole ranges are seldom hit by chance: half of the examples come from near their edges.
def _near(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> st.SearchStrategy[int]:
    edges = [int(network.network_address), int(network.broadcast_address)]
    last = 2**network.max_prefixlen - 1
    return st.builds(lambda edge, step: min(max(edge + step, 0), last), st.sampled_from(edges), st.integers(-2, 2))


EDGES_V4 = [
    ipaddress.IPv4Network(n) for n in ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "224.0.0.0/3")
]
EDGES_V6 = [
    ipaddress.IPv6Network(n)
    for n in ("2000::/3", "2001::/23", "2002::/16", "64:ff9b::/96", "::ffff:0:0/96", "fc00::/7")
]
IPV4 = st.one_of(st.integers(0, 2**32 - 1), *map(_near, EDGES_V4)).map(ipaddress.IPv4Address)
IPV6 = st.one_of(st.integers(0, 2**128 - 1), *map(_near, EDGES_V6)).map(ipaddress.IPv6Address)


def special(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_private or address.is_multicast or address.is_reserved or address.is_link_local


@given(IPV4)
def test_an_allowed_ipv4_address_is_public_by_any_reading(address: ipaddress.IPv4Address) -> None:
    if address_allowed(str(address), allow_loopback=False):
        assert address.is_global
        assert not special(address)


@given(IPV6)
def test_an_allowed_ipv6_address_is_public_by_any_reading(address: ipaddress.IPv6Address) -> None:
    if address_allowed(str(address), allow_loopback=False) and address not in ipaddress.IPv6Network("64:ff9b::/96"):
        inner = address.ipv4_mapped or address
        assert inner.is_global
        assert not special(inner)
        assert address.teredo is None
        assert address.sixtofour is None


@given(IPV4)
def test_an_ipv6_spelling_of_an_ipv4_address_is_judged_as_what_it_is(address: ipaddress.IPv4Address) -> None:
    for allow_loopback in (False, True):
        verdict = address_allowed(str(address), allow_loopback=allow_loopback)
        assert address_allowed(f"::ffff:{address}", allow_loopback=allow_loopback) == verdict
    assert address_allowed(f"64:ff9b::{address}", allow_loopback=True) == address_allowed(
        str(address), allow_loopback=False
    )


@given(st.one_of(IPV4, IPV6))
def test_the_sandbox_adds_loopback_and_nothing_else(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    added = address_allowed(str(address), allow_loopback=True) != address_allowed(str(address), allow_loopback=False)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    assert added == (mapped or address).is_loopback


@given(st.text(max_size=40))
def test_any_text_has_a_verdict(text: str) -> None:
    assert address_allowed(text, allow_loopback=True) in (True, False)


# --- URLs at registration --------------------------------------------------------------------------------------------

BOTH = [
    "https://studio.example/webhook",
    "https://studio.example",
    "https://studio.example./",
    "https://STUDIO.example:8443/a/b?c=%20d&e=[f]",
    "HTTPS://xn--bcher-kva.example/",
    "https://my_game.studio.example/",
    "https://1.example/",
    "https://8.8.8.8/",
    "https://[2606:4700:4700::1111]:65535/",
]
SANDBOX_ONLY = [
    "http://127.0.0.1:9000/match",
    "https://127.0.0.1/",
    "http://127.9.9.9/",
    "http://localhost:9000/match",
    "http://LocalHost./",
    "http://game.localhost/",
    "http://[::1]:9000/",
    "http://[::ffff:127.0.0.1]/",
]
NEITHER = [
    "",
    "https://",
    "https:///path",
    "https:studio.example",
    "//studio.example/",
    "studio.example/webhook",
    "/webhook",
    "ftp://studio.example/",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "http://studio.example/webhook",
    "http://8.8.8.8/",
    "https://user@studio.example/",
    "https://user:secret@studio.example/",
    "https://127.0.0.1@studio.example/",
    "https://studio.example@127.0.0.1/",
    "https://studio.example/#fragment",
    "https://studio.example/#",
    "https://studio.example/a b",
    " https://studio.example/",
    "https://studio.example/\n",
    "https://studio.example/\r\nX: y",
    "https://studio.example/\x00",
    "https://studio.example\\@127.0.0.1/",
    "https://studio.example/%zz",
    "https://bücher.example/",
    "https://\uff11\uff12\uff17.0.0.1/",
    "https://127\u30020\u30020\u30021/",
    "https://studio.example:/",
    "https://studio.example:0/",
    "https://studio.example:65536/",
    "https://studio.example:8o/",
    "https://studio.example:-1/",
    "https://studio..example/",
    "https://-studio.example/",
    "https://%31%32%37.0.0.1/",
    "https://[::1",
    "https://[studio.example]/",
    "https://[fe80::1%25eth0]/",
    f"https://{'a' * 64}.example/",
    f"https://studio.example/{'a' * 2_000}",
    "https://game/",
    "https://printer.local/",
    "https://metadata.google.internal/",
    "https://router.home.arpa/",
    "https://10.0.0.1/",
    "http://10.0.0.1/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://0.0.0.0/",
    "http://0.0.0.0/",
    "https://[::]/",
    "https://[fd00::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[64:ff9b::127.0.0.1]/",
    "http://127.1/",
    "http://127.0.0.1./",
    "http://0x7f.1/",
    "http://0x7f000001/",
    "http://2130706433/",
    "http://0177.0.0.1/",
    "http://127.0.0.01/",
    "https://8.8.2056/",
    "https://1.2.3.4.5/",
    "https://studio.1/",
]


@pytest.mark.parametrize("url", BOTH)
def test_public_https_is_accepted_everywhere(url: str) -> None:
    check_webhook_url(url, sandbox=False)
    check_webhook_url(url, sandbox=True)


@pytest.mark.parametrize("url", SANDBOX_ONLY)
def test_loopback_is_for_the_sandbox(url: str) -> None:
    check_webhook_url(url, sandbox=True)
    with pytest.raises(InvalidRequest) as refusal:
        check_webhook_url(url, sandbox=False)
    assert [fault.field for fault in refusal.value.errors] == ["webhook_url"]


@pytest.mark.parametrize("sandbox", [False, True])
@pytest.mark.parametrize("url", NEITHER)
def test_what_can_never_be_delivered_to_is_refused(url: str, sandbox: bool) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_webhook_url(url, sandbox=sandbox)
    assert [fault.field for fault in refusal.value.errors] == ["webhook_url"]


_PIECES = """https:// http:// localhost 127.0.0.1 10.0.0.1 0x7f ::1 [ ] : / @ # ? . .. - % %41 \\ studio.example 8443"""
_PARTS = st.lists(st.sampled_from([*_PIECES.split(), " ", "\t", "\x00", "\xe9"]), max_size=8)


@given(st.one_of(st.text(max_size=60), _PARTS.map("".join)), st.booleans())
def test_any_text_is_accepted_or_refused(text: str, sandbox: bool) -> None:
    try:
        check_webhook_url(text, sandbox=sandbox)
    except InvalidRequest as refusal:
        assert [fault.field for fault in refusal.errors] == ["webhook_url"]
    else:
        assert text.lower().startswith(("http://", "https://"))
        assert sandbox or text.lower().startswith("https://")


@given(IPV4)
def test_an_ipv4_address_is_accepted_only_if_allowed_and_never_in_another_spelling(
    address: ipaddress.IPv4Address,
) -> None:
    def accepted(host: str, sandbox: bool) -> bool:
        try:
            check_webhook_url(f"https://{host}/", sandbox=sandbox)
        except InvalidRequest:
            return False
        return True

    for sandbox in (False, True):
        assert accepted(str(address), sandbox) == address_allowed(str(address), allow_loopback=sandbox)
        for spelling in (str(int(address)), hex(int(address)), f"{int(address):#o}".replace("0o", "0"), f"{address}."):
            assert not accepted(spelling, sandbox)
