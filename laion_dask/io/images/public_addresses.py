"""Which addresses of the web may be fetched from: public ones only.

Urls of web data sets are written by strangers. One that leads to this machine, its network or the
metadata service of a cloud would be requested with this machine's rights (server-side request
forgery, CWE-918).
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

import ada_url

#: Ports of web servers.
PORTS = frozenset({80, 443, 8000, 8080, 8443})

#: The longest url that is requested, in characters.
MAX_URL = 8_000

#: IPv4 networks that are not for everybody, from IANA's registry of special-purpose addresses (RFC
#: 6890), which Python's ``ipaddress`` has only in part; the relays of 6to4 (RFC 7526); and the
#: platform services of Azure's virtual machines.
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *(
                "172.16.0.0/12",
                "192.0.0.0/24",
                "192.0.2.0/24",
                "192.31.196.0/24",
                "192.52.193.0/24",
            ),
            *("192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
            *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
            "168.63.129.16/32",
        ),
    )
)

#: Global unicast (RFC 4291, 2.4), without Teredo (RFC 4380), 6to4 (RFC 3056), and documentation.
_UNICAST = ipaddress.ip_network("2000::/3")
_NOT_UNICAST = tuple(
    map(ipaddress.ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)

#: IPv4 addresses behind a translator (RFC 6052): the last 32 bits count.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class FetchRefused(Exception):
    """A url that is not fetched, or gives no image; the message is the reason in words."""


@dataclass(frozen=True)
class WebUrl:
    """A url of http or https, in the parts that a request needs.

    Attributes
    ----------
    href : str
        The whole url, normalized.
    is_secure : bool
        Whether it is https.
    host : str
        A name in ASCII, or an address without brackets.
    port : int
    target : str
        Path and query.
    """

    href: str
    is_secure: bool
    host: str
    port: int
    target: str


def parse_url(text: object, base: WebUrl | None = None) -> WebUrl:
    """A url as browsers read it, by the WHATWG's standard: 0x7f.1 is 127.0.0.1.

    Parameters
    ----------
    text : str
    base : WebUrl, optional
        What a relative url, of a redirect, is relative to.

    Raises
    ------
    FetchRefused
        When it is not a url of http or https, on a port of web servers, without a password.
    """
    if not isinstance(text, str) or not text.strip():
        raise FetchRefused("no url")
    if len(text) > MAX_URL or any(ord(letter) < 32 for letter in text):
        raise FetchRefused("not a url")
    try:
        url = ada_url.URL(text, base=base.href) if base else ada_url.URL(text)
    except (ValueError, UnicodeError):
        raise FetchRefused("not a url") from None
    if url.protocol not in ("http:", "https:"):
        raise FetchRefused("not a url of http or https")
    if url.username or url.password:
        raise FetchRefused("a url with a password")
    is_secure = url.protocol == "https:"
    port = int(url.port) if url.port else 443 if is_secure else 80
    if port not in PORTS:
        raise FetchRefused(f"port {port} is not one of web servers")
    host = url.hostname.strip("[]").rstrip(".")
    return WebUrl(url.href, is_secure, host, port, f"{url.pathname}{url.search}")


def resolve(url: WebUrl) -> list[str]:
    """The addresses of a host, all of them public.

    A name is looked up as an absolute one, never below the domains of this machine's network.

    Raises
    ------
    FetchRefused
        When the name has no address, or any that is not public.
    """
    if _address(url.host) is not None:
        found = [url.host]
    elif "." not in url.host:
        raise FetchRefused("not a name of the public web")
    else:
        try:
            answers = socket.getaddrinfo(f"{url.host}.", url.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise FetchRefused("its host has no address") from None
        found = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
    if not found or not all(is_public(address) for address in found):
        raise FetchRefused("its host is not on the public web")
    return found


def is_public(address: str) -> bool:
    """Whether an address belongs to another machine of the public web.

    False for private, shared (100.64.0.0/10), loopback, link-local (so the metadata services of
    clouds), multicast, reserved and documentation addresses, for those that hold such an IPv4
    address (mapped, compatible, NAT64) or any (6to4, Teredo), and for those of this machine.
    """
    ip = _address(address)
    if ip is None or ip.is_multicast or ip.is_unspecified or str(ip) in _own_addresses():
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not any(ip in net for net in _NOT_PUBLIC)
    if ip in _NAT64:
        return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip in _UNICAST and ip.is_global and not any(ip in net for net in _NOT_UNICAST)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _own_addresses() -> set[str]:
    import psutil

    interfaces = psutil.net_if_addrs().values()
    return {each.address.partition("%")[0] for addresses in interfaces for each in addresses}
