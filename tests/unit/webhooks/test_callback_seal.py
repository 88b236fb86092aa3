from __future__ import annotations

import base64
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.auth.caller import caller_key
from proxy.webhooks.callback_seal import CallbackCipher, CallbackContext

SECRET, OTHER = b"a secret of handles, thirty-two by", b"another secret of handles, 32 byte"
CONTEXT = CallbackContext(
    "https://app.example.com", "alice", "fal-ai/hyper-sdxl/image-to-image", "f" * 32, 1_800_000_000
)


def test_a_seal_opens_to_what_was_sealed() -> None:
    """Owner and app come from the context as from the submit."""
    opened = CallbackCipher([SECRET]).decrypt(CallbackCipher([SECRET]).encrypt(CONTEXT).encode())

    assert opened == CONTEXT
    assert opened.owner == caller_key("https://app.example.com", "alice")
    assert opened.app == "fal-ai/hyper-sdxl"


def test_a_seal_shows_nothing_and_is_one_segment() -> None:
    """Nothing of the user can be read in it, it needs no escaping, and no two are alike."""
    seals = CallbackCipher([SECRET])
    one, two = seals.encrypt(CONTEXT), seals.encrypt(CONTEXT)
    padded = one + "=" * (-len(one) % 4)

    assert re.fullmatch(r"[A-Za-z0-9_-]+", one)
    assert not re.search(rb"alice|example|fal-ai|ffff", base64.urlsafe_b64decode(padded))
    assert one[:20] != two[:20]


def test_a_secret_rotates() -> None:
    """The first seals, all open; one that is dropped opens no more."""
    old = CallbackCipher([OTHER]).encrypt(CONTEXT).encode()

    # The place of the secret: the handle of the job was made by the same one.
    assert CallbackCipher([SECRET, OTHER]).decrypt(old) == replace(CONTEXT, secret_index=1)
    assert CallbackCipher([SECRET]).decrypt(CallbackCipher([SECRET, OTHER]).encrypt(CONTEXT).encode()) == CONTEXT
    with pytest.raises(ValueError, match="no secret decrypts"):
        CallbackCipher([SECRET]).decrypt(old)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_changed_seal_does_not_open(place: int, change: int) -> None:
    """Any byte of it."""
    text = CallbackCipher([SECRET]).encrypt(CONTEXT)
    raw = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    raw[place % len(raw)] ^= change

    with pytest.raises(ValueError, match=r"malformed|decrypts|base64"):
        CallbackCipher([SECRET]).decrypt(base64.urlsafe_b64encode(raw).rstrip(b"="))


@given(st.binary(max_size=300))
def test_nothing_else_opens(text: bytes) -> None:
    """Every other text in its place is a ValueError, and no other error."""
    with pytest.raises(ValueError, match=r"malformed|decrypts|base64"):
        CallbackCipher([SECRET, OTHER]).decrypt(text)


@given(st.text(min_size=1, max_size=256).filter(lambda text: text.isprintable()))
def test_any_subject_comes_back(subject: str) -> None:
    """Every subject that a token may name comes back."""
    context = CallbackContext("https://app.example.com", subject, "a/b", "1", 1)

    assert CallbackCipher([SECRET]).decrypt(CallbackCipher([SECRET]).encrypt(context).encode()) == context


def test_the_fal_key_of_the_job_comes_back() -> None:
    """The alias is left out for the key without one, so that the URL stays as short as before."""
    seals = CallbackCipher([SECRET])
    keyed = replace(CONTEXT, key_alias="spare")

    assert seals.decrypt(seals.encrypt(keyed).encode()) == keyed
    assert len(seals.encrypt(CONTEXT)) < len(seals.encrypt(keyed))
