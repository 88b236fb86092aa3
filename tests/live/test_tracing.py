"""Tests of traces: a gateway with [tracing], the sandbox, and a collector that decodes OTLP."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import httpx2
import pytest
from support.budgets import AMPLE, money
from support.budgets import until as eventually_true
from support.collector import CollectedSpan, Collector, collector
from support.gateway_process import Gateway, Rig, javascript, until
from support.in_process_gateway import APP, ENDPOINT, ENVIRON, FAL_KEY, INPUT, SESSION_SECRET, token
from support.streams import ALL_ACTIONS

from proxy.auth.caller import caller_key
from proxy.demo.demo import SandboxAddresses

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONTEXT = {
    "traceparent": f"00-{TRACE}-{PARENT}-01",
    "tracestate": "vendor=canary-state-77",
    "baggage": "user=canary-baggage-78",
    "sentry-trace": f"{TRACE}-{PARENT}-1",
}
FAST = {"OTEL_BSP_SCHEDULE_DELAY": "20"}  # milliseconds between two exports

Served = tuple[Gateway, SandboxAddresses, Collector]
SMALL_QUEUE = {"SCHEDULE_DELAY": "1", "MAX_QUEUE_SIZE": "16", "MAX_EXPORT_BATCH_SIZE": "8"}


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """The gateway of a test puts OTEL_* variables into the environment of its process, which is this one."""
    before = {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}
    yield
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        del os.environ[name]
    os.environ.update(before)


def traced(
    rig: Rig,
    sandbox: SandboxAddresses,
    url: str,
    *,
    environ: Mapping[str, str] = FAST,
    tracing: Mapping[str, object] = MappingProxyType({}),
) -> Gateway:
    origins = {"queue_origin": sandbox.queue, "run_origin": sandbox.run, "rest_origin": sandbox.rest}
    return rig.gateway(
        sandbox.queue,
        environ={**ENVIRON, **environ},
        fal=origins,
        endpoints=[ALL_ACTIONS],
        tracing={"enabled": True, "endpoint": url, **tracing},
    )


def requests_of_fal(sandbox: SandboxAddresses) -> str:
    return httpx2.get(f"{sandbox.control}/journal", trust_env=False).text


@contextmanager
def served(rig: Rig, tracing: Mapping[str, object] = MappingProxyType({})) -> Iterator[Served]:
    with collector() as collected:
        sandbox = rig.sandbox()
        yield traced(rig, sandbox, collected.url, tracing=tracing), sandbox, collected


def server_span(collected: Collector, name: str) -> CollectedSpan:
    until(lambda: collected.with_name(name))
    return collected.with_name(name)[0]


def test_a_submit_and_a_poll_have_a_span_each_and_one_for_their_call(rig: Rig) -> None:
    """A request's span has its operation, endpoint, outcome and id, and the call to fal is its child."""
    with served(rig) as (gateway, sandbox, collected), gateway.client() as alice:
        job = alice.post(f"queue/{ENDPOINT}", json=INPUT).json()["request_id"]
        alice.get(f"queue/{APP}/requests/{job}/status")
        submit, status = server_span(collected, "submit"), server_span(collected, "status")
        until(lambda: collected.children(submit) and collected.children(status))

        (call,), (poll,) = collected.children(submit), collected.children(status)
        line = gateway.request_line(str(submit.attributes["fal_proxy.request_id"]))

    assert (submit.kind, submit.parent, submit.failed) == ("SERVER", "", False)
    assert (
        submit.attributes.items()
        >= {
            "http.request.method": "POST",
            "http.route": "/api/fal/queue/{path}",
            "url.path": "/api/fal/queue/REDACTED",
            "url.scheme": "http",
            "server.address": "127.0.0.1",
            "http.response.status_code": 200,
            "fal_proxy.endpoint": ENDPOINT,
            "fal_proxy.outcome": "accepted",
            "fal_proxy.job": line["job"],
        }.items()
    )
    assert (call.kind, call.name) == ("CLIENT", f"POST /{ENDPOINT}")
    assert (
        call.attributes.items()
        >= {
            "url.full": f"{sandbox.queue}/{ENDPOINT}",
            "http.request.method": "POST",
            "http.response.status_code": 200,
        }.items()
    )
    assert poll.name == f"GET /{APP}/requests/{{request_id}}/status"
    assert 0 < call.seconds <= submit.seconds
    assert submit.resource.items() >= {"service.name": "fal-auth-proxy"}.items()
    assert submit.trace != status.trace


