from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from proxy import errors
from proxy.errors import (
    BadRequest,
    JobNotFound,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    Refusal,
    RunFailed,
    TransportError,
    Unavailable,
    UpstreamFailed,
)
from proxy.fal_api.operations import Action
from proxy.http.client.messages import UpstreamResponse
from proxy.upstream.outcomes import (
    MAX_ERROR_BODY,
    Judge,
    Outcome,
    Relayed,
    may_stream,
    outcome_of,
    read_broke,
    submit_broke,
)

KEY = b"key-id:key-secret-canary"
JUDGE = Judge(frozenset({KEY, b"key-secret-canary"}))
EVENTS = (b"content-type", b"text/event-stream")
JSON = (b"content-type", b"application/json")
TRANSPORT = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, TransportError)]


def said(status: int, body: bytes = b'{"detail":"x"}', *fields: tuple[bytes, bytes]) -> UpstreamResponse:
    return UpstreamResponse(status, fields or (JSON,), body)


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_submit_with_any_2xx_is_accepted(status: int) -> None:
    """fal's documents disagree on 200 or 202; any success is one."""
    assert JUDGE.submit(said(status)).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(("status", "shown"), [(400, 400), (404, 404), (408, 400), (409, 400), (413, 413), (422, 422)])
def test_fals_definite_refusal_is_shown_and_never_replayed(status: int, shown: int) -> None:
    """A 4xx keeps its body; the two codes that the Python client replays become a 400."""
    relayed = JUDGE.submit(said(status))

    assert (Outcome.REFUSED, shown, b'{"detail":"x"}') == (relayed.outcome, relayed.status, relayed.body)


UNKNOWN_SUBMITS = {
    "500": said(500),
    "502": said(502),
    "504": said(504),
    "503-html": said(503, b"<html>", (b"content-type", b"text/html")),
    "302": said(302, b"", (b"location", b"https://evil.test")),
    "200-html": said(200, b"<html>", (b"content-type", b"text/html")),
    "200-no-type": said(200, b"{}", (b"server", b"x")),
    "200-gzip": said(200, b"\x1f\x8b", JSON, (b"content-encoding", b"gzip")),
    "200-with-our-key": said(200, b'{"request_id":"' + KEY + b'"}'),
}


@pytest.mark.parametrize("response", UNKNOWN_SUBMITS.values(), ids=UNKNOWN_SUBMITS)
def test_a_submit_that_may_run_is_unknown(response: UpstreamResponse) -> None:
    """Where a job may exist although no usable answer came, nobody may be told to try again."""
    with pytest.raises(OutcomeUnknown) as refused:
        JUDGE.submit(response)

    assert outcome_of(refused.value) is Outcome.UNKNOWN


def test_fals_own_503_is_a_refusal_that_may_be_replayed() -> None:
    """503 with fal's JSON means not taken; its Retry-After is passed on."""
    with pytest.raises(Unavailable) as refused:
        JUDGE.submit(said(503, b'{"detail":"busy"}', JSON, (b"retry-after", b"7")))

    assert (b"retry-after", b"7") in refused.value.headers
    assert outcome_of(refused.value) is Outcome.REFUSED


@pytest.mark.parametrize("judge", [JUDGE.submit, JUDGE.read])
@pytest.mark.parametrize("status", [401, 403])
def test_fals_complaint_about_the_key_is_masked(judge: Callable[[UpstreamResponse], Relayed], status: int) -> None:
    """The caller learns neither that the key is bad nor that the balance is spent."""
    with pytest.raises(UpstreamFailed) as refused:
        judge(said(status, b'{"detail":"User is locked. Reason: Exhausted balance."}'))

    assert "balance" not in str(refused.value.detail)


