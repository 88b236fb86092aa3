from __future__ import annotations

import pytest

from proxy.auth.authorization import Grant
from proxy.auth.caller import Caller
from proxy.errors import BadRequest
from proxy.fal_api.operations import Action, Target
from proxy.http.fields import Fields
from proxy.payload.files.lifecycle import FIELD as UPLOAD_LIFETIME
from proxy.payload.job_options import DISABLE_FALLBACK, LIFETIME, STORE_IO, TAGS, JobOptions
from proxy.payload.policy import EndpointPolicy, Policy
from proxy.payload.validation.schema_file import UNTYPED

STRICT = JobOptions(store_io=False, lifetime=3600, fallback=False, tags={"team": "web"})
PRIORITY = (b"x-fal-queue-priority", b"low")


def seconds(count: int) -> bytes:
    return b'{"expiration_duration_seconds":%d}' % count


def test_nothing_is_sent_where_nobody_asks() -> None:
    """Without options of either side the caller's other fields go on as they are."""
    assert JobOptions().merge((PRIORITY,)) == (PRIORITY,)
    assert JobOptions().merge(()) == ()


def test_the_operators_options_are_always_sent() -> None:
    """Each is sent without the caller's asking, beside the caller's other fields."""
    assert STRICT.merge((PRIORITY,)) == (
        PRIORITY,
        (STORE_IO, b"0"),
        (LIFETIME, seconds(3600)),
        (DISABLE_FALLBACK, b"1"),
        (TAGS, b"team=web"),
    )


CASES: list[tuple[JobOptions, tuple[bytes, bytes], Fields]] = [
    (JobOptions(), (STORE_IO, b"0"), ((STORE_IO, b"0"),)),
    (JobOptions(), (STORE_IO, b"false"), ((STORE_IO, b"0"),)),
    (JobOptions(), (STORE_IO, b"1"), ()),
    (JobOptions(store_io=False), (STORE_IO, b"1"), ((STORE_IO, b"0"),)),
    (JobOptions(), (LIFETIME, seconds(60)), ((LIFETIME, seconds(60)),)),
    (JobOptions(lifetime=600), (LIFETIME, seconds(60)), ((LIFETIME, seconds(60)),)),
    (JobOptions(lifetime=600), (LIFETIME, seconds(6000)), ((LIFETIME, seconds(600)),)),
    (JobOptions(lifetime=600), (LIFETIME, b'{"expiration_duration_seconds":null}'), ((LIFETIME, seconds(600)),)),
    (JobOptions(lifetime=600), (UPLOAD_LIFETIME, seconds(60)), ((LIFETIME, seconds(60)),)),
    (JobOptions(), (DISABLE_FALLBACK, b"true"), ((DISABLE_FALLBACK, b"1"),)),
    (JobOptions(), (DISABLE_FALLBACK, b"0"), ()),
    (JobOptions(fallback=False), (DISABLE_FALLBACK, b"false"), ((DISABLE_FALLBACK, b"1"),)),
    (JobOptions(), (TAGS, b"team=a, Env=prod"), ((TAGS, b"team=a,env=prod"),)),
    (JobOptions(tags={"team": "web"}), (TAGS, b"team=a,env=prod"), ((TAGS, b"team=web,env=prod"),)),
]


@pytest.mark.parametrize(("options", "asked", "sent"), CASES)
def test_a_stricter_wish_is_honoured_and_a_looser_one_is_not(
    options: JobOptions, asked: tuple[bytes, bytes], sent: Fields
) -> None:
    """The caller may ask for less storage, a shorter life, no fallback and tags of its own."""
    assert options.merge((asked,)) == sent


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (LIFETIME, b'{"expiration_duration_seconds":60,"initial_acl":{"default":"hide"}}'),
        (LIFETIME, b'{"expiration_duration_seconds":0}'),
        (LIFETIME, b"{}x"),
        (TAGS, b"team"),
        (TAGS, b"fal.team=a"),
        (TAGS, b"a b=c"),
        (TAGS, b"a=b=c"),
        (TAGS, b"a="),
        (TAGS, b",".join(b"t%d=x" % i for i in range(11))),
        (TAGS, b",".join(b"t%d=%s" % (i, b"x" * 250) for i in range(5))),
    ],
)
def test_a_wish_that_cannot_be_honoured_is_an_error(name: bytes, value: bytes) -> None:
    """An option that cannot be honoured is not dropped or changed; the message has the field."""
    with pytest.raises(BadRequest, match=name.decode()):
        JobOptions().merge(((name, value),))


def test_two_lifetimes_have_no_one_meaning() -> None:
    """Both header fields with one request are an error."""
    with pytest.raises(BadRequest, match="x-fal-object-lifecycle"):
        JobOptions().merge(((LIFETIME, seconds(60)), (UPLOAD_LIFETIME, seconds(30))))


def test_the_policy_merges_by_endpoint() -> None:
    """Two endpoints have options of their own."""
    policy = Policy([EndpointPolicy("a/b", UNTYPED, job_options=STRICT), EndpointPolicy("c/d", UNTYPED)])
    caller = Caller("https://issuer.test", "alice", "0" * 64, frozenset(), 0.0, {})

    def sent(endpoint: str) -> Fields:
        return policy.job_options(Grant(caller, Target(Action.SUBMIT, endpoint, endpoint), None), ())

    assert dict(sent("a/b"))[STORE_IO] == b"0"
    assert sent("c/d") == ()
