from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.errors import (
    BadRequest,
    JobNotFound,
    OutcomeUnknown,
    RateLimited,
    Refusal,
    RunFailed,
    ServicePaused,
    Unavailable,
    UpstreamFailed,
)
from proxy.fal_api.operations import Action
from proxy.http.client.messages import UpstreamResponse
from proxy.upstream.classifier import MAX_ERROR_BODY, ResponseClassifier, UnmarkedFailure, may_stream
from proxy.upstream.outcomes import Accepted, Outcome, UpstreamResult, refusal_outcome
from proxy.upstream.secret_filter import SecretSearch

KEY = b"key-id:key-secret-canary"
NOW = 1_800_000_000.0
CLASSIFIER = ResponseClassifier(SecretSearch([KEY.decode(), "key-secret-canary"]), clock=lambda: NOW)
EVENTS = (b"content-type", b"text/event-stream")
JSON = (b"content-type", b"application/json")


def answer(
    status: int, body: bytes = b'{"detail":"x","request_id":"job-1"}', *fields: tuple[bytes, bytes]
) -> UpstreamResponse:
    return UpstreamResponse(status, fields or (JSON,), body)


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_submit_with_any_2xx_is_accepted(status: int) -> None:
    """fal's documents disagree on 200 or 202; any success is one."""
    assert CLASSIFIER.classify_submit(answer(status, b'{"request_id":"job-1"}')) == Accepted("job-1", "IN_QUEUE", None)


@pytest.mark.parametrize(("status", "shown"), [(400, 400), (404, 404), (408, 400), (409, 400), (413, 413), (422, 422)])
def test_fals_definite_refusal_is_shown_and_never_replayed(status: int, shown: int) -> None:
    """A 4xx keeps its body; the two codes that the Python client replays become a 400."""
    result = CLASSIFIER.classify_submit(answer(status, b'{"detail":"x"}'))

    assert result == UpstreamResult(Outcome.REFUSED, shown, (), b'{"detail":"x"}')


UNKNOWN_SUBMITS = {
    "500": answer(500),
    "502": answer(502),
    "504": answer(504),
    "503-html": answer(503, b"<html>", (b"content-type", b"text/html")),
    "302": answer(302, b"", (b"location", b"https://evil.test")),
    "200-html": answer(200, b"<html>", (b"content-type", b"text/html")),
    "200-no-type": answer(200, b"{}", (b"server", b"x")),
    "200-gzip": answer(200, b"\x1f\x8b", JSON, (b"content-encoding", b"gzip")),
    "200-with-our-key": answer(200, b'{"request_id":"' + KEY + b'"}'),
}


@pytest.mark.parametrize("response", UNKNOWN_SUBMITS.values(), ids=UNKNOWN_SUBMITS)
def test_a_submit_that_may_run_is_unknown(response: UpstreamResponse) -> None:
    """A job may exist although no usable answer came, so no client may be made to try again."""
    with pytest.raises(OutcomeUnknown) as refused:
        CLASSIFIER.classify_submit(response)

    assert refusal_outcome(refused.value) is Outcome.UNKNOWN


def test_fals_own_503_is_a_refusal_that_may_be_replayed() -> None:
    """503 with fal's JSON means not taken; its Retry-After is passed on."""
    with pytest.raises(Unavailable) as refused:
        CLASSIFIER.classify_submit(answer(503, b'{"detail":"busy"}', JSON, (b"retry-after", b"7")))

    assert (b"retry-after", b"7") in refused.value.headers
    assert refusal_outcome(refused.value) is Outcome.REFUSED


LOCKED = b'{"detail":"User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."}'
NO_ACCESS = b'{"detail":"Cannot access application"}'


@pytest.mark.parametrize("classify", [CLASSIFIER.classify_submit, CLASSIFIER.classify_read, CLASSIFIER.classify_issue])
@pytest.mark.parametrize(("status", "body", "cause"), [(403, LOCKED, "locked"), (401, NO_ACCESS, "endpoint")])
def test_a_refusal_of_our_account_is_a_pause(
    classify: Callable[[UpstreamResponse], object], status: int, body: bytes, cause: str
) -> None:
    """The caller learns neither that the key is bad nor that the balance is spent; the log does."""
    with pytest.raises(ServicePaused) as refused:
        classify(answer(status, body))

    assert (refused.value.cause, "balance" in str(refused.value.detail)) == (cause, False)
    assert (refused.value.evidence, cause in str(refused.value.reason)) == (body.decode(), True)
    assert (b"retry-after", b"20") in refused.value.headers


