"""One request as the gateway is given it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from starlette.types import Receive


class Request(NamedTuple):
    """One request below the prefix: *route* is the raw path after it, *address* the client's, proxies accounted for.

    *named* are the *headers* by name; of those that decide something there is one.
    """

    method: str
    route: bytes
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    named: Mapping[bytes, bytes]
    address: str
    receive: Receive
