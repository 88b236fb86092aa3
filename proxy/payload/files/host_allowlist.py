"""Which hosts a URL may name that somebody else is going to fetch. Pure: the spelling decides, no name is looked up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

MAX_URL = 8192  # characters; a presigned URL has some two thousand
_MAX_HOST = 253

# The last label begins with a letter, so no spelling of an IPv4 address is a name (WHATWG, "ends in a number").
_NAME = r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]"
# Behind it a slash or nothing: no port, no user, and no `#@` or `\@`, where parsers differ on which side the host is.
# WHATWG URL drops tabs and newlines, so none may stand anywhere.
_REST = r"(?:/[^\s\x00-\x1f\x7f-\x9f]*)?"
_URL = re.compile(rf"[hH][tT][tT][pP][sS]://(?P<host>{_NAME}){_REST}")
_LOCAL_REST = re.compile(r"/[!-~]*")
_PATTERN = re.compile(rf"(?:\*\.)?{_NAME}")

# Names that mean another host to whoever looks them up (IANA special-use names, and what networks use at home).
_PRIVATE = frozenset(
    {"alt", "arpa", "consul", "corp", "docker", "home", "internal", "intranet", "lan", "local", "localdomain"}
    | {"localhost", "onion", "private", "svc"}
)
# Public names that answer with whatever address stands in them, or with loopback.
_REFLECTING = frozenset(
    {"nip.io", "sslip.io", "xip.io", "localtest.me", "lvh.me", "vcap.me", "lacolhost.com", "traefik.me", "localho.st"}
)

NOT_PUBLIC = "Input should be an https URL of a public host name, without a port, a user or an IP address"
NOT_LISTED = "The host of this URL is not one that is accepted here"


@dataclass(frozen=True, slots=True)
class HostAllowlist:
    """*names* exactly, every name below *domains* (`.fal.media`), and with *anywhere* each that is public.

    *local* is one plain-http origin that is let through as it stands (`http://127.0.0.1:9002`): the sandbox's own.
    """

    names: frozenset[str] = frozenset()
    domains: tuple[str, ...] = ()
    any_public: bool = False
    loopback_origin: str | None = None

    @classmethod
    def from_patterns(cls, patterns: Iterable[str], *, local: str | None = None) -> Self:
        """From what `host_pattern` lets through."""
        listed = set(patterns)
        domains = sorted(pattern[1:] for pattern in listed if pattern.startswith("*."))
        return cls(
            names=frozenset(pattern for pattern in listed if "*" not in pattern),
            domains=tuple(domains),
            any_public="*" in listed,
            loopback_origin=local,
        )

    def problem(self, url: str) -> str | None:
        """What is wrong with *url*, for whoever wrote it; None where nothing is."""
        match = _URL.fullmatch(url)
        if match is None:
            return None if self._is_local(url) else NOT_PUBLIC
        host = match["host"].lower()
        if len(url) > MAX_URL or not is_public(host):
            return NOT_PUBLIC
        return None if self.any_public or host in self.names or host.endswith(self.domains) else NOT_LISTED

    def _is_local(self, url: str) -> bool:
        if self.loopback_origin is None or not url.startswith(self.loopback_origin) or len(url) > MAX_URL:
            return False
        return _LOCAL_REST.fullmatch(url, len(self.loopback_origin)) is not None


@lru_cache(maxsize=1024)
def is_public(host: str) -> bool:
    """Whether *host*, a name in lower case with a dot in it, is one the public DNS may know."""
    above, _, last = host.rpartition(".")
    if last in _PRIVATE or len(host) > _MAX_HOST:
        return False
    return f"{above.rpartition('.')[2]}.{last}" not in _REFLECTING


def host_pattern(text: str) -> str:
    """*text* in lower case, where it is a public host name, `*.` and one, or `*` alone. Raises ValueError."""
    if text == "*":
        return text
    if _PATTERN.fullmatch(text) is None or not is_public(text.lower().removeprefix("*.")):
        raise ValueError('not a public host name ("cdn.example.com"), nor "*." and one, nor "*" for all of them')
    return text.lower()
