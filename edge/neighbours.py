"""Who is on the home's network: addresses spelt out, the empty ones left out, the others knocked at.

It must never search a network larger than a /24, or keep a connection.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path

MAX_ADDRESSES = 256
FEW_HOSTS = 8
DISCARD_PORT = 9
KNOCK_S = 0.3
"""How long a host may take to accept a connection: it is on the same network."""

NEIGHBOURS = Path("/proc/net/arp")
ASKED_S = 1.2
"""How long the machine may take to learn who is there: three requests, one after the other."""


def expand_hosts(texts: Iterable[str]) -> list[str]:
    """Hosts, addresses and networks such as 192.168.1.0/24 as single hosts.

    Raises ValueError for a network of more than 256 addresses.
    """
    hosts: list[str] = []
    for text in texts:
        if "/" not in text:
            hosts.append(text)
            continue
        network = ip_network(text, strict=False)
        if network.num_addresses > MAX_ADDRESSES:
            raise ValueError(f"{text} is larger than a /24; name the home's own network")
        inside = network.hosts() if isinstance(network, IPv4Network) else iter(network)
        hosts.extend(str(address) for address in inside)
    return hosts


def absent(table: str) -> frozenset[str]:
    """The addresses that the machine asked for on its own network and nobody has. Pure."""
    rows = (line.split() for line in table.splitlines()[1:])
    return frozenset(row[0] for row in rows if len(row) >= 4 and int(row[2], 16) & 2 == 0)


async def present(hosts: Sequence[str]) -> list[str]:
    """The hosts at which knocking may be worth while. Of the own network's addresses most belong
    to nobody; the machine finds out by itself when it is to send them anything, one datagram to
    the discard port. Hosts behind a router, and names, are all kept.
    """
    if len(hosts) < FEW_HOSTS:
        return list(hosts)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as whoever:
        for host in hosts:
            with contextlib.suppress(OSError, ValueError):
                whoever.sendto(b"", (str(ip_address(host)), DISCARD_PORT))
    await asyncio.sleep(ASKED_S)
    try:
        table = await asyncio.to_thread(NEIGHBOURS.read_text, encoding="ascii")
    except OSError:
        return list(hosts)
    gone = absent(table)
    return [host for host in hosts if host not in gone]


async def knock(address: str) -> bool:
    """Whether something accepts a connection there; it is gone again when this returns."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(KNOCK_S):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        # Some devices serve one client: the next connection must find this one gone.
        await writer.wait_closed()
    return True
