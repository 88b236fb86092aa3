"""Store keys of callers, built from the [privacy] of a configuration."""

from __future__ import annotations

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
