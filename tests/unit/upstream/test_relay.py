from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from support.in_process_gateway import (
    APP,
    ENDPOINT,
    EVENTS,
    FAL_KEY,
    JOB,
    JSON,
    QUEUED,
    ScriptedUpstream,
    Step,
    reply,
)

from proxy.auth.authorization import Authorization, Grant, Listing
from proxy.auth.caller import Caller
from proxy.auth.job_handles import JobHandles
from proxy.errors import (
    ConnectFailed,
    ConnectTimedOut,
    DeadlineExceeded,
    ExchangeBroken,
    NotSent,
    OutcomeUnknown,
    PoolExhausted,
    PoolFull,
    ServicePaused,
    Unavailable,
    UpstreamFailed,
)
from proxy.fal_api.operations import Action, Surface, Target
from proxy.http.client.messages import UpstreamResponse
from proxy.payload.body import Payload
from proxy.upstream.account.fal_key import FalKey
from proxy.upstream.account.state import Account
from proxy.upstream.breakers.breaker_table import Breakers
from proxy.upstream.outcomes import Accepted, Outcome, UpstreamResult
from proxy.upstream.relay import Deadlines, Relay

HANDLES = JobHandles([b"handle-secret-of-the-tests-000001"])
ALICE = Caller("i", "alice", "a" * 64, frozenset(), 0.0, {})
BOB = Caller("i", "bob", "b" * 64, frozenset(), 0.0, {})
STARTS = frozenset({Action.SUBMIT, Action.RUN, Action.RUN_STREAM})
PAYLOAD = Payload(ENDPOINT, {"prompt": "x"}, b'{"prompt":"x"}')
BROKEN = ExchangeBroken("reset", sent=True)


def relay_over(*script: Step, keys: Sequence[FalKey] = (FalKey(FAL_KEY),)) -> tuple[Relay, ScriptedUpstream]:
    upstream = ScriptedUpstream(list(script))
    relay = Relay(
        dict.fromkeys(Surface, upstream),
        breakers=Breakers(clock=lambda: 0.0, report=lambda kind, state, reason: None),
        account=Account(keys, report=lambda state, pause, reason: None),
        deadlines=Deadlines(),
        clock=lambda: 0.0,
    )
    return relay, upstream


def make_grant(action: Action, query: str = "", caller: Caller = ALICE) -> Grant:
    handle = None if action in STARTS else HANDLES.sign(JOB, owner=caller.key, app=APP)
    endpoint = ENDPOINT if action in STARTS else APP
    target = Target(action, endpoint, APP, handle, query)
    return Authorization([Listing(ENDPOINT, frozenset(Action))], HANDLES).authorize(caller, target)


async def test_a_submit_goes_out_with_our_key_and_the_validated_body() -> None:
    """Method, rebuilt path, our Authorization and exactly the validated bytes."""
    relay, upstream = relay_over(reply(QUEUED))
    await relay.submit(make_grant(Action.SUBMIT, "fal_max_queue_length=3"), PAYLOAD, ((b"x-fal-no-retry", b"1"),))
    [asked] = upstream.asked

    assert (asked.method, asked.path) == (b"POST", f"/{ENDPOINT}?fal_max_queue_length=3".encode())
    assert asked.body == PAYLOAD.raw
    assert (b"authorization", b"Key " + FAL_KEY.encode()) in asked.headers
    assert (b"x-fal-no-retry", b"1") in asked.headers


@pytest.mark.parametrize(
    ("action", "method", "path"),
    [
        (Action.STATUS, b"GET", f"/{APP}/requests/{JOB}/status?logs=1"),
        (Action.RESULT, b"GET", f"/{APP}/requests/{JOB}?logs=1"),
        (Action.CANCEL, b"PUT", f"/{APP}/requests/{JOB}/cancel?logs=1"),
    ],
)
async def test_a_follow_up_is_addressed_by_fals_own_id(action: Action, method: bytes, path: str) -> None:
    """Upstream hears the id inside the handle, never the handle, and no body."""
    relay, upstream = relay_over(reply({}))
    await relay.read(make_grant(action, "logs=1"))
    [asked] = upstream.asked

    assert (asked.method, asked.path, asked.body) == (method, path.encode(), b"")


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (ConnectFailed("refused"), NotSent),
        (PoolExhausted("full"), PoolFull),
        (ExchangeBroken("reset", sent=False), NotSent),
        (BROKEN, OutcomeUnknown),
        (DeadlineExceeded("late", sent=True), OutcomeUnknown),
        (DeadlineExceeded("late", sent=False), NotSent),
    ],
)
async def test_a_broken_submit_is_never_repeated(error: Exception, refusal: type[Exception]) -> None:
    """One attempt, whatever became of it; what was sent decides the answer."""
    relay, upstream = relay_over(error, reply(QUEUED))

    with pytest.raises(refusal):
        await relay.submit(make_grant(Action.SUBMIT), PAYLOAD, ())
    assert len(upstream.asked) == 1


