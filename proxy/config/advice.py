"""Warnings about a valid configuration that is probably not meant so."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from proxy.config.loader import Config
from proxy.errors import Problem

_ADVICE: tuple[tuple[str, str, Callable[[Config], bool]], ...] = (
    ("endpoints", "none is listed, so every submit is refused", lambda config: not config.endpoints),
    (
        "budgets",
        "no budget limits what callers spend",
        lambda config: bool(config.endpoints) and all(budget.mode == "observe" for budget in config.budgets),
    ),
    (
        "ledger.path",
        "in memory: what was spent is forgotten at a restart",
        lambda config: bool(config.budgets) and config.ledger.kind == "sqlite" and config.ledger.path == ":memory:",
    ),
    (
        "server.trusted_proxies",
        "not set, although the listener is open to other machines: behind a front proxy all callers have its address",
        lambda config: (
            _is_open(config.server.host) and not config.server.trusted_proxies and config.server.trusted_hops is None
        ),
    ),
    (
        "server.trusted_proxies",
        "contains every address, so each caller can choose its own",
        lambda config: any(network.prefixlen == 0 for network in config.server.trusted_proxies),
    ),
)


def advice(config: Config) -> list[Problem]:
    """Returns a warning for each risk of *config*."""
    return [Problem(key, message) for key, message, applies in _ADVICE if applies(config)]


def _is_open(host: str) -> bool:
    """Returns True for an address that other machines reach; a name may be any."""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"
