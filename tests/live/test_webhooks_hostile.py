"""Calls to the callback address over real sockets: bad ones change nothing, good ones once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.gateway_process import Rig, until
from support.in_process_gateway import ENDPOINT
from support.webhooks import ACCOUNT, App, Hooked, hooked, jwk, signed

from proxy.webhooks.callback_seal import CallbackCipher, CallbackContext

Call = tuple[str, Mapping[str, str], bytes]
Case = Callable[[Hooked, str, str], Call]

STRANGER = Ed25519PrivateKey.generate()
REFUSED = b'{"detail":"Callback refused","message":"Callback refused","error_type":"callback_refused"}'


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hooked]:
    home = tmp_path_factory.mktemp("hostile")
    with Rig(home) as rig:
        yield hooked(rig, home, fal_user_id=ACCOUNT, max_body_bytes=100_000)


def forged(**more: object) -> Case:
    """Returns fal's webhook of a job with one fault."""
    return lambda hooks, job, url: (url, *hooks.fal.signed(job, **more))  # type: ignore[arg-type]


def off_by(seconds: float) -> Case:
    return lambda hooks, job, url: (url, *hooks.fal.signed(job, at=time.time() + seconds))


def headers(change: Callable[[dict[str, str]], object]) -> Case:
    def call(hooks: Hooked, job: str, url: str) -> Call:
        fields, body = hooks.fal.signed(job)
        change(fields)
        return url, fields, body

    return call


def url(change: Callable[[str], str]) -> Case:
    return lambda hooks, job, url: (change(url), *hooks.fal.signed(job))


def body(change: Callable[[bytes], bytes], *, sign: bool = False) -> Case:
    def call(hooks: Hooked, job: str, url: str) -> Call:
        fields, text = hooks.fal.signed(job)
        changed = change(text)
        return url, signed(hooks.fal.key, job, changed) if sign else fields, changed

    return call


def another_job_of_ours(hooks: Hooked, job: str, url: str) -> Call:
    return url, *hooks.fal.signed(hooks.submit("bob"))


def another_jobs_url(hooks: Hooked, job: str, url: str) -> Call:
    return hooks.fal.callbacks[hooks.submit("bob")], *hooks.fal.signed(job)


def sealed_by(secret: bytes, *, issued: float = 0) -> Case:
    def call(hooks: Hooked, job: str, url: str) -> Call:
        context = CallbackContext("https://app.example.com", "alice", ENDPOINT, "f" * 32, int(time.time() - issued))
        return f"{url.rpartition('/')[0]}/{CallbackCipher([secret]).encrypt(context)}", *hooks.fal.signed(job)

    return call


def last_changed(text: str) -> str:
    return text[:-1] + ("A" if text[-1] != "A" else "B")


