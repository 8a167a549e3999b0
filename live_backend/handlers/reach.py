"""Which hosts the endpoints of handlers may be on, and connections that go there and nowhere else.

Whoever writes a scenario must not be able to make a worker talk to whatever the worker can reach (server-side request
forgery). Loopback is allowed; every other host only if the worker's operator has put it on the list, and a name counts
only for public addresses unless their network is on the list too: who answers for a name may point it anywhere. A
connection goes to the very address that was checked.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple

import httpcore

from lab.errors import UsageError
from lab.limits import HANDLER_CONNECT_S_MAX

VARIABLE = "MESHLAB_HTTP_HOSTS"
LOOPBACK_NAME = "localhost"


class Reach(NamedTuple):
    """What the operator of a worker allows besides loopback."""

    names: frozenset[str]
    networks: tuple[IPv4Network | IPv6Network, ...]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Reach:
        """The list of MESHLAB_HTTP_HOSTS: names, addresses and networks, separated by commas."""
        names, networks = set(), []
        for entry in filter(None, (part.strip() for part in environ.get(VARIABLE, "").split(","))):
            try:
                networks.append(ip_network(entry))
            except ValueError as error:
                if any(character in "/:*@ []" for character in entry):
                    raise UsageError(
                        f"{VARIABLE}: {entry!r} is neither a host name nor an address nor a network ({error}); "
                        f"write for example agents.example.org,10.1.0.0/16 without scheme, port or wildcard"
                    ) from None
                names.add(_plain(entry))
        return cls(frozenset(names), tuple(networks))

    def allows(self, host: str) -> bool:
        """Whether an endpoint may be on this host, before anybody has resolved its name."""
        try:
            address = _unmapped(host)
        except ValueError:
            return _plain(host) == LOOPBACK_NAME or _plain(host) in self.names
        return address.is_loopback or self._lists(address)

    def allows_address(self, host: str, text: str) -> bool:
        """Whether a connection to this host may go to this address."""
        address = _unmapped(text)
        if _plain(host) == LOOPBACK_NAME:
            return address.is_loopback
        if _is_address(host):
            return self.allows(text)
        return self._lists(address) or (address.is_global and not address.is_multicast)

    def _lists(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self.networks)


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Resolves a name once, checks every address, and connects to one that was checked."""

    def __init__(self, reach: Reach) -> None:
        self._reach, self._network = reach, httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See httpcore.AsyncNetworkBackend. Raises httpcore.ConnectError."""
        trouble = "it has no address"
        for address in await self._checked(host, port):
            try:
                return await self._network.connect_tcp(
                    address, port, HANDLER_CONNECT_S_MAX, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                trouble = f"{address}: {str(error) or 'no answer'}"
        raise httpcore.ConnectError(f"{host} cannot be connected to ({trouble})")

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Never: no URL of ours leads to one."""
        raise httpcore.UnsupportedProtocol("handlers use no unix sockets")

    async def sleep(self, seconds: float) -> None:
        """See httpcore.AsyncNetworkBackend."""
        await asyncio.sleep(seconds)

    async def _checked(self, host: str, port: int) -> list[str]:
        """The addresses of a host, all of them allowed."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved ({error.strerror or error})") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            if not self._reach.allows_address(host, address):
                raise httpcore.ConnectError(
                    f"{host} leads to {address}, which is not public; if that is right, add this address or its "
                    f"network to {VARIABLE} where the worker runs"
                )
        return addresses


def _unmapped(text: str) -> IPv4Address | IPv6Address:
    """The address, an IPv4 one that is dressed as IPv6 undressed. Raises ValueError."""
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _plain(name: str) -> str:
    return name.lower().rstrip(".")
