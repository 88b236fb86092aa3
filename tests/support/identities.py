"""Authenticator for tests that are plain functions, without an event loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import TypeVar

from proxy.auth.authenticator import Authenticator, FailedLoginLimit
from proxy.auth.caller import Caller
from proxy.auth.sessions.issuer import Issuer
from proxy.auth.token_verifier import TokenVerifier
from proxy.http.fields import Fields

T = TypeVar("T")


def completed(coroutine: Coroutine[None, None, T]) -> T:
    """Runs a coroutine that awaits nothing outside, and returns its result."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("the coroutine waits for something")


class Identifier:
    """Verifier and authenticator of *issuers*, called as plain functions."""

    def __init__(
        self,
        issuers: Iterable[Issuer],
        *,
        clock: Callable[[], float],
        cache_size: int = 10_000,
        headers: Iterable[bytes] = (),
        origins: frozenset[bytes] = frozenset(),
        failed_logins: FailedLoginLimit | None = None,
    ) -> None:
        self.verifier = TokenVerifier(issuers, clock=clock, cache_size=cache_size)
        self.authenticator = Authenticator(self.verifier, headers=headers, origins=origins, failed_logins=failed_logins)

    def identify(self, fields: Fields, method: str = "GET") -> Caller:
        """Returns the caller of a request with *fields*."""
        return completed(self.authenticator.authenticate(method, fields, "192.0.2.1"))