OURS = b"handle-secret-of-the-tests-000001"
CASES: dict[str, tuple[Case, int]] = {
    "another-key": (forged(key=STRANGER), 403),
    "body-longer": (body(lambda text: text + b" "), 403),
    "body-swapped": (body(lambda text: text.replace(b"OK", b"ERROR")), 403),
    "signature-of-zeros": (headers(lambda f: f.update({"x-fal-webhook-signature": "0" * 128})), 403),
    "signature-short": (headers(lambda f: f.update({"x-fal-webhook-signature": "ab" * 63})), 403),
    "signature-not-hex": (headers(lambda f: f.update({"x-fal-webhook-signature": "zz" * 64})), 403),
    "signature-empty": (headers(lambda f: f.update({"x-fal-webhook-signature": ""})), 403),
    "signature-missing": (headers(lambda f: f.pop("x-fal-webhook-signature")), 403),
    "user-missing": (headers(lambda f: f.pop("x-fal-webhook-user-id")), 403),
    "user-changed": (headers(lambda f: f.update({"x-fal-webhook-user-id": "fal-user-2"})), 403),
    "timestamp-missing": (headers(lambda f: f.pop("x-fal-webhook-timestamp")), 403),
    "timestamp-changed": (headers(lambda f: f.update({"x-fal-webhook-timestamp": str(int(time.time()) + 9)})), 403),
    "timestamp-padded": (headers(lambda f: f.update({"x-fal-webhook-timestamp": f"0{int(time.time())}"})), 403),
    "timestamp-float": (headers(lambda f: f.update({"x-fal-webhook-timestamp": f"{time.time()}"})), 403),
    "timestamp-negative": (headers(lambda f: f.update({"x-fal-webhook-timestamp": "-1"})), 403),
    "timestamp-huge": (headers(lambda f: f.update({"x-fal-webhook-timestamp": "9" * 4000})), 403),
    "request-id-changed": (headers(lambda f: f.update({"x-fal-webhook-request-id": "job-9"})), 403),
    "request-id-odd": (headers(lambda f: f.update({"x-fal-webhook-request-id": "a/../b"})), 403),
    "stale": (off_by(-302), 403),
    "from-the-future": (off_by(310), 403),
    "another-account": (forged(account="fal-user-2"), 403),
    "unknown-job": (lambda hooks, job, url: (url, *hooks.fal.signed("job-never-made")), 403),
    "another-job-of-ours": (another_job_of_ours, 403),
    "another-jobs-url": (another_jobs_url, 403),
    "foreign-seal": (sealed_by(b"another-gateway's-handle-secret-01"), 403),
    "old-seal": (sealed_by(OURS, issued=3 * 86_400), 403),
    "seal-changed": (url(last_changed), 403),
    "seal-cut": (url(lambda text: text[:-8]), 403),
    "seal-padded": (url(lambda text: text + "="), 403),
    "seal-empty": (url(lambda text: f"{text.rpartition('/')[0]}/"), 403),
    "seal-short": (url(lambda text: f"{text.rpartition('/')[0]}/abc"), 403),
    "seal-long": (url(lambda text: text + "A" * 5000), 403),
    "seal-and-more": (url(lambda text: text + "/more"), 403),
    "job-differs-in-body": (body(lambda text: text.replace(b'"job-', b'"jab-'), sign=True), 403),
    "no-status": (body(lambda text: text.replace(b'"status"', b'"state"'), sign=True), 403),
    "odd-status": (body(lambda text: text.replace(b'"OK"', b'"MAYBE"'), sign=True), 403),
    "status-null": (body(lambda text: text.replace(b'"OK"', b"null"), sign=True), 403),
    "not-json": (body(lambda text: text[:-1], sign=True), 403),
    "array": (body(lambda text: b"[" + text + b"]", sign=True), 403),
    "twice-in-body": (body(lambda text: text[:-1] + b',"status":"OK"}', sign=True), 403),
    "our-key-in-body": (body(lambda text: text.replace(b"attempt-2", b"canary-secret-5f1c"), sign=True), 403),
    "empty-body": (body(lambda _: b"", sign=True), 403),
    "not-declared-json": (headers(lambda f: f.update({"content-type": "text/plain"})), 415),
    "form": (headers(lambda f: f.update({"content-type": "application/x-www-form-urlencoded"})), 415),
    "compressed": (headers(lambda f: f.update({"content-encoding": "gzip"})), 415),
    "too-large": (body(lambda text: text[:-1] + b" " * 100_000 + b"}", sign=True), 413),
}


@pytest.mark.parametrize(("case", "status"), CASES.values(), ids=CASES)
def test_what_is_not_fals_word_on_this_job_changes_nothing(
    hooks: Hooked, case: Case, status: int, request: pytest.FixtureRequest
) -> None:
    """Refused, always in the same words; the ledger is the same to the last row and the app hears nothing.

    Afterwards the real callback still passes.
    """
    source = f"198.51.100.{list(CASES).index(request.node.callspec.id)}"
    job = hooks.submit()
    called, fields, text = case(hooks, job, hooks.fal.callbacks[job])
    before, delivered = hooks.rows(), len(hooks.app.deliveries)

    answer = hooks.call(called, fields, text, source=source)
    after = hooks.rows()
    good = hooks.call(hooks.fal.callbacks[job], *hooks.fal.signed(job), source=source)

    assert answer.status_code == status
    assert status != 403 or answer.content == REFUSED
    assert after == before
    assert (good.status_code, len(hooks.app.deliveries)) == (200, delivered + 1)


