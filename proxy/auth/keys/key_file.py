"""Key file that is read again when it changes, so that a rotation takes no restart."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from proxy.auth.keys.key_document import KeyDocument
from proxy.auth.keys.verification_key import VerificationKey

CHECK_INTERVAL = 1.0  # seconds between two looks at the file


class KeyFile:
    """Keys in the file at *path*, read by *parse*. *clock* in seconds, monotonic.

    A change is noticed within CHECK_INTERVAL seconds of the next token. A changed file that cannot be used leaves the
    keys as they are; *report* gets a line either way. Raises ValueError where the file is not usable at the start.
    """

    shared_secret = False

    def __init__(
        self,
        path: Path,
        parse: Callable[[bytes], KeyDocument],
        *,
        clock: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        self._path = path
        self._parse = parse
        self._clock = clock
        self._report = report
        self._checked = clock()
        self._content = self._stat()
        self._changes = 0
        self._keys = parse(_read(path)).keys

    @property
    def version(self) -> int:
        """The number of changes, after a look at the file where one is due."""
        if self._clock() - self._checked >= CHECK_INTERVAL:
            self._checked = self._clock()
            self._check()
        return self._changes

    async def current(self) -> Sequence[VerificationKey]:
        """Returns the keys of the file's last usable content."""
        _ = self.version
        return self._keys

    async def refresh(self, kid: str) -> bool:
        """Looks at the file at once. Returns True: then *kid* is unknown for certain."""
        self._checked = self._clock()
        self._check()
        return True

    def _check(self) -> None:
        content = self._stat()
        if content is None or content == self._content:
            return
        # Noted first: a file that cannot be used is reported once, not with every token.
        self._content = content
        try:
            document = self._parse(_read(self._path))
        except ValueError as error:
            self._report(f"{self._path.name} has changed and is not usable; the keys before it still hold: {error}")
            return
        self._report(f"{self._path.name} has changed: {describe_change(self._keys, document)}")
        self._keys = document.keys
        self._changes += 1

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            state = os.stat(self._path)
        except OSError:  # between the two steps of a replacement, or gone: the keys still hold
            return None
        return state.st_mtime_ns, state.st_size, state.st_ino


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def describe_change(before: Sequence[VerificationKey], document: KeyDocument) -> str:
    """Returns a line for the journal: thumbprints of new and removed keys, and what was passed over."""
    old = {key.thumbprint(): key for key in before}
    new = {key.thumbprint(): key for key in document.keys}
    added = [_name(key, thumbprint) for thumbprint, key in new.items() if thumbprint not in old]
    removed = [_name(key, thumbprint) for thumbprint, key in old.items() if thumbprint not in new]
    parts = [f"{len(new)} keys"]
    parts += [f"added {', '.join(added)}"] if added else []
    parts += [f"removed {', '.join(removed)}"] if removed else []
    parts += [f"passed over {'; '.join(document.ignored[:5])}"] if document.ignored else []
    return "; ".join(parts)


def _name(key: VerificationKey, thumbprint: str) -> str:
    kid = "without kid" if key.kid is None else f"kid {key.kid[:40]!r}"
    return f"{thumbprint} ({key.algorithm}, {kid})"