def test_a_callers_context_is_the_parent_and_never_reaches_fal(rig: Rig) -> None:
    """A caller's trace goes on in the gateway's spans; fal gets no traceparent, tracestate or baggage."""
    with served(rig) as (gateway, sandbox, collected), gateway.client() as alice:
        alice.headers.update(CONTEXT)
        job = alice.post(f"queue/{ENDPOINT}", json=INPUT).json()["request_id"]
        alice.get(f"queue/{APP}/requests/{job}/status")
        alice.get(f"queue/{APP}/requests/{job}/status/stream").read()
        alice.post(f"run/{ENDPOINT}", json=INPUT)
        alice.post("storage/upload/initiate", params={"storage_type": "fal-cdn-v3"}, json={"file_name": "a.png"})
        names = ("submit", "status", "status-stream", "run")
        spans = [server_span(collected, name) for name in names]
        until(lambda: all(collected.children(span) for span in spans))
        calls = [call for span in spans for call in collected.children(span)]
        sent = requests_of_fal(sandbox)

    assert {(span.trace, span.parent, span.state) for span in spans} == {(TRACE, PARENT, "vendor=canary-state-77")}
    assert {call.trace for call in calls} == {TRACE}
    assert ENDPOINT in sent
    ids = [TRACE, PARENT, *(span.id for span in (*spans, *calls))]
    assert [word for word in (*CONTEXT, "canary-state", "canary-baggage", *ids) if word in sent] == []


def test_spans_hold_no_secret_no_payload_and_no_user(rig: Rig) -> None:
    """No export holds a key, a token, a payload, a query, a user, a job handle or an unlisted endpoint."""
    with served(rig) as (gateway, _, collected), gateway.client("alice-canary-subject") as alice:
        job = alice.post(f"queue/{ENDPOINT}", json={**INPUT, "prompt": "canary-prompt"}).json()["request_id"]
        alice.get(f"queue/{APP}/requests/{job}/status?logs=1&x=canary-query")
        alice.post("queue/fal-ai/canary-unlisted", json=INPUT)
        alice.get("queue/canary/requests/canary-handle/status", headers={"user-agent": "canary-agent"})
        with gateway.client(None) as nobody:
            nobody.post("queue/canary-anonymous", headers={"authorization": "Bearer canary-token"})
        until(lambda: len([span for span in collected.spans if span.kind == "SERVER"]) == 5)
        exported = b"".join(collected.raw).decode("latin-1")

    user = caller_key("https://app.example.com", "alice-canary-subject")
    hidden = [FAL_KEY, FAL_KEY.partition(":")[2], SESSION_SECRET, token()[:20], "canary", user, user[:16], job]
    assert ENDPOINT in exported
    assert [text for text in hidden if text in exported] == []


def test_a_digest_of_the_caller_is_there_where_it_is_wanted(rig: Rig) -> None:
    """With `callers` a span has the digits of the caller's key that the journal has."""
    with served(rig, {"callers": True}) as (gateway, _, collected), gateway.client() as alice:
        alice.get(f"queue/{APP}/requests/{gateway.job()}/status")
        status = server_span(collected, "status")
        line = gateway.request_line(str(status.attributes["fal_proxy.request_id"]))

    assert status.attributes["enduser.pseudo.id"] == line["caller"]


def test_refusals_and_failures_are_told_apart(rig: Rig) -> None:
    """A 403 has its error type and is no error of the server; a 5xx is one, and so is a call that failed."""
    with served(rig) as (gateway, sandbox, collected), gateway.client() as alice:
        alice.post("queue/fal-ai/other", json=INPUT)
        faults = [{"kind": "status", "action": "submit", "status": 500}]
        httpx2.put(f"{sandbox.control}/faults", json=faults, trust_env=False)
        answer = alice.post(f"queue/{ENDPOINT}", json=INPUT)
        until(lambda: len(collected.with_name("submit")) == 2)
        refused, failed = collected.with_name("submit")
        until(lambda: collected.children(failed))
        (call,) = collected.children(failed)

    assert (refused.failed, refused.attributes["http.response.status_code"]) == (False, 403)
    assert "fal_proxy.endpoint" not in refused.attributes
    assert refused.attributes["fal_proxy.error_type"] == "endpoint_not_listed"
    assert failed.failed
    assert failed.attributes["error.type"] == answer.json()["error_type"]
    assert call.failed
    assert call.attributes["error.type"] == "500"


