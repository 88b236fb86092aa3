"""Strict base64url of RFC 7515: exactly one spelling for each sequence of octets."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

_SWAPPED = bytes.maketrans(b"-_+/", b"+/-_")  # from either alphabet of RFC 4648 to the other


def decode_base64url(text: bytes) -> bytes:
    """Decodes *text*, which must be canonical and unpadded (RFC 7515 section 2). Raises ValueError."""
    octets = a2b_base64(text.translate(_SWAPPED) + b"=" * (-len(text) % 4))
    # The decoder skips foreign characters, accepts excess padding and stray last bits; none survives re-encoding.
    if b2a_base64(octets, newline=False).rstrip(b"=").translate(_SWAPPED) != text:
        raise ValueError("not canonical base64url")
    return octets


def encode_base64url(octets: bytes) -> str:
    """Encodes *octets* without padding (RFC 7515 section 2)."""
    return b2a_base64(octets, newline=False).rstrip(b"=").translate(_SWAPPED).decode("ascii")
