"""Search for secrets in content of fal's, also in JSON escapes, whole or as it comes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from proxy.errors import UpstreamFailed

# JSON may write any character as \\u00xx, and these three after a backslash.
_ESCAPE = re.compile(rb'\\(?:u00([2-7][0-9a-fA-F])|(["\\/]))')
_AFTER_BACKSLASH = b'"\\/'
_ESCAPED_SIZE = 6  # bytes of \u00xx


class SecretSearch:
    """Search for *secrets*: printable ASCII."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # A text with a secret also has every shorter secret inside it, so only the innermost are searched for.
        every = [secret.encode("ascii") for secret in dict.fromkeys(secrets)]
        self.secrets = tuple(one for one in every if not any(other != one and other in one for other in every))
        self._has_escapable = any(byte in secret for secret in self.secrets for byte in _AFTER_BACKSLASH)

    def __contains__(self, content: bytes) -> bool:
        for secret in self.secrets:  # a generator would cost as much again
            if secret in content:
                return True
        if b"\\u00" not in content and not (self._has_escapable and b"\\" in content):
            return False
        plain = _ESCAPE.sub(_character, content)
        return any(secret in plain for secret in self.secrets)


class SecretFilter:
    """Finds secrets wherever chunks end: the possible beginning of one is held back for the next chunk."""

    def __init__(self, search: SecretSearch) -> None:
        self._search = search
        self._forms = tuple(tuple(map(_forms, secret)) for secret in search.secrets)
        self._held_back = b""

    def feed(self, chunk: bytes) -> bytes:
        """Returns the bytes that may be sent now. Raises UpstreamFailed at a secret."""
        content = self._held_back + chunk
        if content in self._search:
            raise UpstreamFailed(reason="fal's answer holds our key")
        end = len(content) - max((self._overlap(content, secret) for secret in self._search.secrets), default=0)
        if b"\\" in content:
            end = min([end, *(_escaped_beginning(content, forms) for forms in self._forms)])
        self._held_back = content[end:]
        return content[:end]

    def flush(self) -> bytes:
        """Returns what was held back, at the end of the answer."""
        rest, self._held_back = self._held_back, b""
        return rest

    @staticmethod
    def _overlap(content: bytes, secret: bytes) -> int:
        """Returns the length of the longest beginning of *secret* that *content* ends with."""
        longest = min(len(secret) - 1, len(content))
        return next((size for size in range(longest, 0, -1) if content.endswith(secret[:size])), 0)


def _escaped_beginning(content: bytes, forms: tuple[tuple[bytes, ...], ...]) -> int:
    """Returns where the beginning of a secret starts that *content* ends with, or its length."""
    first = max(0, len(content) - _ESCAPED_SIZE * len(forms) + 1)
    opening = {form[0] for form in forms[0]}
    candidates = (start for start in range(first, len(content)) if content[start] in opening)
    return next((start for start in candidates if _is_beginning(content, start, forms)), len(content))


def _is_beginning(content: bytes, start: int, forms: tuple[tuple[bytes, ...], ...]) -> bool:
    """Returns whether *content* from *start* on is a beginning of a secret, of characters with *forms*."""
    for character in forms:
        rest = content[start : start + _ESCAPED_SIZE]
        form = next((form for form in character if rest.startswith(form)), None)
        if form is None:
            return any(form.startswith(rest) for form in character)
        start += len(form)
    return False


def _forms(character: int) -> tuple[bytes, ...]:
    """Returns the ways to write one character in JSON, an escape before the character itself."""
    lower = b"\\u%04x" % character
    upper = b"\\u%04X" % character
    short = (b"\\%c" % character,) if character in _AFTER_BACKSLASH else ()
    return (lower, upper, *short, bytes([character]))


def _character(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 16)]) if match[1] else match[2]