async def test_a_broken_read_is_repeated_once() -> None:
    """No byte of an answer came, so asking again is safe and enough."""
    relay, upstream = relay_over(BROKEN, reply({"status": "IN_QUEUE"}, 202))
    relayed = await relay.read(make_grant(Action.STATUS))

    assert relayed.status == 202
    assert len(upstream.asked) == 2


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (BROKEN, 2),
        (ExchangeBroken("cut", sent=True, received=True), 1),
        (DeadlineExceeded("late", sent=True), 1),
        (PoolExhausted("full"), 1),
    ],
    ids=["broken-twice", "cut", "late", "full"],
)
async def test_a_read_is_repeated_no_further(error: Exception, attempts: int) -> None:
    """Not a second time, not after a byte came back, not when time or our own pool is short."""
    relay, upstream = relay_over(error)

    with pytest.raises((UpstreamFailed, NotSent, PoolFull)):
        await relay.read(make_grant(Action.RESULT))
    assert len(upstream.asked) == attempts


async def test_a_stream_is_opened_as_a_status_is_read() -> None:
    """A stream uses fal's own id, repeats a broken opening once, and forwards a refusal."""
    relay, upstream = relay_over(BROKEN, UpstreamResponse(200, (EVENTS,), b"data: 1\n\n"), reply({"detail": "no"}, 422))
    async with AsyncExitStack() as exit_stack:
        source = await relay.follow(make_grant(Action.STATUS_STREAM, "logs=1"), exit_stack)
        refused = await relay.follow(make_grant(Action.STATUS_STREAM), exit_stack)

    assert not isinstance(source, UpstreamResult)
    assert [chunk async for chunk in source] == [b"data: 1\n\n"]
    assert isinstance(refused, UpstreamResult)
    assert refused.status == 422
    assert len(upstream.asked) == 3
    assert upstream.asked[1].path == f"/{APP}/requests/{JOB}/status/stream?logs=1".encode()


@pytest.mark.parametrize("action", [Action.RUN, Action.RUN_STREAM])
async def test_a_run_is_sent_once_and_says_nothing_of_fal(action: Action) -> None:
    """Not repeated, whatever became of it; and neither slow nor failing models keep others from the queue."""
    relay, upstream = relay_over(*[DeadlineExceeded("late", sent=True)] * 5, reply(QUEUED))
    for _ in range(5):
        async with AsyncExitStack() as exit_stack:
            with pytest.raises(OutcomeUnknown):
                await _run(relay, action, exit_stack)
    await relay.submit(make_grant(Action.SUBMIT), PAYLOAD, ())

    assert len(upstream.asked) == 6


async def _run(relay: Relay, action: Action, exit_stack: AsyncExitStack) -> object:
    if action is Action.RUN:
        return await relay.run(make_grant(action), PAYLOAD, ())
    return await relay.run_stream(make_grant(action), PAYLOAD, (), exit_stack)


async def test_repeats_are_a_tenth_of_reads_at_most() -> None:
    """In an outage the load on fal does not double."""
    relay, upstream = relay_over(BROKEN)
    for _ in range(100):
        with pytest.raises(UpstreamFailed):
            await relay.read(make_grant(Action.STATUS))

    assert 100 < len(upstream.asked) <= 111


async def test_a_dead_upstream_is_left_alone() -> None:
    """After enough failures nothing is sent, and callers hear so at once."""
    relay, upstream = relay_over(ConnectFailed("refused"))
    for _ in range(8):
        with pytest.raises(NotSent):
            await relay.submit(make_grant(Action.SUBMIT), PAYLOAD, ())

    assert len(upstream.asked) == 5


