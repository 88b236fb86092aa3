from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hostile_targets import GOOD, PATH_ROWS, URL_ROWS

from proxy.errors import BadRequest, Forbidden, NotFound, Refusal, TargetNotFal
from proxy.fal_api.endpoint_ids import endpoint_id
from proxy.fal_api.operations import Action, Surface, Target, resolve, resolve_path, resolve_url

SDXL = "fal-ai/hyper-sdxl/image-to-image"
APP = "fal-ai/hyper-sdxl"

ACCEPTED: list[tuple[str, str, bytes, bytes, Target]] = [
    ("submit", "POST", f"/{SDXL}".encode(), b"", Target(Action.SUBMIT, SDXL, APP)),
    ("submit-slash", "POST", f"/{SDXL}/".encode(), b"", Target(Action.SUBMIT, SDXL, APP)),
    (
        "submit-queue-length",
        "POST",
        f"/{SDXL}".encode(),
        b"fal_max_queue_length=12",
        Target(Action.SUBMIT, SDXL, APP, query="fal_max_queue_length=12"),
    ),
    (
        "submit-workflow",
        "POST",
        b"/workflows/me/flow",
        b"",
        Target(Action.SUBMIT, "workflows/me/flow", "workflows/me/flow"),
    ),
    ("submit-comfy", "POST", b"/comfy/me/x/y", b"", Target(Action.SUBMIT, "comfy/me/x/y", "comfy/me/x")),
    ("status", "GET", f"/{APP}/requests/id-1/status".encode(), b"", Target(Action.STATUS, APP, APP, "id-1")),
    (
        "status-logs",
        "GET",
        f"/{APP}/requests/id-1/status/".encode(),
        b"logs=true",
        Target(Action.STATUS, APP, APP, "id-1", "logs=1"),
    ),
    (
        "status-no-logs",
        "GET",
        f"/{APP}/requests/id-1/status".encode(),
        b"logs=false",
        Target(Action.STATUS, APP, APP, "id-1", "logs=0"),
    ),
    (
        "stream",
        "GET",
        f"/{APP}/requests/id-1/status/stream".encode(),
        b"logs=1",
        Target(Action.STATUS_STREAM, APP, APP, "id-1", "logs=1"),
    ),
    ("result", "GET", f"/{APP}/requests/id-1".encode(), b"", Target(Action.RESULT, APP, APP, "id-1")),
    ("result-slash", "GET", f"/{APP}/requests/id-1/".encode(), b"", Target(Action.RESULT, APP, APP, "id-1")),
    ("response", "GET", f"/{APP}/requests/id-1/response".encode(), b"", Target(Action.RESULT, APP, APP, "id-1")),
    ("cancel", "PUT", f"/{APP}/requests/id-1/cancel".encode(), b"", Target(Action.CANCEL, APP, APP, "id-1")),
    ("full-id", "GET", f"/{SDXL}/requests/id-1/status".encode(), b"", Target(Action.STATUS, SDXL, APP, "id-1")),
    (
        "workflow-status",
        "GET",
        b"/workflows/me/flow/requests/id-1/status",
        b"",
        Target(Action.STATUS, "workflows/me/flow", "workflows/me/flow", "id-1"),
    ),
    ("odd-job-id", "GET", f"/{APP}/requests/%2e%2e/status".encode(), b"", Target(Action.STATUS, APP, APP, "%2e%2e")),
    ("empty-job-id", "GET", f"/{APP}/requests//status".encode(), b"", Target(Action.STATUS, APP, APP, "")),
]


@pytest.mark.parametrize(
    ("method", "path", "query", "target"), [row[1:] for row in ACCEPTED], ids=[r[0] for r in ACCEPTED]
)
def test_both_modes_read_the_same_target(method: str, path: bytes, query: bytes, target: Target) -> None:
    """Header mode and path mode give the same target for the same path and query."""
    url = b"https://queue.fal.run" + path + (b"?" + query if query else b"")

    assert target == resolve(method, b"/proxy", b"", url)
    assert target == resolve(method, b"/queue" + path, query, None)


@pytest.mark.parametrize(("method", "url", "status"), [row[1:] for row in URL_ROWS], ids=[row[0] for row in URL_ROWS])
def test_hostile_urls_are_refused(method: str, url: bytes, status: int) -> None:
    """No spelling of another host, and no path outside the grammar, becomes a target."""
    with pytest.raises(Refusal) as refused:
        resolve(method, b"/proxy", b"", url)

    assert status == refused.value.status


