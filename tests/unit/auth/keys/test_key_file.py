"""Key files that change while the gateway runs."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest
from support.identities import Identifier, completed
from support.identity_provider import IdentityProvider, signing_key
from support.sandbox import Clock

from proxy.auth.keys.key_document import parse_key_document
from proxy.auth.keys.key_file import CHECK_INTERVAL, KeyFile
from proxy.auth.sessions.issuer import Issuer
from proxy.errors import Unauthenticated

OLD, NEW = signing_key("ES256", "a"), signing_key("ES256", "b")
PARSE = partial(parse_key_document, algorithms=("ES256",))


def replace(path: Path, content: bytes) -> None:
    """Writes a new file in the place of the old one, as deployment tools do."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    os.replace(fresh, path)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """New keys hold within a second of the change.

    An unusable file leaves the old ones, and is reported once.
    """
    path, clock, lines = tmp_path / "key.pem", Clock(), list[str]()
    path.write_bytes(OLD.public)
    file = KeyFile(path, PARSE, clock=clock, report=lines.append)
    first = completed(file.current())
    replace(path, b"garbage")
    clock.forward(CHECK_INTERVAL)
    still = [completed(file.current()) for _ in range(2)]
    clock.forward(CHECK_INTERVAL)
    completed(file.current())
    replace(path, NEW.public)
    soon = completed(file.current())
    clock.forward(CHECK_INTERVAL)
    changed = completed(file.current())

    assert still == [first, first]
    assert soon == first
    assert changed[0].thumbprint() != first[0].thumbprint()
    assert len(lines) == 2
    assert "is not usable; the keys before it still hold" in lines[0]
    assert changed[0].thumbprint() in lines[1]


def test_an_unknown_kid_looks_at_once(tmp_path: Path) -> None:
    """A token of a new key does not wait for the second to pass."""
    path = tmp_path / "key.pem"
    path.write_bytes(OLD.public)
    file = KeyFile(path, PARSE, clock=Clock(), report=lambda line: None)
    replace(path, NEW.public)

    assert completed(file.refresh("b")) is True
    assert completed(file.current())[0].material != OLD.public


def test_a_removed_key_ends_cached_sessions(tmp_path: Path) -> None:
    """A token that was verified with the old key is refused within a second of the change."""
    path, clock = tmp_path / "key.pem", Clock()
    path.write_bytes(OLD.public)
    file = KeyFile(path, PARSE, clock=clock, report=lambda line: None)
    identifier = Identifier([Issuer("https://login.example", ("fal-proxy",), file)], clock=time.time)
    provider = IdentityProvider("https://login.example", [OLD])
    fields = [(b"authorization", b"Bearer " + provider.token().encode())]
    first = identifier.identify(fields)
    replace(path, NEW.public)
    still = identifier.identify(fields)
    clock.forward(CHECK_INTERVAL)

    assert still is first
    with pytest.raises(Unauthenticated, match="the signature does not verify"):
        identifier.identify(fields)
    assert not identifier.verifier._sessions


def test_a_missing_file(tmp_path: Path) -> None:
    """A file that is not there is refused at the start, and one that goes away later leaves its keys."""
    path, clock = tmp_path / "key.pem", Clock()
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        KeyFile(path, PARSE, clock=clock, report=lambda line: None)
    path.write_bytes(OLD.public)
    file = KeyFile(path, PARSE, clock=clock, report=lambda line: None)
    path.unlink()
    clock.forward(CHECK_INTERVAL)

    assert len(completed(file.current())) == 1
