"""Parser of key documents: PEM, X.509 certificate, JWK, JWK Set (RFC 7517), map of certificates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from proxy import strict_json
from proxy.auth.keys.public_key import jwk_key, pem_key
from proxy.auth.keys.verification_key import VerificationKey
from proxy.errors import MalformedJson
from proxy.strict_json import Json

MAX_DOCUMENT = 256 * 1024  # bytes
MAX_KEYS = 100

_PEM = b"-----BEGIN"
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"

# First bytes of files that are taken for a key by mistake.
_OTHER_FILES: Sequence[tuple[bytes, str]] = (
    (b"ssh-", "this is an SSH key; convert it: ssh-keygen -e -m PKCS8 -f FILE"),
    (b"ecdsa-sha2-", "this is an SSH key; convert it: ssh-keygen -e -m PKCS8 -f FILE"),
    (b"eyJ", "this is a token or a part of one, not a key"),
    (b"<", "this is an HTML or XML page, not a key"),
    (b"\x30\x82", "this is a key in DER; convert it: openssl pkey -pubin -inform DER -in FILE"),
    (b"MII", "this is base64 without PEM's BEGIN and END lines; add them"),
)

# Members of JSON files that are taken for a key by mistake.
_OTHER_OBJECTS: Mapping[str, str] = {
    "jwks_uri": "this is an OpenID configuration; use discovery = true, or its jwks_uri as jwks_url",
    "private_key": "this is a service account file with a private key; the gateway needs public keys only",
}


class KeyDocument(NamedTuple):
    """Usable keys of a document, and a reason for each of its keys that was passed over."""

    keys: tuple[VerificationKey, ...]
    ignored: tuple[str, ...] = ()


def parse_key_document(material: bytes, algorithms: Sequence[str], kid: str | None = None) -> KeyDocument:
    """Parses a document of any supported format for *algorithms*.

    *kid* belongs to a single key without its own.

    Raises ValueError with what the document is, where it is something else, and with the fault of its keys.
    """
    bare = material.strip()
    if len(material) > MAX_DOCUMENT:
        raise ValueError(f"the key document has more than {MAX_DOCUMENT // 1024} KiB")
    if not bare:
        raise ValueError("the key document is empty")
    if bare.startswith(b"{"):
        return _parse_json(bare, algorithms, kid)
    for start, message in _OTHER_FILES:
        if bare.startswith(start):
            raise ValueError(message)
    if _PEM not in bare:
        raise ValueError("the key must be one PEM block, an X.509 certificate, a JWK or a JWK Set")
    return KeyDocument((pem_key(algorithms, bare, kid),))


def _parse_json(material: bytes, algorithms: Sequence[str], kid: str | None) -> KeyDocument:
    try:
        document = strict_json.parse(material, max_depth=8, max_nodes=10_000)
    except MalformedJson as error:
        raise ValueError(f"the key document is not strict JSON: {error}") from None
    if not isinstance(document, dict):
        raise ValueError("the key document is not a JSON object")  # noqa: TRY004 a fault of the document
    if "keys" in document:
        return _parse_set(document["keys"], algorithms)
    if "kty" in document:
        return KeyDocument((jwk_key(algorithms, document, kid),))
    for member, message in _OTHER_OBJECTS.items():
        if member in document:
            raise ValueError(message)
    if document and all(isinstance(value, str) and _CERTIFICATE in value for value in document.values()):
        return _collected([(str(name), _certificate(str(value), name, algorithms)) for name, value in document.items()])
    raise ValueError("the JSON is neither a JWK, nor a JWK Set, nor a map of certificates")


def _parse_set(listed: Json, algorithms: Sequence[str]) -> KeyDocument:
    """Reads the keys that fit and passes over the others, as RFC 7517 section 5 asks."""
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_KEYS:
        raise ValueError(f"the JWK Set does not list 1 to {MAX_KEYS} keys")
    if not all(isinstance(jwk, dict) for jwk in listed):
        raise ValueError("a key of the JWK Set is not an object")
    return _collected(list(_set_keys(listed, algorithms)))


def _set_keys(listed: Sequence[Json], algorithms: Sequence[str]) -> Iterator[tuple[str, VerificationKey | str]]:
    for index, jwk in enumerate(listed):
        if isinstance(jwk, dict):
            yield f"key {index}", _jwk(jwk, algorithms)


def _jwk(jwk: Mapping[str, Json], algorithms: Sequence[str]) -> VerificationKey | str:
    try:
        return jwk_key(algorithms, jwk)
    except ValueError as error:
        return str(error)


def _certificate(pem: str, kid: str, algorithms: Sequence[str]) -> VerificationKey | str:
    try:
        return pem_key(algorithms, pem.encode(), kid)
    except ValueError as error:
        return str(error)


def _collected(read: Sequence[tuple[str, VerificationKey | str]]) -> KeyDocument:
    """Returns the document of the keys *read*.

    Raises ValueError without a usable key, and where two have one kid (RFC 7517 section 4.5).
    """
    keys = tuple(key for _, key in read if isinstance(key, VerificationKey))
    ignored = tuple(f"{name}: {reason}" for name, reason in read if isinstance(reason, str))
    if not keys:
        raise ValueError("the document has no usable key; " + "; ".join(ignored[:3]))
    kids = [key.kid or f"without a kid, {key.algorithm}" for key in keys]
    if len(set(kids)) < len(kids):
        raise ValueError("two keys of the document have the same kid")
    return KeyDocument(keys, ignored)
