from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.auth.authorization import Authorization, Grant, Listing
from proxy.auth.caller import Caller
from proxy.auth.claim_rule import ClaimRule
from proxy.auth.job_handles import JobHandles
from proxy.auth.sessions.claims import Claims
from proxy.errors import Forbidden, JobNotFound
from proxy.fal_api.operations import WITHOUT_ENDPOINT, Action, Surface, Target

SDXL, APP = "fal-ai/hyper-sdxl/image-to-image", "fal-ai/hyper-sdxl"
READS = frozenset({Action.SUBMIT, Action.STATUS, Action.RESULT, Action.CANCEL})
HANDLES = JobHandles([b"handle-secret-of-the-tests-000001"])


def caller(name: str = "alice", *scopes: str) -> Caller:
    return Caller("https://app.test", name, name.encode().hex(), frozenset(scopes), 0.0, {})


def ownership(*listings: Listing) -> Authorization:
    return Authorization(listings or [Listing(SDXL, READS)], HANDLES)


def make_handle(name: str = "alice") -> str:
    return HANDLES.sign("job-1", owner=caller(name).key, app=APP)


def test_a_listed_submit_is_granted() -> None:
    """The grant carries who and what, and no job yet."""
    target = Target(Action.SUBMIT, SDXL, APP)

    assert Grant(caller(), target, None) == ownership().authorize(caller(), target)


@pytest.mark.parametrize("endpoint", [APP, SDXL])
def test_a_job_is_granted_to_its_owner(endpoint: str) -> None:
    """Follow-ups may be addressed by the app or by the full id; the grant holds fal's own id."""
    target = Target(Action.STATUS, endpoint, APP, make_handle())

    assert ownership().authorize(caller(), target).upstream_id == "job-1"


@pytest.mark.parametrize("action", [Action.STATUS, Action.RESULT, Action.CANCEL])
def test_a_foreign_job_is_not_found(action: Action) -> None:
    """A caller who did not start a job cannot see that it exists."""
    with pytest.raises(JobNotFound):
        ownership().authorize(caller("bob"), Target(action, APP, APP, make_handle("alice")))


@pytest.mark.parametrize(
    "target",
    [
        Target(Action.SUBMIT, "fal-ai/hyper-sdxl", APP),
        Target(Action.SUBMIT, "fal-ai/hyper-sdxl/image-to-image-pro", APP),
        Target(Action.SUBMIT, "Fal-AI/hyper-sdxl/image-to-image", "Fal-AI/hyper-sdxl"),
        Target(Action.STATUS, "fal-ai/flux", "fal-ai/flux", "x"),
        Target(Action.STATUS, "fal-ai/hyper-sdxl/other", APP, "x"),
        Target(Action.STATUS_STREAM, APP, APP, "x"),
        Target(Action.RUN, SDXL, APP),
    ],
    ids=["app-is-not-endpoint", "longer", "case", "other-app", "sibling-full-id", "action", "run"],
)
def test_whatever_is_not_listed_is_forbidden(target: Target) -> None:
    """Endpoints are compared whole, and each with its own actions."""
    with pytest.raises(Forbidden):
        ownership().authorize(caller(), target)


def test_an_empty_list_allows_nothing() -> None:
    """Deny by default."""
    with pytest.raises(Forbidden):
        Authorization([], HANDLES).authorize(caller(), Target(Action.SUBMIT, SDXL, APP))


def test_a_scope_is_needed_where_one_is_set() -> None:
    """A session without the endpoint's scope is refused, one with it is not."""
    scoped = ownership(Listing(SDXL, READS, scope="images"))
    target = Target(Action.SUBMIT, SDXL, APP)

    assert scoped.authorize(caller("alice", "images"), target).caller.subject == "alice"
    with pytest.raises(Forbidden) as refused:
        scoped.authorize(caller("alice", "image"), target)
    assert refused.value.error_type == "insufficient_scope"


def test_an_app_follows_any_of_its_endpoints() -> None:
    """Of two endpoints of one app, either one can open a follow-up to this caller."""
    both = ownership(
        Listing(SDXL, READS, scope="images"), Listing(f"{APP}/text-to-image", frozenset({Action.SUBMIT, Action.STATUS}))
    )

    assert both.authorize(caller(), Target(Action.STATUS, APP, APP, make_handle())).upstream_id == "job-1"
    with pytest.raises(Forbidden):
        both.authorize(caller(), Target(Action.CANCEL, APP, APP, make_handle()))