@pytest.mark.parametrize("classify", [CLASSIFIER.classify_submit, CLASSIFIER.classify_read])
@pytest.mark.parametrize("status", [401, 403])
def test_a_page_in_place_of_a_refusal_is_masked(classify: Callable[[UpstreamResponse], object], status: int) -> None:
    """A page of a proxy in between pauses nothing, and is not shown."""
    with pytest.raises(UpstreamFailed) as refused:
        classify(answer(status, b"<html>balance</html>", (b"content-type", b"text/html")))

    assert "balance" not in str(refused.value.detail)


def test_a_busy_model_passes_a_bounded_retry_after() -> None:
    """429 is passed on, with fal's wait."""
    with pytest.raises(RateLimited) as refused:
        CLASSIFIER.classify_submit(answer(429, b"{}", JSON, (b"retry-after", b"30")))

    assert (b"retry-after", b"30") in refused.value.headers


@pytest.mark.parametrize(
    "response",
    [
        answer(400, b"<html>", (b"content-type", b"text/html")),
        answer(422, b'{"key":"key-secret-canary"}'),
        answer(422, b'"' + b"a" * MAX_ERROR_BODY + b'"'),
    ],
    ids=["html", "canary", "huge"],
)
def test_an_error_body_unfit_to_show_is_replaced(response: UpstreamResponse) -> None:
    """Pages, leaked keys and floods become a constant."""
    with pytest.raises(BadRequest) as refused:
        CLASSIFIER.classify_submit(response)

    assert refused.value.detail == "fal refused the request"


@pytest.mark.parametrize("status", [200, 202])
def test_a_read_keeps_its_status(status: int) -> None:
    """202 while running, 200 when done: fal's own clients decide by it."""
    assert CLASSIFIER.classify_read(answer(status)).status == status


@pytest.mark.parametrize("status", [400, 405, 422])
def test_a_read_keeps_the_models_error(status: int) -> None:
    """A failed job's own error comes back on its result."""
    assert CLASSIFIER.classify_read(answer(status)).status == status


@pytest.mark.parametrize("status", [301, 304, 500, 502, 503, 504])
def test_a_read_that_failed_upstream_may_be_repeated(status: int) -> None:
    """Every broken read is the same constant 502."""
    with pytest.raises(UpstreamFailed):
        CLASSIFIER.classify_read(answer(status))


@pytest.mark.parametrize("status", [200, 202])
def test_a_read_of_a_page_is_a_failure(status: int) -> None:
    """HTML never passes."""
    with pytest.raises(UpstreamFailed):
        CLASSIFIER.classify_read(answer(status, b"<html>", (b"content-type", b"text/html")))


def test_a_job_fal_forgot_is_as_unknown_as_a_foreign_one() -> None:
    """fal's 404 becomes the one 404."""
    with pytest.raises(JobNotFound):
        CLASSIFIER.classify_read(answer(404, b'{"status":"NOT_FOUND"}'))
    with pytest.raises(JobNotFound):
        CLASSIFIER.classify_result(answer(404, b'{"status":"NOT_FOUND"}'))


TYPED = (b"x-fal-error-type", b"runner_server_error")
DETAIL = b'{"detail":[{"loc":["body"],"msg":"no","type":"x"}]}'


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        *[(500, 500), (502, 500), (503, 500), (504, 500), (400, 400), (410, 410), (413, 413), (422, 422)],
        *[(401, 400), (403, 400), (404, 400), (408, 400), (409, 400), (429, 400)],
    ],
)
def test_a_failed_jobs_result_is_the_models(status: int, shown: int) -> None:
    """A failed job's body and type are forwarded, under a status that no client replays."""
    result = CLASSIFIER.classify_result(answer(status, DETAIL, JSON, TYPED))

    assert result == UpstreamResult(Outcome.FAILED, shown, (TYPED,), DETAIL)


@pytest.mark.parametrize(
    "response", [answer(500, DETAIL), answer(500, b'{"detail":"boom"}'), answer(500, b"{}", JSON, TYPED)]
)
def test_either_mark_makes_a_failure_the_models(response: UpstreamResponse) -> None:
    """fal's error type and a body with `detail` are written for the model's failures alone."""
    assert CLASSIFIER.classify_result(response).outcome is Outcome.FAILED


def test_a_failure_without_a_mark_is_left_open() -> None:
    """Only the status of its job can show whether the model failed or fal."""
    with pytest.raises(UnmarkedFailure) as failure:
        CLASSIFIER.classify_result(answer(503, b'{"error":"boom"}'))

    assert failure.value.result == UpstreamResult(Outcome.FAILED, 500, (), b'{"error":"boom"}')


def test_a_result_that_is_not_ready_ends_nothing() -> None:
    """fal answers 400 while the job runs."""
    result = CLASSIFIER.classify_result(answer(400, b'{"detail":"Request is still in progress"}'))

    assert (result.outcome, result.status) == (Outcome.REFUSED, 400)


