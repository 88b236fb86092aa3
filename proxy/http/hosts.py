"""Grammar of host names: patterns for URLs, and the value of the Host field.

The strict forms are in lower case, for the configuration and for webhooks. The loose forms are for requests of clients:
both cases, and the underscore, which is not in host names (RFC 1123) but occurs in DNS.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

MAX_NAME = 253  # characters

LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
LOOSE_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# A host of a URL: a name, an IPv4 address or a bracketed IPv6 address, which `ipaddress` has to check.
HOST = rf"{LABEL}(?:\.{LABEL})*|\[[0-9a-f:.]+\]"
# A name in DNS with a dot in it. The last label begins with a letter, so no spelling of an IPv4 address is a name
# (WHATWG URL, "ends in a number").
DNS_NAME = rf"(?:{LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?"
LOOSE_DNS_NAME = rf"(?:{LOOSE_LABEL}\.)+[A-Za-z][A-Za-z0-9-]{{0,61}}[A-Za-z0-9]"

# RFC 9110 section 7.2, narrowed to what can be a name in DNS, an IPv4 address or a bracketed IPv6 address.
_HOST_FIELD = re.compile(
    rf"({LOOSE_LABEL}(?:\.{LOOSE_LABEL})*\.?|\[[0-9A-Fa-f:.]{{2,45}}\])(?::[0-9]{{1,5}})?".encode("ascii")
)


@lru_cache(maxsize=1024)
def parse_host_field(value: bytes) -> bytes | None:
    """Returns the host of a Host field in lower case and without its port, None for a malformed value."""
    match = _HOST_FIELD.fullmatch(value)
    if match is None:
        return None
    host = match[1].lower()
    if host.startswith(b"["):
        try:
            ipaddress.IPv6Address(host[1:-1].decode("ascii"))
        except ValueError:
            return None
    return host


def is_loopback(host: str) -> bool:
    """Returns whether *host*, a name or an address without brackets, is of this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
