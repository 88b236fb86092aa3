"""Origin of an upstream server: scheme, host and port (RFC 6454)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Self

from proxy.http.hosts import HOST, is_loopback

_ORIGIN = re.compile(rf"(?P<scheme>https?)://(?P<host>{HOST})(?::(?P<port>[0-9]{{1,5}}))?")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a server. *host* is in lower case and without brackets."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses `https://host[:port]` with nothing after it; `http` only to a loopback host.

        Raises ValueError.
        """
        match = _ORIGIN.fullmatch(text.lower())
        if match is None or not text.isascii():
            raise ValueError("must be https://host or https://host:port, with nothing after it")
        scheme, host = match["scheme"], match["host"].strip("[]")
        port = int(match["port"] or _PORTS[scheme])
        if match["host"].startswith("["):
            ipaddress.IPv6Address(host)
        if not 0 < port < 65536:
            raise ValueError("the port must be 1 to 65535")
        if scheme == "http" and not is_loopback(host):
            raise ValueError("http is for a loopback host only")
        return cls(scheme, host, port)

    @property
    def authority(self) -> bytes:
        """Value of the Host field: with the port only where it is not the default (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}").encode("ascii")