HTML = (b"content-type", b"text/html")


@pytest.mark.parametrize(
    "response",
    [
        *[answer(status, b"<html>", HTML, TYPED) for status in (200, 400, 404, 500, 502)],
        *[answer(status, body) for status in (200, 422, 500) for body in (b"", b"{", b"\xff", b"<html></html>", KEY)],
        answer(302, b"{}"),
    ],
)
def test_a_result_that_no_model_writes_is_fal_failing(response: UpstreamResponse) -> None:
    """A page, a truncated answer and none are a 502; so is an answer that holds the key."""
    with pytest.raises(UpstreamFailed) as refused:
        CLASSIFIER.classify_result(response)

    assert not isinstance(refused.value, UnmarkedFailure)


def test_a_models_own_403_pauses_nothing() -> None:
    """Only fal's own words about the key do, in a run and in a result."""
    for classify in (CLASSIFIER.classify_result, CLASSIFIER.classify_run):
        assert classify(answer(403, NO_ACCESS)).status == 400
        with pytest.raises(ServicePaused):
            classify(answer(403, LOCKED))


def test_fals_own_429_on_a_result_is_passed_on() -> None:
    """Without a model's body it is fal that is busy."""
    with pytest.raises(RateLimited):
        CLASSIFIER.classify_result(answer(429, b"{}"))


def test_what_was_issued_is_accepted() -> None:
    """Any success with plain JSON is one."""
    assert CLASSIFIER.classify_issue(answer(201)).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("status", [100, 301, 404, 500, 502, 503, 504])
def test_nothing_issued_may_be_asked_for_again(status: int) -> None:
    """Nothing was issued, so the answer is one that clients repeat; a 404 is not about a job."""
    with pytest.raises(UpstreamFailed):
        CLASSIFIER.classify_issue(answer(status))


@pytest.mark.parametrize("body", [KEY, b"x" * (MAX_ERROR_BODY + 1)], ids=["key", "huge"])
def test_an_issue_that_cannot_be_shown_is_none(body: bytes) -> None:
    """The key is never passed on, nor more than two addresses or a token can take."""
    with pytest.raises(UpstreamFailed):
        CLASSIFIER.classify_issue(answer(200, body))


@pytest.mark.parametrize(("status", "shown"), [(400, 400), (408, 400), (409, 400), (422, 422)])
def test_fals_refusal_to_issue_is_shown(status: int, shown: int) -> None:
    """As for submits, without the statuses that the Python client repeats ten times."""
    result = CLASSIFIER.classify_issue(answer(status))

    assert (result.outcome, result.status) == (Outcome.REFUSED, shown)


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (answer(200), Outcome.ACCEPTED),
        (answer(422), Outcome.FAILED),
        (answer(400), Outcome.FAILED),
        (answer(401), Outcome.FAILED),
        (answer(403), Outcome.FAILED),
        (answer(404), Outcome.REFUSED),
    ],
)
def test_a_run_that_answers(response: UpstreamResponse, outcome: Outcome) -> None:
    """A 4xx is the model's own failure, but where there is no model."""
    assert CLASSIFIER.classify_run(response).outcome is outcome


@pytest.mark.parametrize(
    ("response", "refusal", "outcome"),
    [
        (answer(500, b"{}", JSON, TYPED), RunFailed, Outcome.FAILED),
        (answer(504, b"{}", JSON, TYPED), RunFailed, Outcome.FAILED),
        (answer(503, b"{}", JSON, TYPED), Unavailable, Outcome.REFUSED),
        (answer(429), RateLimited, Outcome.REFUSED),
        (answer(403, LOCKED), ServicePaused, Outcome.REFUSED),
        (answer(500), OutcomeUnknown, Outcome.UNKNOWN),
        (answer(500, b"<html>", (b"content-type", b"text/html"), TYPED), OutcomeUnknown, Outcome.UNKNOWN),
        (answer(500, KEY, JSON, TYPED), OutcomeUnknown, Outcome.UNKNOWN),
        (answer(500, b"{}", JSON, (b"x-fal-error-type", b"<b>")), OutcomeUnknown, Outcome.UNKNOWN),
        (answer(302, b"{}", JSON, TYPED), OutcomeUnknown, Outcome.UNKNOWN),
        (answer(200, b"<html>", (b"content-type", b"text/html")), OutcomeUnknown, Outcome.UNKNOWN),
    ],
)
def test_a_run_that_does_not(response: UpstreamResponse, refusal: type[Refusal], outcome: Outcome) -> None:
    """A 5xx is a certain failure only with fal's error type: a proxy may have lost a good answer."""
    with pytest.raises(refusal) as caught:
        CLASSIFIER.classify_run(response)

    assert refusal_outcome(caught.value) is outcome


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