@pytest.mark.parametrize(
    ("method", "path", "query", "status"), [row[1:] for row in PATH_ROWS], ids=[row[0] for row in PATH_ROWS]
)
def test_hostile_paths_get_the_same_verdict_in_path_mode(method: str, path: bytes, query: bytes, status: int) -> None:
    """Path mode refuses with the status header mode gives."""
    with pytest.raises(Refusal) as refused:
        resolve(method, b"/queue" + path, query, None)

    assert status == refused.value.status


@pytest.mark.parametrize(
    ("method", "path", "action", "endpoint"),
    [
        ("POST", b"/fal-ai/x", Action.RUN, "fal-ai/x"),
        ("POST", b"/fal-ai/x/y/stream", Action.RUN_STREAM, "fal-ai/x/y"),
        # fal itself cannot tell an app named `stream` from the stream of an owner: an app needs an alias first.
        ("POST", b"/fal-ai/stream", Action.RUN, "fal-ai/stream"),
    ],
)
def test_the_run_host_has_runs_and_streams(method: str, path: bytes, action: Action, endpoint: str) -> None:
    """fal.run takes a run, and a stream behind one more segment."""
    target = resolve_url(method, b"https://fal.run" + path)

    assert (action, endpoint) == (target.action, target.endpoint)


INITIATE, MULTIPART = "/storage/upload/initiate", "/storage/upload/initiate-multipart"
REST_ROWS: list[tuple[bytes, bytes, Action, str, str]] = [
    (b"/storage/upload/initiate", b"", Action.UPLOAD, INITIATE, ""),
    (
        b"/storage/upload/initiate",
        b"storage_type=fal-cdn-v3",
        Action.UPLOAD,
        INITIATE,
        "storage_type=fal-cdn-v3",
    ),
    (b"/storage/upload/initiate", b"storage_type=gcs", Action.UPLOAD, INITIATE, "storage_type=gcs"),
    (
        b"/storage/upload/initiate-multipart",
        b"storage_type=fal-cdn-v3",
        Action.UPLOAD,
        MULTIPART,
        "storage_type=fal-cdn-v3",
    ),
    (b"/tokens", b"", Action.TOKEN, "/tokens/", ""),
    (b"/tokens/", b"", Action.TOKEN, "/tokens/", ""),
    (b"/tokens/realtime", b"", Action.TOKEN, "/tokens/realtime", ""),
]


@pytest.mark.parametrize("host", [b"rest.fal.ai", b"rest.alpha.fal.ai"])
@pytest.mark.parametrize(("path", "query", "action", "fixed", "rebuilt"), REST_ROWS)
def test_the_rest_host_has_uploads_and_tokens(
    host: bytes, path: bytes, query: bytes, action: Action, fixed: str, rebuilt: str
) -> None:
    """Both of its names in header mode and its paths in path mode give one target, made of constants."""
    name = {Action.UPLOAD: "uploads", Action.TOKEN: "realtime"}[action]
    target = Target(action, name, name, query=rebuilt, surface=Surface.STORAGE, path=fixed)

    assert target == resolve("POST", b"/proxy", b"", b"https://" + host + path + (b"?" + query if query else b""))
    assert target == resolve("POST", path, query, None)


@pytest.mark.parametrize(
    ("method", "path", "query", "status"),
    [
        ("GET", b"/storage/upload/initiate", b"", 405),
        ("PUT", b"/tokens/", b"", 405),
        ("POST", b"/storage/upload/initiate", b"storage_type=s3", 400),
        ("POST", b"/storage/upload/initiate", b"storage_type=gcs&storage_type=gcs", 400),
        ("POST", b"/storage/upload/initiate", b"storage_type=fal%2dcdn-v3", 400),
        ("POST", b"/storage/upload/initiate", b"x=1", 400),
        ("POST", b"/tokens/", b"storage_type=gcs", 400),
        ("POST", b"/tokens/realtime", b"duration=9", 400),
        ("POST", b"/storage/upload/initiate/", b"", 403),
        ("POST", b"/storage/upload/complete-multipart", b"", 403),
        ("POST", b"/storage/upload/../../tokens/", b"", 403),
        ("POST", b"/storage/upload/%69nitiate", b"", 403),
        ("POST", b"/storage//upload/initiate", b"", 403),
        ("POST", b"/Storage/upload/initiate", b"", 403),
        ("POST", b"/storage/auth/token", b"", 403),
        ("POST", b"/storage/", b"", 403),
        ("POST", b"/tokens/realtime/", b"", 403),
        ("POST", b"/tokens/other", b"", 403),
        ("POST", b"/users/current", b"", 403),
        ("POST", b"/", b"", 403),
    ],
)
def test_nothing_else_of_the_rest_host(method: str, path: bytes, query: bytes, status: int) -> None:
    """Each path is matched whole: no spelling of it, and nothing beside it."""
    with pytest.raises(Refusal) as refused:
        resolve(method, b"/proxy", b"", b"https://rest.fal.ai" + path + (b"?" + query if query else b""))

    assert refused.value.status == status
    with pytest.raises(Refusal):
        resolve(method, path, query, None)