@pytest.mark.parametrize(
    ("raw", "seconds"), [(b"30", b"30"), (b"0", b"1"), (b"99999", b"300"), (b"-1", b"1"), (b"soon", b"1"), (b"", b"1")]
)
def test_a_busy_model_passes_a_clamped_retry_after(raw: bytes, seconds: bytes) -> None:
    """429 passes on, with a wait between one second and five minutes."""
    with pytest.raises(RateLimited) as refused:
        JUDGE.submit(said(429, b"{}", JSON, (b"retry-after", raw)))

    assert (b"retry-after", seconds) in refused.value.headers


@pytest.mark.parametrize(
    "response",
    [
        said(400, b"<html>", (b"content-type", b"text/html")),
        said(422, b'{"key":"key-secret-canary"}'),
        said(422, b'"' + b"a" * MAX_ERROR_BODY + b'"'),
    ],
    ids=["html", "canary", "huge"],
)
def test_an_error_body_unfit_to_show_is_replaced(response: UpstreamResponse) -> None:
    """Pages, leaked keys and floods become a constant."""
    with pytest.raises(BadRequest) as refused:
        JUDGE.submit(response)

    assert refused.value.detail == "fal refused the request"


@pytest.mark.parametrize("status", [200, 202])
def test_a_read_keeps_its_status(status: int) -> None:
    """202 while running, 200 when done: fal's own clients decide by it."""
    assert JUDGE.read(said(status)).status == status


@pytest.mark.parametrize("status", [400, 405, 422])
def test_a_read_keeps_the_models_error(status: int) -> None:
    """A failed job's own error comes back on its result."""
    assert JUDGE.read(said(status)).status == status


@pytest.mark.parametrize("status", [301, 304, 500, 502, 503, 504])
def test_a_read_that_failed_upstream_may_be_repeated(status: int) -> None:
    """Every broken read is the same constant 502."""
    with pytest.raises(UpstreamFailed):
        JUDGE.read(said(status))


@pytest.mark.parametrize("status", [200, 202])
def test_a_read_of_a_page_is_a_failure(status: int) -> None:
    """HTML never passes."""
    with pytest.raises(UpstreamFailed):
        JUDGE.read(said(status, b"<html>", (b"content-type", b"text/html")))


def test_a_job_fal_forgot_is_as_unknown_as_a_foreign_one() -> None:
    """fal's 404 becomes the one 404."""
    with pytest.raises(JobNotFound):
        JUDGE.read(said(404, b'{"status":"NOT_FOUND"}'))


@pytest.mark.parametrize("kind", TRANSPORT, ids=lambda kind: kind.__name__)
def test_every_transport_error_has_an_outcome(kind: type[TransportError]) -> None:
    """Whether anything was sent decides, and nothing else: for submits safe 503 or final 504, for reads 503 or 502."""
    error = kind.__new__(kind)
    for sent, submit, read in [(False, NotSent, NotSent), (True, OutcomeUnknown, UpstreamFailed)]:
        TransportError.__init__(error, "broke", sent=sent)

        assert type(submit_broke(error)) is submit
        assert type(read_broke(error)) is read


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [
        (NotSent(), Outcome.NOT_SENT),
        (OutcomeUnknown(), Outcome.UNKNOWN),
        (UpstreamFailed(), Outcome.REFUSED),
        (RateLimited(retry_after=1), Outcome.REFUSED),
    ],
)
def test_a_refusal_tells_what_became_of_the_money(refusal: Refusal, outcome: Outcome) -> None:
    """The ledger settles by this."""
    assert outcome_of(refusal) is outcome


def test_what_was_issued_is_accepted() -> None:
    """Any success with plain JSON is one."""
    assert JUDGE.issued(said(201)).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("status", [100, 301, 404, 500, 502, 503, 504])
def test_nothing_issued_may_be_asked_for_again(status: int) -> None:
    """Nobody has what did not come, so the answer is one that clients repeat; a 404 is no word about a job."""
    with pytest.raises(UpstreamFailed):
        JUDGE.issued(said(status))


@pytest.mark.parametrize("body", [KEY, b"x" * (MAX_ERROR_BODY + 1)], ids=["key", "huge"])
def test_an_issue_that_cannot_be_shown_is_none(body: bytes) -> None:
    """The key is never passed on, nor more than two addresses or a token can take."""
    with pytest.raises(UpstreamFailed):
        JUDGE.issued(said(200, body))


