"""Which addresses on the network are public, and whether a URL names a host.

Everyone who chooses an URL chooses where this machine connects to, so what is not public is left alone: this
machine itself, the network behind the firewall, and the metadata services of clouds.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Network, ip_address
from urllib.parse import urlsplit

UNICAST = IPv6Network('2000::/3')  # all that is assigned for the public; `is_global` is looser
NAT64 = IPv6Network('64:ff9b::/96')


class PrivateAddressError(Exception):
    """A name leads to an address that is not public."""


def is_public(address: str) -> bool:
    """Whether an IP address can be reached by all; one that carries another is judged by that."""
    ip = ip_address(address.partition('%')[0])
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast
    carried = ip.ipv4_mapped or ip.sixtofour
    if ip in NAT64:
        carried = IPv4Address(int(ip) & 0xFFFFFFFF)
    if carried is not None:
        return is_public(str(carried))
    return ip in UNICAST and ip.is_global


def is_this_machine(host: str) -> bool:
    """Whether what is sent to a host, by name or address, stays on this machine; names are not looked up."""
    try:
        ip = ip_address(host.strip('[]').partition('%')[0])
    except ValueError:
        return host.lower().rstrip('.') == 'localhost'
    ip = getattr(ip, 'ipv4_mapped', None) or ip
    return ip.is_loopback or ip.is_unspecified  # connecting to 0.0.0.0 is connecting to oneself


def public_addresses(host: str, port: int | None) -> list[str]:
    """The addresses of a host.

    Raises:
        PrivateAddressError: one of them is not public.
        OSError: the host has none.
        UnicodeError: it cannot be the name of a host.
    """
    found = socket.getaddrinfo(host.strip('[]'), port, type=socket.SOCK_STREAM)
    addresses = [str(one[4][0]) for one in found]
    if not all(map(is_public, addresses)):
        raise PrivateAddressError(host)
    return addresses


def names_host(url: str) -> bool:
    """Whether a URL names a host, and no port that there cannot be."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # no number as its port, or no IPv6 in its brackets
        return False