def test_each_refusal_is_told_to_the_operator(hooks: Hooked) -> None:
    """The metrics and the journal name why, which the answer never does; the journal has no seal in it."""
    for case in (forged(key=STRANGER), forged(at=1), url(last_changed), another_job_of_ours, forged(account="x")):
        job = hooks.submit()
        assert hooks.call(*case(hooks, job, hooks.fal.callbacks[job]), source="203.0.113.9").status_code == 403

    metrics = hooks.gateway.metrics()
    for why in ("signature", "stale", "seal", "job", "account"):
        assert f'outcome="refused-{why}"' in metrics
    seals = [url.rpartition("/")[2] for url in hooks.fal.callbacks.values()]
    until(lambda: hooks.gateway.journal().count('"refused-account"'))
    assert not [seal for seal in seals if seal[:100] in hooks.gateway.journal()]


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD"])
def test_only_posts_are_taken(hooks: Hooked, method: str) -> None:
    """405 with Allow, and nothing looked at."""
    job = hooks.submit()

    answer = hooks.call(hooks.fal.callbacks[job], *hooks.fal.signed(job), method=method)

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_a_replay_changes_nothing(hooks: Hooked) -> None:
    """The same bytes again, once acknowledged, are refused.

    A repetition by fal, signed again, is acknowledged again. Neither reaches the app or the ledger.
    """
    job = hooks.submit()
    now = time.time()
    call = (hooks.fal.callbacks[job], *hooks.fal.signed(job, at=now))
    first = hooks.call(*call)
    before, delivered = hooks.rows(), len(hooks.app.deliveries)

    replay = hooks.call(*call)
    repeated = hooks.call(hooks.fal.callbacks[job], *hooks.fal.signed(job, at=now + 1))

    assert [first.status_code, replay.status_code, repeated.status_code] == [200, 403, 200]
    assert (hooks.rows(), len(hooks.app.deliveries)) == (before, delivered)


def test_a_prober_is_not_looked_at_for_long(hooks: Hooked) -> None:
    """After 30 bad signatures from one address a further call is 429, a good one too; others go on."""
    job = hooks.submit()
    bad = (hooks.fal.callbacks[job], *hooks.fal.signed(job, key=STRANGER))

    statuses = [hooks.call(*bad, source="203.0.113.77").status_code for _ in range(31)]
    good = (hooks.fal.callbacks[job], *hooks.fal.signed(job))
    here, elsewhere = hooks.call(*good, source="203.0.113.77"), hooks.call(*good, source="203.0.113.78")

    assert statuses == [403] * 30 + [429]
    assert (here.status_code, elsewhere.status_code) == (429, 200)


def test_strangers_cannot_shut_fal_out(hooks: Hooked) -> None:
    """A call that another account caused, with a made-up URL, is refused; the real call passes.

    Both are from an address of fal.
    """
    job = hooks.submit()
    made_up = [
        url(last_changed),
        forged(account="fal-user-2"),
        forged(at=1),
        headers(lambda f: f.pop("x-fal-webhook-signature")),
        url(lambda u: u + "/x"),
    ]
    for case in made_up * 9:
        assert hooks.call(*case(hooks, job, hooks.fal.callbacks[job]), source="203.0.113.80").status_code == 403

    good = hooks.call(hooks.fal.callbacks[job], *hooks.fal.signed(job), source="203.0.113.80")

    assert good.status_code == 200


def test_an_ok_settles_and_an_error_pays_back(hooks: Hooked) -> None:
    """OK spends the reservation, ERROR refunds it, and both free the slot, in the caller's usage."""
    ok, error, open_ = (hooks.submit("carol") for _ in range(3))
    before = hooks.usage("carol")
    for job, status in ((ok, "OK"), (error, "ERROR")):
        assert hooks.call(hooks.fal.callbacks[job], *hooks.fal.signed(job, status=status)).status_code == 200
    after = hooks.usage("carol")

    def spent(delivered: dict[str, list[dict[str, float]]]) -> tuple[float, float, float]:
        return delivered["budgets"][0]["used"], delivered["budgets"][0]["reserved"], delivered["in_flight"][0]["used"]

    assert (spent(before), spent(after)) == ((0, 3, 3), (1, 1, 1))
    assert open_ in hooks.fal.callbacks