@pytest.mark.parametrize(("status", "shown"), [(400, 400), (408, 400), (409, 400), (422, 422)])
def test_fals_refusal_to_issue_is_shown(status: int, shown: int) -> None:
    """As for submits, without the statuses that the Python client repeats ten times."""
    relayed = JUDGE.issued(said(status))

    assert (relayed.outcome, relayed.status) == (Outcome.REFUSED, shown)


TYPED = (b"x-fal-error-type", b"runner_server_error")


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (said(200), Outcome.ACCEPTED),
        (said(422), Outcome.FAILED),
        (said(400), Outcome.FAILED),
        (said(404), Outcome.REFUSED),
    ],
)
def test_a_run_that_answers(response: UpstreamResponse, outcome: Outcome) -> None:
    """A 4xx is the model's own failure, but where there is no model."""
    assert JUDGE.run(response).outcome is outcome


@pytest.mark.parametrize(
    ("response", "refusal", "outcome"),
    [
        (said(500, b"{}", JSON, TYPED), RunFailed, Outcome.FAILED),
        (said(504, b"{}", JSON, TYPED), RunFailed, Outcome.FAILED),
        (said(503, b"{}", JSON, TYPED), Unavailable, Outcome.REFUSED),
        (said(429), RateLimited, Outcome.REFUSED),
        (said(403), UpstreamFailed, Outcome.REFUSED),
        (said(500), OutcomeUnknown, Outcome.UNKNOWN),
        (said(500, b"<html>", (b"content-type", b"text/html"), TYPED), OutcomeUnknown, Outcome.UNKNOWN),
        (said(500, KEY, JSON, TYPED), OutcomeUnknown, Outcome.UNKNOWN),
        (said(500, b"{}", JSON, (b"x-fal-error-type", b"<b>")), OutcomeUnknown, Outcome.UNKNOWN),
        (said(302, b"{}", JSON, TYPED), OutcomeUnknown, Outcome.UNKNOWN),
        (said(200, b"<html>", (b"content-type", b"text/html")), OutcomeUnknown, Outcome.UNKNOWN),
    ],
)
def test_a_run_that_does_not(response: UpstreamResponse, refusal: type[Refusal], outcome: Outcome) -> None:
    """Only fal's own word makes a 5xx a failure for certain: a proxy between may have lost the answer of a good run."""
    with pytest.raises(refusal) as caught:
        JUDGE.run(response)

    assert outcome_of(caught.value) is outcome


@pytest.mark.parametrize(
    ("action", "status", "fields", "streams"),
    [
        (Action.STATUS_STREAM, 200, [EVENTS], True),
        (Action.STATUS_STREAM, 200, [(b"content-type", b"Text/Event-Stream; charset=utf-8")], True),
        (Action.STATUS_STREAM, 200, [JSON], False),
        (Action.STATUS_STREAM, 404, [EVENTS], False),
        (Action.STATUS_STREAM, 302, [EVENTS], False),
        (Action.STATUS_STREAM, 200, [], False),
        (Action.RUN_STREAM, 201, [JSON], True),
        (Action.RUN_STREAM, 200, [(b"content-type", b"audio/wav")], True),
        (Action.RUN_STREAM, 200, [(b"content-type", b"image/svg+xml")], False),
        (Action.RUN_STREAM, 200, [(b"content-type", b"text/html; x=text/event-stream")], False),
        (Action.RUN_STREAM, 200, [EVENTS, (b"content-encoding", b"br")], False),
        (Action.RUN_STREAM, 500, [EVENTS], False),
    ],
)
def test_what_goes_on_as_it_comes(
    action: Action, status: int, fields: list[tuple[bytes, bytes]], streams: bool
) -> None:
    """A success of a fitting type, not squeezed; all else is read whole and judged."""
    assert may_stream(action, status, fields) is streams
