"""Where webhooks may go: which addresses, and which URLs a game may register (contract section A3).

Pure: nothing is looked up here. An address counts where a socket is made (`oklp.sender`), so a name that changes its
mind after it was registered gains nothing; the check of a URL says the same early and in words.
"""

from __future__ import annotations

import errno
import ipaddress
import re
from urllib.parse import urlsplit

from oklp.errors import InvalidRequest, invalid

MAX_URL_LENGTH = 2_000

# --- which addresses -------------------------------------------------------------------------------------------------

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# IANA's special-purpose registries, written out because `ipaddress.is_global` differs between versions of Python.
_CLOSED_IPV4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # the host of a virtual machine at Azure: public in form, internal in fact
        "169.254.0.0/16",  # link-local, and most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocols
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# For IPv6 the reverse: only 2000::/3 is handed out, and of that not these.
_OPEN_IPV6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_IPV6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # IETF protocols, Teredo and benchmarks among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which reaches any IPv4 address by a relay
        "3fff::/20",  # documentation
    )
)
# Hosts without IPv4 reach it so (RFC 6052): as good as the IPv4 address inside.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def address_allowed(address: str, *, allow_loopback: bool) -> bool:
    """Whether a webhook may go to this numeric address: globally routable unicast and, if so asked, loopback.

    Only canonical spellings count; all else, scoped addresses (`fe80::1%eth0`) included, is not allowed.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id is not None:
            return False
        parsed = parsed.ipv4_mapped or parsed
    if parsed.is_loopback:
        return allow_loopback
    return _routable(parsed)


def _routable(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _CLOSED_IPV4)
    if address in _NAT64:
        return _routable(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _OPEN_IPV6 and not any(address in network for network in _CLOSED_IPV6)


class ForbiddenAddress(OSError):
    """A socket to this address was refused before it was made."""

    def __init__(self, address: str) -> None:
        super().__init__(errno.EACCES, f"address {address} is not allowed")


# --- which URLs ------------------------------------------------------------------------------------------------------

URL_CHARACTERS = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
# The URL standard's rule: a host whose last label looks like a number is an address, however it is spelt.
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_LOCAL_NAMES = (".local", ".internal", ".home.arpa", ".onion")


def check_webhook_url(url: str, *, sandbox: bool) -> None:
    """Refuse what can never be delivered to: live takes public https, the sandbox loopback by http too.

    Raises InvalidRequest for `webhook_url`. Names are not looked up: what they stand for is judged at each request.
    """
    if len(url) > MAX_URL_LENGTH:
        raise _url_fault(f"must have at most {MAX_URL_LENGTH} characters")
    if not URL_CHARACTERS.fullmatch(url):
        raise _url_fault("has a character that must be percent-encoded (in a host name: written in its xn-- form)")
    if "#" in url:
        raise _url_fault("must not have a fragment")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _url_fault("is not a valid URL") from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise _url_fault("must start with https:// and a host")
    if "@" in parts.netloc:
        raise _url_fault("must not have credentials")
    authority = _AUTHORITY.fullmatch(parts.netloc)
    if authority is None:
        raise _url_fault("has a host or port that cannot be read")
    if authority["port"] is not None and not 1 <= int(authority["port"]) <= 65_535:
        raise _url_fault("must have a port from 1 to 65535")
    if _is_loopback(authority["host"].lower()):
        if not sandbox:
            raise _url_fault("must have a public host: loopback is for the sandbox")
    elif parts.scheme != "https":
        raise _url_fault("must start with https://" + (" (or lead to loopback)" if sandbox else ""))


def _is_loopback(host: str) -> bool:
    """False for a public host; raises InvalidRequest for one that is neither."""
    literal = _literal(host)
    if literal is not None:
        if not address_allowed(literal, allow_loopback=True):
            raise _url_fault(f"must have a public host: address {literal} is not allowed")
        return not address_allowed(literal, allow_loopback=False)
    name = host.removesuffix(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise _url_fault("has a host that is not a valid name")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    if "." not in name or name.endswith(_LOCAL_NAMES):
        raise _url_fault(f"must have a public host: {name} is a local name")
    return False


def _literal(host: str) -> str | None:
    """The address, if the host is one and no name; raises InvalidRequest for spellings such as 127.1 and 0x7f.1."""
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise _url_fault("has an IPv6 address that cannot be read") from None
    if not _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
        return None
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        raise _url_fault("must spell an IPv4 address as four decimal numbers") from None


def _url_fault(message: str) -> InvalidRequest:
    return invalid("webhook_url", message)
