"""Whom a token names: what may be a subject, and the digest that stands for one everywhere else. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from hashlib import sha256

from proxy.errors import Unauthenticated
from proxy.strict_json import Json

MAX_SUBJECT = 256  # characters

# Nothing to see, and yet no control or format character (Unicode's Default_Ignorable_Code_Point, and two blanks).
_INVISIBLE = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def subject_of(claims: Mapping[str, Json]) -> str:
    """Raises Unauthenticated."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
        raise Unauthenticated(reason=f"sub is not a string of 1 to {MAX_SUBJECT} characters")
    # isprintable() refuses every control, format, surrogate and unassigned character, and every space but U+0020.
    if not subject.isprintable() or subject != subject.strip() or _INVISIBLE.search(subject):
        raise Unauthenticated(reason="sub has characters that cannot be seen")
    if not unicodedata.is_normalized("NFC", subject):
        raise Unauthenticated(reason="sub is not in normal form C")
    return subject


def caller_key(issuer: str, subject: str) -> str:
    """The digest that names a caller in handles and store keys, in lower-case hexadecimal."""
    # With its length before it, no issuer can end where another's subject begins.
    name = issuer.encode()
    return sha256(len(name).to_bytes(4, "big") + name + subject.encode()).hexdigest()
