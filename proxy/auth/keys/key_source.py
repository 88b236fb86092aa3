"""Interface of the places that the verification keys of an issuer come from, and the fixed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from proxy.auth.keys.verification_key import VerificationKey


class KeySource(Protocol):
    """Current verification keys of an issuer: shared secrets, or public keys, never both."""

    @property
    def shared_secret(self) -> bool:
        """True where the keys are shared secrets."""
        ...

    @property
    def version(self) -> int:
        """A number that changes with the keys: what an older set has verified must be verified again."""
        ...

    async def current(self) -> Sequence[VerificationKey]:
        """Returns the keys that verify now.

        Raises Unavailable where none were ever read, or the last are too old.
        """
        ...

    async def refresh(self, kid: str) -> bool:
        """Looks for the unknown *kid*.

        Returns False where it may still appear, as after a rotation.
        """
        ...


@dataclass(frozen=True, slots=True)
class StaticKeys:
    """Keys that never change. Raises ValueError for none, and for a shared secret beside a public key."""

    listed: tuple[VerificationKey, ...]
    version: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not self.listed:
            raise ValueError("an issuer needs a key")
        if len({isinstance(key.material, bytes) for key in self.listed}) > 1:
            raise ValueError("a shared secret and public keys cannot serve one issuer (RFC 8725 section 3.1)")

    @property
    def shared_secret(self) -> bool:
        return isinstance(self.listed[0].material, bytes)

    async def current(self) -> tuple[VerificationKey, ...]:
        return self.listed

    async def refresh(self, kid: str) -> bool:
        """Returns True: *kid* is unknown for certain."""
        return True


def matching_keys(keys: Sequence[VerificationKey], kid: str | None, algorithm: str) -> list[VerificationKey]:
    """Returns the keys that a token with this header may be verified with.

    A key without a kid fits any token. A token without one fits every shared secret, but of public keys only a single
    one: each further try would cost a signature verification.
    """
    if kid is not None:
        exact = [key for key in keys if key.kid == kid and key.algorithm == algorithm]
        if exact:
            return exact
    fitting = [key for key in keys if key.algorithm == algorithm and (kid is None or key.kid is None)]
    return fitting if len(fitting) == 1 or all(isinstance(key.material, bytes) for key in fitting) else []
