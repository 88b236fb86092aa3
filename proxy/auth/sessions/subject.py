"""Subject of a token: the values that may be one. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from proxy.auth.sessions.claims import find
from proxy.errors import Unauthenticated
from proxy.strict_json import Json

MAX_SUBJECT = 256  # characters
_MAX_INTEGER = 2**63

# Invisible, and yet no control or format character (Unicode's Default_Ignorable_Code_Point, and two blanks).
_INVISIBLE = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def parse_subject(claims: Mapping[str, Json], path: str = "sub") -> str:
    """Returns the subject at the dotted *path*; an integer becomes its decimal text.

    Raises Unauthenticated.
    """
    subject = find(claims, path)
    if isinstance(subject, int) and not isinstance(subject, bool) and abs(subject) < _MAX_INTEGER:
        return str(subject)
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
        raise Unauthenticated(reason=f"{path} is not a string of 1 to {MAX_SUBJECT} characters, nor an integer")
    # isprintable() refuses every control, format, surrogate and unassigned character, and every space but U+0020.
    if not subject.isprintable() or subject != subject.strip() or _INVISIBLE.search(subject):
        raise Unauthenticated(reason=f"{path} has characters that cannot be seen")
    if not unicodedata.is_normalized("NFC", subject):
        raise Unauthenticated(reason=f"{path} is not in normal form C")
    return subject
