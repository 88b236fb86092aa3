"""Malformed requests that a front proxy rewrites into honest ones, which the gateway then accepts.

Rows of `support.hostile_http` by kind and front, as measured with nginx 1.22, Caddy 2.11, HAProxy 2.6 and 2.8 and
Traefik 3.7. A newer front may refuse more. `deploy/README.md` lists the kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

FRONT_NAMES = ("nginx", "caddy", "haproxy", "traefik")
_ALL = " ".join(FRONT_NAMES)

# kind: (fronts, rows) as words
_KINDS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "line ends without a carriage return": (
        (_ALL, "head-bare-lf-everywhere head-bare-lf-after-request-line head-bare-lf-at-end head-bare-lf-in-fields"),
        (_ALL, "chunk-trailer-bare-lf"),
        ("nginx haproxy", "chunk-data-bare-lf chunk-extension-bare-lf chunk-last-bare-lf chunk-size-bare-lf"),
    ),
    "folded fields are joined": (
        (_ALL, "chunk-trailer-folded"),
        ("caddy haproxy traefik", "head-folded head-folded-with-tab length-cl-folded length-te-folded"),
    ),
    "two lengths that agree, or chunks beside a length: the front counts by one and sends that alone": (
        ("caddy haproxy traefik", "length-cl-then-te length-te-then-cl length-te-after-bare-lf length-cl-twice-same"),
        ("haproxy", "length-cl-list"),
        ("caddy traefik", "head-chunked-in-http-1.0"),
    ),
    "spaces, extensions and trailers of chunks are dropped": (
        (_ALL, "chunk-size-trailing-space chunk-extension-nul"),
        ("nginx caddy traefik", "chunk-trailer-content-length chunk-trailer-transfer-encoding"),
        ("nginx caddy traefik", "chunk-trailer-space-before-colon"),
        ("nginx", "chunk-trailer-nul"),
        ("nginx haproxy", "extension-9k size-zeros"),
    ),
    "other versions of HTTP are sent on as 1.1": (
        (_ALL, "head-http-1.2"),
        ("haproxy", "head-http-2.0 head-http-3.0"),
        ("nginx", "head-space-after-version"),
    ),
    "an absolute target loses its authority": (
        ("nginx caddy traefik", "target-absolute-form target-absolute-form-https target-absolute-form-other-host"),
        ("nginx caddy traefik", "target-absolute-form-upper-case"),
    ),
    "Host is completed or loses its port": (
        ("nginx caddy traefik", "host-missing-http-1.0"),
        ("nginx", "host-port-empty host-port-letters host-port-sign host-port-six-digits host-two-ports"),
        ("nginx", "host-ipv6-trailing"),
        ("caddy traefik", "host-ipv6-zone"),
        ("haproxy", "host-twice-same"),
        ("traefik", "host-empty"),
    ),
    "Upgrade is removed": (
        (_ALL, "upgrade-empty upgrade-h2c upgrade-http-1.0 upgrade-not-in-connection upgrade-websocket"),
        (_ALL, "upgrade-with-body upgrade-with-later-body upgrade-without-body"),
        ("nginx caddy traefik", "upgrade-twice"),
    ),
    "field names that are no tokens are dropped": (
        ("nginx", "head-no-colon head-non-ascii-name head-separator-in-name"),
    ),
}


def _rows(front: str, kinds: Iterable[tuple[tuple[str, str], ...]]) -> frozenset[str]:
    return frozenset(
        row for listed in kinds for fronts, rows in listed if front in fronts.split() for row in rows.split()
    )


REPAIRED: Mapping[str, frozenset[str]] = {front: _rows(front, _KINDS.values()) for front in FRONT_NAMES}
# Rows of well-formed requests: Traefik decodes %61 to a, which RFC 3986 section 6.2.2.2 has as the same path.
REWRITTEN: Mapping[str, frozenset[str]] = {
    front: frozenset({"path-encoded-letter"} if front == "traefik" else ()) for front in FRONT_NAMES
}