async def test_our_own_full_pool_does_not_count_against_fal() -> None:
    """The breaker judges fal, not us."""
    relay, upstream = relay_over(PoolExhausted("full"))
    for _ in range(5):
        with pytest.raises(PoolFull):
            await relay.submit(make_grant(Action.SUBMIT), PAYLOAD, ())

    assert len(upstream.asked) == 5


async def test_fals_5xx_counts_against_it() -> None:
    """Ten failed reads of two callers open the breaker for reads, and no other one."""
    relay, upstream = relay_over(*[reply({}, 500, JSON)] * 10, reply(QUEUED))
    for caller in (ALICE, BOB) * 5:
        with pytest.raises(UpstreamFailed):
            await relay.read(make_grant(Action.STATUS, caller=caller))
    with pytest.raises(NotSent):
        await relay.read(make_grant(Action.STATUS))
    await relay.submit(make_grant(Action.SUBMIT), PAYLOAD, ())

    assert len(upstream.asked) == 11


async def test_failed_jobs_are_no_failures_of_fals() -> None:
    """Results of failed jobs, read as often as you like by two callers, open no breaker."""
    failed = {"detail": [{"loc": ["body"], "msg": "boom", "type": "internal_server_error"}]}
    relay, upstream = relay_over(reply(failed, 500))
    for caller in (ALICE, BOB) * 50:
        result = await relay.read(make_grant(Action.RESULT, caller=caller))
        assert (result.status, result.outcome) == (500, Outcome.FAILED)

    assert len(upstream.asked) == 100


@pytest.mark.parametrize(
    ("status", "is_the_models"),
    [
        ({"status": "COMPLETED", "error": "boom"}, True),
        ({"status": "COMPLETED"}, False),
        ({"status": "IN_QUEUE"}, False),
    ],
)
async def test_the_status_of_a_job_decides_where_its_result_does_not(status: object, is_the_models: bool) -> None:
    """A 5xx in JSON without a mark is the model's only where the job ended with an error."""
    relay, upstream = relay_over(reply({"message": "boom"}, 500), reply(status))
    if is_the_models:
        assert (await relay.read(make_grant(Action.RESULT))).body == b'{"message": "boom"}'
    else:
        with pytest.raises(UpstreamFailed):
            await relay.read(make_grant(Action.RESULT))

    assert [asked.path.decode() for asked in upstream.asked] == [
        f"/{APP}/requests/{JOB}",
        f"/{APP}/requests/{JOB}/status",
    ]


async def test_a_locked_account_pauses_all_submits() -> None:
    """After fal's first refusal no further submit of any endpoint is sent."""
    locked = {"detail": "User is locked. Reason: Exhausted balance."}
    relay, _ = relay_over(reply(locked, 403))
    relay.account.check(make_grant(Action.SUBMIT).target)
    with pytest.raises(ServicePaused):
        await relay.submit(make_grant(Action.SUBMIT), PAYLOAD, ())

    with pytest.raises(ServicePaused):
        relay.account.check(make_grant(Action.RUN).target)


async def test_an_issue_is_asked_for_once_and_the_breaker_has_no_say() -> None:
    """Uploads that fail keep no caller from the queue, and only the client repeats one."""
    relay, upstream = relay_over(BROKEN)
    owned = Authorization([Listing("uploads", frozenset({Action.UPLOAD}))], HANDLES)
    path = "/storage/upload/initiate"
    grant = owned.authorize(ALICE, Target(Action.UPLOAD, "uploads", "uploads", surface=Surface.STORAGE, path=path))
    for _ in range(5):
        with pytest.raises(UpstreamFailed):
            await relay.issue(grant, PAYLOAD, ())
    upstream.script[:] = [reply(QUEUED)]

    await relay.submit(make_grant(Action.SUBMIT), PAYLOAD, ())
    assert [asked.path.decode() for asked in upstream.asked] == [path] * 5 + [f"/{ENDPOINT}"]


SPARE = FalKey("spare-id:spare-secret-77aa", "spare")
BOTH_KEYS = (FalKey(FAL_KEY), SPARE)
LOCKED = reply({"detail": "User is locked. Reason: Exhausted balance."}, 403)
UNKNOWN_KEY = reply({"detail": "No user found for Key ID and Secret"}, 401)