def test_a_submitted_job_is_sealed_to_its_caller() -> None:
    """The handle made under a grant opens for that caller alone."""
    authorization = ownership()
    grant = authorization.authorize(caller(), Target(Action.SUBMIT, SDXL, APP))

    assert make_handle() == authorization.sign_handle(grant, "job-1")


@pytest.mark.parametrize("action", [Action.UPLOAD, Action.TOKEN])
def test_what_has_no_endpoint_is_opened_by_its_name(action: Action) -> None:
    """Uploads and tokens are listed like endpoints, with a scope of their own.

    A model's listing opens neither.
    """
    name = WITHOUT_ENDPOINT[action]
    target = Target(action, name, name, surface=Surface.STORAGE, path="/x")
    opened = ownership(Listing(SDXL, READS), Listing(name, frozenset({action}), scope="more"))

    assert opened.authorize(caller("alice", "more"), target).upstream_id is None
    for authorization, who in ((opened, caller()), (ownership(), caller("alice", "more"))):
        with pytest.raises(Forbidden):
            authorization.authorize(who, target)


@pytest.mark.parametrize("namespace", ["workflows", "comfy"])
@pytest.mark.parametrize("action", [Action.STATUS, Action.RESULT, Action.CANCEL])
def test_a_namespaced_job_is_found_without_its_namespace(namespace: str, action: Action) -> None:
    """The Kotlin and Dart clients poll under owner/alias.

    The handle proves the namespace, and fal is sent it.
    """
    app = f"{namespace}/acme/flow"
    handle = HANDLES.sign("job-1", owner=caller().key, app=app)
    authorization = ownership(Listing(app, READS))

    grant = authorization.authorize(caller(), Target(action, "acme/flow", "acme/flow", handle))
    assert (grant.target.app, grant.target.endpoint, grant.upstream_id) == (app, app, "job-1")
    with pytest.raises(JobNotFound):
        authorization.authorize(caller("bob"), Target(action, "acme/flow", "acme/flow", handle))


def test_an_app_beside_a_namespaced_one_keeps_its_jobs() -> None:
    """Of two listed apps, each handle leads to its own."""
    authorization = ownership(Listing("workflows/acme/flow", READS), Listing("acme/flow", READS))
    for app in ("acme/flow", "workflows/acme/flow"):
        handle = HANDLES.sign("job-1", owner=caller().key, app=app)
        target = Target(Action.STATUS, "acme/flow", "acme/flow", handle)

        assert authorization.authorize(caller(), target).target.app == app


def test_a_namespaced_endpoint_is_not_submitted_without_its_namespace() -> None:
    """Only follow-ups have a handle as proof."""
    with pytest.raises(Forbidden):
        ownership(Listing("workflows/acme/flow", READS)).authorize(
            caller(), Target(Action.SUBMIT, "acme/flow", "acme/flow")
        )


def test_a_rule_over_claims() -> None:
    """A rule that is false or fails denies; scopes come before it, and one of several endpoints is enough."""
    rule = ClaimRule("claims.plan == 'pro'")
    authorization = ownership(
        Listing(SDXL, READS, allow=rule), Listing("fal-ai/hyper-sdxl", READS, scope="more"), Listing("fal-ai/x", READS)
    )
    pro, free, unknown, scoped = (
        replace(caller("alice", *scopes), claims=Claims(claims))
        for claims, scopes in (({"plan": "pro"}, ()), ({"plan": "free"}, ()), ({}, ()), ({}, ("more",)))
    )
    submit, status = Target(Action.SUBMIT, SDXL, APP), Target(Action.STATUS, APP, APP, make_handle())

    assert authorization.authorize(pro, submit).caller is pro
    assert authorization.authorize(pro, status).upstream_id == "job-1"
    assert authorization.authorize(scoped, status).upstream_id == "job-1"
    for denied in (free, unknown):
        for target in (submit, status):
            with pytest.raises(Forbidden) as refused:
                authorization.authorize(denied, target)
            assert refused.value.error_type == "insufficient_claims"


def test_the_message_names_what_is_not_offered() -> None:
    """An operator reads which endpoint or action was wanted."""
    with pytest.raises(Forbidden, match="not offered here: fal-ai/other"):
        ownership().authorize(caller(), Target(Action.SUBMIT, "fal-ai/other", "fal-ai/other"))
    with pytest.raises(Forbidden, match=r"not offered here for .*: run"):
        ownership().authorize(caller(), Target(Action.RUN, SDXL, APP))
