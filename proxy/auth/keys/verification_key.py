"""Key that verifies session tokens, bound to one algorithm."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from proxy.auth.base64url import encode_base64url
from proxy.auth.keys.algorithms import ALGORITHMS, KEY_TYPES, PublicKey

MAX_KID = 256  # characters


@dataclass(frozen=True, slots=True, eq=False)
class VerificationKey:
    """Verification key of one algorithm. `hmac_key` and `public_key` are its makers, and check *material*.

    *kid* is only ever compared for equality; None stands for a key that any token may mean.
    """

    algorithm: str
    kid: str | None
    material: bytes | PublicKey = field(repr=False)
    _keyed: HMAC | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # RFC 2104 keyed once: both pads cost more than the token itself. The class in the standard library is Python.
        keyed = HMAC(self.material, SHA256()) if isinstance(self.material, bytes) else None
        object.__setattr__(self, "_keyed", keyed)
        if self.kid is not None and not 0 < len(self.kid) <= MAX_KID:
            raise ValueError(f"a key's kid must have 1 to {MAX_KID} characters")

    def verify(self, signing_input: bytes, signature: bytes) -> bool:
        """Returns True for a good *signature*; HMACs are compared in constant time.

        An ECDSA signature is the raw concatenation of RFC 7518 section 3.4.
        """
        if self._keyed is None:
            return ALGORITHMS[self.algorithm].verify(signing_input, self.material, signature)
        mac = self._keyed.copy()
        mac.update(signing_input)
        return compare_digest(mac.finalize(), signature)

    def thumbprint(self) -> str:
        """Returns the thumbprint of a public key (RFC 7638), which may be logged.

        Raises TypeError for a secret.
        """
        if isinstance(self.material, bytes):
            raise TypeError("a secret has no thumbprint")
        jwk = ALGORITHMS[self.algorithm].to_jwk(self.material, as_dict=True)
        required = {name: jwk[name] for name in ("kty", "crv", *KEY_TYPES[self.algorithm].octets) if name in jwk}
        canonical = json.dumps(required, sort_keys=True, separators=(",", ":"))
        return encode_base64url(sha256(canonical.encode()).digest())