def test_what_one_list_of_hosts_lets_pass_another_does_not() -> None:
    """Targets are remembered, each under the list it was resolved with."""
    url = b"https://queue.fal.run/a/b?fal_webhook=https%3A%2F%2Fapp.example.com%2F"
    listed = frozenset({"app.example.com"})

    for _ in range(2):
        assert resolve("POST", b"/proxy", b"", url, webhook_hosts=listed).query.startswith("fal_webhook=https%3A")
        for hosts in (frozenset[str](), frozenset({"other.example.com"})):
            with pytest.raises(BadRequest, match="fal_webhook"):
                resolve("POST", b"/proxy", b"", url, webhook_hosts=hosts)


def test_modes_cannot_be_mixed() -> None:
    """A target URL beside a path target is refused: two parts of a request must not name two jobs."""
    with pytest.raises(BadRequest):
        resolve("POST", b"/queue/fal-ai/x", b"", GOOD)


def test_header_mode_needs_the_header() -> None:
    """fal's proxy formula: no target header is a 400 that names the header."""
    with pytest.raises(BadRequest, match="x-fal-target-url"):
        resolve("POST", b"/proxy", b"", None)


def test_the_proxy_url_takes_no_query() -> None:
    """A token or a target in our own query string is never read, and is refused rather than ignored."""
    with pytest.raises(BadRequest):
        resolve("POST", b"/proxy", b"token=abc", GOOD)


@pytest.mark.parametrize(
    "route", [b"", b"/", b"/queue", b"/other/fal-ai/x", b"/proxy/x", b"/QUEUE/fal-ai/x", b"/tokensx", b"/storage"]
)
def test_other_routes_are_not_found(route: bytes) -> None:
    """Outside the two modes there is nothing."""
    with pytest.raises(NotFound):
        resolve("POST", route, b"", None)


@pytest.mark.parametrize(
    "text", ["", "a", "a/", "/a/b", "a//b", "a/b/requests", "a/%62", "workflows/a", "a/b\n", "é/b"]
)
def test_an_endpoint_id_in_the_configuration_follows_the_grammar(text: str) -> None:
    """An id that could never match a request is refused when it is listed."""
    with pytest.raises(ValueError, match="endpoint"):
        endpoint_id(text)


def test_a_good_endpoint_id_is_kept() -> None:
    """The id is the operator's string, unchanged."""
    assert endpoint_id(SDXL) == SDXL


@given(st.binary(max_size=200))
def test_any_bytes_resolve_or_are_refused(raw: bytes) -> None:
    """No input ends in anything but a plain-ASCII endpoint or a refusal of the contract."""
    for verdict in (_verdict("POST", raw, b""), _verdict("GET", b"https://queue.fal.run/" + raw, raw)):
        assert verdict in (400, 403, 405, 412) or re.fullmatch(r"[A-Za-z0-9._/-]+", str(verdict))


def _verdict(method: str, url: bytes, query: bytes) -> int | str:
    try:
        return resolve_path(method, Surface.QUEUE, url, query).endpoint if query else resolve_url(method, url).endpoint
    except Refusal as refusal:
        return refusal.status


@pytest.mark.parametrize("path", ["/ice", "/session", "/session/heartbeat?x=1", "/", "?x"])
def test_the_webrtc_host_is_known_and_off(path: str) -> None:
    """fal's WebRTC bridge is answered 403 with the reason, not 412 as a host that is not fal's."""
    with pytest.raises(Forbidden, match=r"wma\.fal\.run") as refused:
        resolve_url("POST", f"https://wma.fal.run{path}".encode())
    assert refused.value.error_type == "action_not_listed"


@pytest.mark.parametrize(
    "url",
    ["http://wma.fal.run/ice", "https://wma.fal.run.evil.com/", "https://wma.fal.run:443/", "https://a@wma.fal.run/"],
)
def test_other_spellings_of_it_are_not_fals(url: str) -> None:
    """Only the literal https origin is that host."""
    with pytest.raises(TargetNotFal):
        resolve_url("POST", url.encode())
