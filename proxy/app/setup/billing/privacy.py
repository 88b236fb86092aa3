"""Store keys of callers, built from the [privacy] of a configuration."""

from __future__ import annotations

from hashlib import sha256

from proxy.billing.ledger.interface import KeyState, Ledger
from proxy.billing.store_keys import StoreKeys
from proxy.config.loader import Config, secret

MIN_SECRET_BYTES = 32


def build_store_keys(config: Config) -> StoreKeys:
    """Raises ValueError where the secret is missing or too short."""
    name = config.privacy.secret_env
    if name is None:
        return StoreKeys()
    value = secret(config, name).encode()
    if len(value) < MIN_SECRET_BYTES:
        raise ValueError(f"{name} needs at least {MIN_SECRET_BYTES} bytes")
    return StoreKeys(value)


PRIVACY_KEY = "privacy"  # of the ledger: claimed once, by the secret that its users' keys are made with
_FOREVER = 100 * 366 * 86_400.0  # seconds


async def check_privacy(ledger: Ledger, keys: StoreKeys, *, now: float) -> None:
    """Checks the [privacy] secret. Raises ValueError where *ledger* has keys of another, and StoreAway."""
    fingerprint = sha256(keys.key("0" * 64).encode()).hexdigest()
    state = await ledger.claim_key(PRIVACY_KEY, fingerprint, owner="", now=now, ttl=_FOREVER, hold=0.0)
    if state is KeyState.MISMATCH:
        raise ValueError("the ledger's users have keys of another [privacy] secret: use `fal-proxy ledger migrate`")