def used_keys(upstream: ScriptedUpstream) -> list[bytes]:
    """Returns the Authorization of each request."""
    return [dict(asked.headers)[b"authorization"] for asked in upstream.asked]


@pytest.mark.parametrize("refusal", [LOCKED, UNKNOWN_KEY])
async def test_a_submit_whose_key_is_refused_is_repeated_by_its_caller(refusal: UpstreamResponse) -> None:
    """A submit is sent once. The repeat goes to the next key, and its job carries the alias of that key."""
    relay, upstream = relay_over(refusal, reply(QUEUED), keys=BOTH_KEYS)
    with pytest.raises(Unavailable) as refused:
        await relay.submit(make_grant(Action.SUBMIT), PAYLOAD, (), lambda grant: f"key={grant.key_alias}")
    assert (refused.value.status, refused.value.error_type, len(upstream.asked)) == (503, "unavailable", 1)

    accepted = await relay.submit(make_grant(Action.SUBMIT), PAYLOAD, (), lambda grant: f"key={grant.key_alias}")
    assert isinstance(accepted, Accepted)
    assert accepted.key_alias == "spare"
    assert used_keys(upstream) == [b"Key " + FAL_KEY.encode(), b"Key " + SPARE.text.encode()]
    assert [asked.path.rpartition(b"?")[2] for asked in upstream.asked] == [b"key=", b"key=spare"]


async def test_the_last_refusal_pauses_the_service() -> None:
    """Each key is used once; after that nothing is sent."""
    relay, upstream = relay_over(LOCKED, keys=BOTH_KEYS)
    for refusal in (Unavailable, ServicePaused, ServicePaused):
        with pytest.raises(refusal):
            await relay.submit(make_grant(Action.SUBMIT), PAYLOAD, ())

    assert len(upstream.asked) == 2


@pytest.mark.parametrize("answer", [reply({"detail": "x"}, 500), reply({"detail": "x"}, 429), BROKEN])
async def test_any_other_failure_is_not_sent_again(answer: Step) -> None:
    """An unknown outcome stays unknown."""
    relay, upstream = relay_over(answer, keys=BOTH_KEYS)
    with pytest.raises(Exception, match=r"."):
        await relay.submit(make_grant(Action.SUBMIT), PAYLOAD, ())

    assert len(upstream.asked) == 1


async def test_a_run_is_not_sent_again() -> None:
    """The answer may be a model's own words, so the caller repeats it, by the key that works."""
    relay, upstream = relay_over(LOCKED, reply({}), keys=BOTH_KEYS)
    with pytest.raises(Unavailable) as refused:
        await relay.run(make_grant(Action.RUN), PAYLOAD, ())
    assert (refused.value.error_type, len(upstream.asked)) == ("unavailable", 1)

    await relay.run(make_grant(Action.RUN), PAYLOAD, ())
    assert used_keys(upstream)[1] == b"Key " + SPARE.text.encode()


async def test_a_job_is_read_with_its_own_key() -> None:
    """The other account does not have the job, so a refused key is used as well."""
    relay, upstream = relay_over(LOCKED, keys=BOTH_KEYS)
    status = replace(make_grant(Action.STATUS), key_alias="spare")
    for _ in range(2):
        with pytest.raises(ServicePaused):
            await relay.read(status)

    assert used_keys(upstream) == [b"Key " + SPARE.text.encode()] * 2
    relay.account.check(status.target)


async def test_no_answer_may_hold_any_of_the_keys() -> None:
    """The secret half of one is not passed on either, nor one in JSON escapes."""
    relay, _ = relay_over(reply({}), keys=BOTH_KEYS)

    assert relay.contains_secret(b"spare-secret-77aa")
    assert relay.contains_secret(b"spare-secret-77\\u0061\\u0061")
    assert not relay.contains_secret(b"spare-secret")


async def test_a_connection_that_is_not_answered_is_tried_once() -> None:
    """A second attempt would take as long again; one that was refused at once costs nothing."""
    for error, attempts in ((ConnectTimedOut("not connected in 5 s"), 1), (ConnectFailed("refused"), 2)):
        relay, upstream = relay_over(error)
        with pytest.raises(NotSent):
            await relay.read(make_grant(Action.STATUS))
        assert len(upstream.asked) == attempts
