from __future__ import annotations

import pytest

from proxy.errors import BadRequest
from proxy.payload.files.lifecycle import FIELD, MAX_SECONDS, Lifecycle

HOUR = b'{"expiration_duration_seconds": 3600}'


def written(lifecycle: Lifecycle, *values: bytes) -> bytes | None:
    fields = lifecycle.forwarded_headers([(b"accept", b"*/*"), *((FIELD, value) for value in values)])
    assert {name for name, _ in fields} <= {FIELD}
    return fields[0][1] if fields else None


@pytest.mark.parametrize(
    ("lifecycle", "asked", "seconds"),
    [
        (Lifecycle(), None, None),
        (Lifecycle(), HOUR, 3600),
        (Lifecycle(), b'{"expiration_duration_seconds": null}', None),
        (Lifecycle(), b"{}", None),
        (Lifecycle(60), None, 60),
        (Lifecycle(60), HOUR, 60),
        (Lifecycle(60), b'{"expiration_duration_seconds": null}', 60),
        (Lifecycle(60), b"{}", 60),
        (Lifecycle(86_400), HOUR, 3600),
        (Lifecycle(86_400), b'{"expiration_duration_seconds":1.9}', 1),
        (Lifecycle(86_400, "force"), HOUR, 86_400),
        (Lifecycle(60, "force"), HOUR, 60),
        (Lifecycle(60, "force"), None, 60),
    ],
)
def test_the_lifetime_is_capped_or_forced(lifecycle: Lifecycle, asked: bytes | None, seconds: int | None) -> None:
    """No file is stored longer than the operator allows, and the text is rebuilt."""
    expected = None if seconds is None else b'{"expiration_duration_seconds":%d}' % seconds

    assert written(lifecycle, *([] if asked is None else [asked])) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"3600",
        b"null",
        b"[]",
        b"{",
        b"never",
        b'{"expiration_duration_seconds": 0}',
        b'{"expiration_duration_seconds": -1}',
        b'{"expiration_duration_seconds": true}',
        b'{"expiration_duration_seconds": "3600"}',
        b'{"expiration_duration_seconds": NaN}',
        b'{"expiration_duration_seconds": 1e300}',
        b'{"expiration_duration_seconds": %d}' % (MAX_SECONDS + 1),
        b'{"expiration_duration_seconds": 60, "expiration_duration_seconds": 3600}',
        b'{"expiration_duration_seconds": 60, "initial_acl": {"default": "forbid"}}',
        b'{"initial_acl": {"default": "forbid"}}',
        b'{"Expiration_Duration_Seconds": 60}',
        b'\xff{"expiration_duration_seconds": 60}',
    ],
)
@pytest.mark.parametrize(
    "lifecycle", [Lifecycle(), Lifecycle(60), Lifecycle(60, "force")], ids=["open", "cap", "force"]
)
def test_what_is_not_understood_is_refused(lifecycle: Lifecycle, value: bytes) -> None:
    """An access list is never dropped without a word, a lifetime never guessed."""
    with pytest.raises(BadRequest, match=r"x-fal-object-lifecycle"):
        written(lifecycle, value)


def test_two_fields_are_refused() -> None:
    """Two fields have no one meaning."""
    with pytest.raises(BadRequest):
        written(Lifecycle(60), HOUR, HOUR)