@pytest.mark.parametrize(
    ("tracing", "parents"),
    [
        ({"caller_context": "ignore"}, {""}),
        ({"caller_context": "sampled", "sample_ratio": 0.0}, {PARENT}),
        ({"caller_context": "parent", "sample_ratio": 0.0}, set()),
    ],
)
def test_the_operator_decides_what_a_callers_context_may_do(
    rig: Rig, tracing: Mapping[str, object], parents: set[str]
) -> None:
    """A caller's flag decides alone with "sampled", its ids are used unless "ignore" is set."""
    with served(rig, tracing) as (gateway, _, collected), gateway.client() as alice:
        alice.get(f"queue/{APP}/requests/{gateway.job()}/status", headers=CONTEXT)
        rig.run(gateway.service.stop())  # sends what is left
        assert {span.parent for span in collected.spans if span.kind == "SERVER"} == parents


def test_a_stop_sends_what_is_left(rig: Rig) -> None:
    """Spans that wait for the next export arrive before the gateway has stopped."""
    with collector() as collected:
        gateway = traced(rig, rig.sandbox(), collected.url, environ={"OTEL_BSP_SCHEDULE_DELAY": "3600000"})
        with gateway.client() as alice:
            alice.get(f"queue/{APP}/requests/{gateway.job()}/status")
        before = len(collected.spans)
        rig.run(gateway.service.stop())

    assert before == 0
    assert [span.kind for span in collected.spans] == ["CLIENT", "SERVER"]


def test_probes_have_no_spans(rig: Rig) -> None:
    """Probes of `/healthz` and `/readyz` get no span, other pages do."""
    with served(rig) as (gateway, _, collected), gateway.client() as alice:
        for path in ("/healthz", "/readyz", "/api/fal/usage"):
            httpx2.get(f"http://127.0.0.1:{gateway.address[1]}{path}", headers=alice.headers, trust_env=False)
        rig.run(gateway.service.stop())

    assert [span.attributes.get("http.route") for span in collected.spans] == ["/api/fal/usage"]


@pytest.mark.parametrize("kind", ["refuses", "hangs"])
def test_a_dead_collector_holds_up_no_request_and_no_stop(rig: Rig, kind: str) -> None:
    """Behind a collector that refuses or hangs, 100 requests are answered and the stop ends in time."""
    over = threading.Event()
    with collector(over.wait) as collected:
        url = collected.url if kind == "hangs" else "http://127.0.0.1:9"
        environ = {
            "OTEL_BSP_SCHEDULE_DELAY": "1",
            "OTEL_BSP_MAX_QUEUE_SIZE": "16",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8",
        }
        gateway = traced(rig, rig.sandbox(), url, environ=environ)
        with gateway.client() as alice:
            started = time.monotonic()
            answers = [alice.get(f"queue/{APP}/requests/{gateway.job()}/status") for _ in range(100)]
            seconds = time.monotonic() - started
        started = time.monotonic()
        rig.run(gateway.service.stop())
        stop = time.monotonic() - started
        over.set()

    assert {answer.status_code for answer in answers} == {404}
    assert seconds < 10
    assert stop < 5


def test_the_stock_client_is_traced_by_headers_of_the_environment(rig: Rig) -> None:
    """The JavaScript client's tests pass with traces on, whose collector and service OTEL_* name."""
    with collector() as collected:
        sandbox = rig.sandbox()
        environ = {
            **FAST,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collected.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-collector-key=canary-collector",
            "OTEL_SERVICE_NAME": "pictures",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        }
        gateway = rig.gateway(sandbox.queue, environ={**ENVIRON, **environ}, tracing={"enabled": True})
        javascript("queue.test.mjs", GATEWAY=gateway.url, CONTROL=sandbox.control)
        until(lambda: collected.with_name("submit") and collected.with_name("result"))

    assert {span.resource["service.name"] for span in collected.spans} == {"pictures"}
    assert {headers["x-collector-key"] for headers in collected.headers} == {"canary-collector"}
    assert collected.with_name("submit")[0].attributes["http.route"] == "/api/fal/proxy"
    assert "canary-collector" not in gateway.journal() + requests_of_fal(sandbox)


async def test_each_of_two_workers_sends_its_spans(tmp_path: Path) -> None:
    """With two workers all requests have a span, by two instances, and a stop loses none."""
    with collector() as collected:
        tracing = {"enabled": True, "endpoint": collected.url}
        async with money(tmp_path, "redis", budgets=AMPLE, tables={"tracing": tracing}) as rig:
            async with rig.caller(fresh=True) as caller:
                sent = [await caller.submit("fal-ai/money/0") for _ in range(40)]
            await eventually_true(lambda: len(rig.gateway.workers()) == 2)
            code = await rig.gateway.stop(signal.SIGTERM)

    submits = collected.with_name("submit")
    assert {one.status for one in sent} == {200}
    assert code == 0
    assert len(submits) == 40
    assert len({span.resource["service.instance.id"] for span in submits}) == 2
