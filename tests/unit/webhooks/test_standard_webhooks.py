from __future__ import annotations

import base64

import pytest

from proxy.webhooks.standard_webhooks import AppSignature

# The example of the Standard Webhooks specification and of its libraries' tests.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNED = b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
BODY = b'{"test": 2432232314}'


def test_the_published_example() -> None:
    """The same id, time and body under the same secret give the published signature."""
    fields = AppSignature([SECRET]).headers("msg_p5jXN8AQM9LWM0D4loKWxJek", BODY, now=1614265330.9)

    assert dict(fields) == {
        b"webhook-id": b"msg_p5jXN8AQM9LWM0D4loKWxJek",
        b"webhook-timestamp": b"1614265330",
        b"webhook-signature": SIGNED,
    }


def test_every_secret_signs() -> None:
    """While a secret is replaced both signatures are there, in the order of the secrets."""
    other = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    fields = dict(AppSignature([other, SECRET]).headers("msg_p5jXN8AQM9LWM0D4loKWxJek", BODY, now=1614265330))
    first, second = fields[b"webhook-signature"].split(b" ")

    assert second == SIGNED
    assert first.startswith(b"v1,")
    assert first != second


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_",
        "whsec_c2hvcnQ=",
        "whsec_" + "A" * 44,
        "whsec_" + base64.b64encode(bytes(range(65))).decode(),
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa w",
        "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    ],
)
def test_a_weak_or_malformed_secret_is_refused(secret: str) -> None:
    """With a word on how to make one, and without the secret itself."""
    with pytest.raises(ValueError, match="openssl rand") as refused:
        AppSignature([secret])

    assert len(secret) < 8 or secret not in str(refused.value)


def test_no_secret_is_refused() -> None:
    """An unsigned delivery would teach the app to take any."""
    with pytest.raises(ValueError, match="secret"):
        AppSignature([])
