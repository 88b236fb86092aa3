"""Hosts that a URL in a payload may name. Pure: the spelling decides, no name is looked up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from proxy.http.hosts import LOOSE_DNS_NAME, MAX_NAME

MAX_URL = 8192  # characters; a presigned URL has some two thousand

# After the host a slash or nothing: no port, no user, and no `#@` or `\@`, where parsers differ on the host's side.
# WHATWG URL drops tabs and newlines, so none is accepted anywhere.
_REST = r"(?:/[^\s\x00-\x1f\x7f-\x9f]*)?"
_URL = re.compile(rf"[hH][tT][tT][pP][sS]://(?P<host>{LOOSE_DNS_NAME}){_REST}")
_LOCAL_REST = re.compile(r"/[!-~]*")
_PATTERN = re.compile(rf"(?:\*\.)?{LOOSE_DNS_NAME}")

# Top-level domains that the public DNS does not have (IANA special-use names), and those of private networks.
_PRIVATE = frozenset(
    {"alt", "arpa", "consul", "corp", "docker", "example", "home", "internal", "intranet", "invalid", "lan"}
    | {"local", "localdomain", "localhost", "mail", "onion", "private", "svc", "test"}
)
# Public names that answer with loopback, with the address spelled in them, or with another address at each lookup.
_REFLECTING = frozenset(
    {"1u.ms", "burpcollaborator.net", "ceye.io", "cmpxchg8b.com", "dnsrebind.it"}
    | {"fuf.me", "ip6.name", "ipq.co", "lacolhost.com", "local.gd", "localh.st", "localho.st", "localhost.direct"}
    | {"localtest.me", "lvh.me", "my-local-ip.co", "nip.io", "oastify.com", "pentesting.us", "rbndr.us"}
    | {"rebind.it", "rebind.network", "sslip.io", "traefik.me", "vcap.me", "xip.io", "xip.name", "yoogle.com"}
)

NOT_PUBLIC = "Input should be an https URL of a public host name, without a port, a user or an IP address"
NOT_LISTED = "The host of this URL is not one that is accepted here"


@dataclass(frozen=True, slots=True)
class HostAllowlist:
    """Accepted hosts: *names*, names below *domains* (`.fal.media`), with *any_public* all public ones.

    *loopback_origin* is one plain-http origin that is accepted as it stands (`http://127.0.0.1:9002`): the sandbox's.
    """

    names: frozenset[str] = frozenset()
    domains: tuple[str, ...] = ()
    any_public: bool = False
    loopback_origin: str | None = None

    @classmethod
    def from_patterns(cls, patterns: Iterable[str], *, local: str | None = None) -> Self:
        """Returns the hosts of *patterns*, each as `host_pattern` returns it. *local* is the loopback origin."""
        listed = set(patterns)
        domains = sorted(pattern[1:] for pattern in listed if pattern.startswith("*."))
        return cls(
            names=frozenset(pattern for pattern in listed if "*" not in pattern),
            domains=tuple(domains),
            any_public="*" in listed,
            loopback_origin=local,
        )

    def problem(self, url: str) -> str | None:
        """Returns a message for the caller about the fault of *url*, None where it has none."""
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
    """Returns whether *host*, in lower case and with a dot, is a public name that leads to one place."""
    above, _, last = host.rpartition(".")
    if last in _PRIVATE or len(host) > MAX_NAME:
        return False
    return f"{above.rpartition('.')[2]}.{last}" not in _REFLECTING


def host_pattern(text: str) -> str:
    """Returns *text* in lower case: a public host name, `*.` and one, or `*` alone. Raises ValueError."""
    if text == "*":
        return text
    if _PATTERN.fullmatch(text) is None or not is_public(text.lower().removeprefix("*.")):
        raise ValueError('not a public host name ("cdn.example.com"), nor "*." and one, nor "*" for all of them')
    return text.lower()