def test_an_outcome_that_was_unknown_is_known_by_the_callback(hooks: Hooked) -> None:
    """fal's answer to the submit was lost (504): its callback still finds the reservation, and settles it."""
    hooks.fal.submit_status = 500
    with hooks.gateway.client("dave") as client:
        answer = client.post(f"queue/{ENDPOINT}", json={"image_url": "https://example.com/a.png", "prompt": "x"})
    hooks.fal.submit_status = 200
    (job, url) = list(hooks.fal.callbacks.items())[-1]
    before = hooks.usage("dave")["budgets"][0]
    delivered = hooks.call(url, *hooks.fal.signed(job))
    after = hooks.usage("dave")["budgets"][0]

    assert (answer.status_code, delivered.status_code) == (504, 200)
    assert (before["used"], before["reserved"], after["used"], after["reserved"]) == (0, 1, 1, 0)
    assert hooks.app.deliveries[-1].message["subject"] == "dave"


def test_twins_deliver_once(rig: Rig, tmp_path: Path) -> None:
    """Of twenty calls for one job at once one is delivered; the others get a 503 or an acknowledgement."""
    hooks = hooked(rig, tmp_path)
    job = hooks.submit()
    calls = [(hooks.fal.callbacks[job], *hooks.fal.signed(job, at=time.time() - n)) for n in range(20)]

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda call: hooks.call(*call), calls))

    assert len(hooks.app.deliveries) == 1
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert 200 in {answer.status_code for answer in answers}


@pytest.mark.parametrize(
    ("plan", "status", "heard"),
    [
        ([204], 200, 1),
        ([500, 202], 200, 2),
        ([410], 200, 1),
        ([500, 500, 500], 503, 3),
        ([404, 302, 0], 503, 3),
    ],
)
def test_fal_is_answered_what_the_app_answers(
    rig: Rig, tmp_path: Path, plan: list[int], status: int, heard: int
) -> None:
    """2xx once the app took it or said 410; else 503 with a Retry-After, and fal's next call delivers."""
    answers = iter(plan)
    hooks = hooked(rig, tmp_path, app=App(lambda _: next(answers, 204)))
    job = hooks.submit()

    first = hooks.call(hooks.fal.callbacks[job], *hooks.fal.signed(job, at=time.time() - 5))
    after = len(hooks.app.deliveries)
    second = hooks.call(hooks.fal.callbacks[job], *hooks.fal.signed(job))

    assert (first.status_code, after, second.status_code) == (status, heard, 200)
    assert status == 200 or "retry-after" in first.headers
    assert len(hooks.app.deliveries) == heard + (status == 503)
    assert len({delivery.headers["webhook-id"] for delivery in hooks.app.deliveries}) == 1
    assert len({delivery.body for delivery in hooks.app.deliveries}) == 1


def test_bad_signatures_do_not_drive_us_to_fal(rig: Rig, tmp_path: Path) -> None:
    """The key set is fetched once, with the key that was added to it.

    For bad signatures not again so soon.
    """
    hooks = hooked(rig, tmp_path)
    job = hooks.submit()
    hooks.fal.key = Ed25519PrivateKey.generate()
    hooks.fal.published.insert(0, jwk(hooks.fal.key))

    answer = hooks.call(hooks.fal.callbacks[job], *hooks.fal.signed(job))
    for _ in range(5):
        hooks.call(hooks.fal.callbacks[job], *hooks.fal.signed(job, key=STRANGER))

    assert (answer.status_code, hooks.fal.jwks_asked) == (200, 1)


def test_without_keys_nobody_is_believed(rig: Rig, tmp_path: Path) -> None:
    """fal's key set cannot be had: 503, so that fal calls again, and nothing changes."""
    hooks = hooked(rig, tmp_path)
    hooks.fal.jwks_status = 500
    job = hooks.submit()
    before = hooks.rows()

    answer = hooks.call(hooks.fal.callbacks[job], *hooks.fal.signed(job))

    assert (answer.status_code, answer.json()["error_type"]) == (503, "keys_unavailable")
    assert (hooks.rows(), hooks.app.deliveries) == (before, [])


def test_a_callers_own_webhook_is_refused(hooks: Hooked) -> None:
    """In this mode the address is ours alone; nothing is submitted."""
    made = len(hooks.fal.queries)
    with hooks.gateway.client() as client:
        answer = client.post(
            f"queue/{ENDPOINT}?fal_webhook=https%3A%2F%2Fapp.example.com%2F",
            json={"image_url": "https://example.com/a.png", "prompt": "x"},
        )

    assert (answer.status_code, answer.json()["error_type"], len(hooks.fal.queries)) == (400, "webhook_refused", made)
