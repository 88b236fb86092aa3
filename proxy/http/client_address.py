"""Client address of a request: the TCP peer, unless the peer is a trusted proxy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

from proxy.errors import CLOSE, BadRequest
from proxy.http.fields import Fields

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# An IPv6 address takes brackets where a port follows, as in a URI (RFC 7239 section 6.1); many proxies send it bare.
_HOP = re.compile(
    rb"""[ \t]*(?:
        \[ ([0-9A-Fa-f.]{0,45}:[0-9A-Fa-f:.]{0,45}) \] (?: :[0-9]{1,5} )?
        | ([0-9.]{1,15}) (?: :[0-9]{1,5} )?
        | ([0-9A-Fa-f:.]{2,45})
    )[ \t]*""",
    re.VERBOSE,
)
_MAX_HOPS = 16  # of our own proxies in a row; a longer list is no deployment but an attack on our time


class ClientAddress:
    """Reader of client addresses behind front proxies, which append hops to the field *header*.

    The proxies are known by address (*trusted*), or by their number (*hops*).
    """

    def __init__(self, trusted: Sequence[Network], header: str, *, hops: int | None = None) -> None:
        self._trusted = trusted
        self._header = header.encode("ascii")
        self._hops = hops

    def resolve(self, scope: Scope) -> str:
        """Returns the address that the request of an ASGI *scope* counts for.

        "" where the server gives no peer.

        Raises BadRequest where *header* has fewer hops than there are front proxies, or a malformed one in their place.
        """
        if self._hops is not None:
            return address_at_hop(scope["headers"], header=self._header, hops=self._hops)
        client = scope.get("client")
        peer = client[0] if client else ""
        return client_address(peer, scope["headers"], trusted=self._trusted, header=self._header)


def address_at_hop(fields: Fields, *, header: bytes, hops: int) -> str:
    """Returns the address that the outermost of *hops* front proxies has seen. Raises BadRequest.

    Each proxy appends the address of its own peer, so it is at that place from the right.
    """
    entries = b",".join(value for name, value in fields if name == header).rsplit(b",", hops)
    address = _hop(entries[-hops]) if len(entries) >= hops else None
    if address is None:
        raise BadRequest("The address from the front proxy is missing", error_type="malformed_request", headers=[CLOSE])
    return str(address)


def client_address(
    peer: str,
    fields: Iterable[tuple[bytes, bytes]],
    *,
    trusted: Sequence[Network] = (),
    header: bytes = b"x-forwarded-for",
) -> str:
    """Returns the right-most address in *header* that is no trusted proxy's, in canonical text.

    It is *peer* where the peer is not trusted, or the list has a malformed entry on the way. A *peer* that is no
    address (a Unix socket) is given back as it is. Where all are trusted, it is the left-most.
    """
    nearest = _parse(peer) if trusted else None
    if nearest is None or not _within(nearest, trusted):
        return _text(peer)
    client = nearest
    for hop in reversed(b",".join(value for name, value in fields if name == header).rsplit(b",", _MAX_HOPS)):
        address = _hop(hop)
        if address is None:
            return str(nearest)
        if not _within(address, trusted):
            return str(address)
        client = address
    return str(client)


@lru_cache(maxsize=8192)
def address_key(address: str) -> str:
    """Returns the key that *address* is counted by: of IPv6 the /64, the least of a subscriber (RFC 6177)."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
    return address if parsed is None else str(parsed)


def socket_address(peer: object) -> tuple[str, int] | None:
    """Returns the address of an IPv4 or IPv6 socket, None for a Unix or a closed one."""
    match peer:
        case (str(host), int(port), *_):
            return host, port
        case _:
            return None


def is_trusted(peer: str, trusted: Sequence[Network]) -> bool:
    address = _parse(peer)
    return address is not None and _within(address, trusted)


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _hop(text: bytes) -> Address | None:
    match = _HOP.fullmatch(text)
    return None if match is None else _parse((match[1] or match[2] or match[3]).decode("ascii"))


@lru_cache(maxsize=8192)
def _text(peer: str) -> str:
    address = _parse(peer)
    return peer if address is None else str(address)


@lru_cache(maxsize=8192)
def _parse(text: str) -> Address | None:
    """Parses an address. An IPv4-mapped one becomes IPv4, since lists of networks would not match it."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
