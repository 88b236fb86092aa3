"""fal's own Python client, unmodified, in path mode.

`live/test_clients.py` runs this in a process of its own: the client reads its hosts when it is imported.

FAL_QUEUE_RUN_HOST, FAL_RUN_HOST and SSL_CERT_FILE lead to the gateway. ALICE, BOB: session tokens. GATEWAY: the
gateway's public URL.
"""

from __future__ import annotations

import os
import sys

import fal_client
import pytest

GATEWAY, ALICE, BOB = os.environ["GATEWAY"], os.environ["ALICE"], os.environ["BOB"]
ENDPOINT = "fal-ai/hyper-sdxl/image-to-image"
INPUT = {
    "image_url": os.environ["PICTURE"],
    "prompt": "a light house",
    "image_size": {"width": 96, "height": 64},
    "seed": 7,
}
looked_up: set[str] = set()


def _take_down(event: str, args: tuple[str | bytes, ...]) -> None:
    if event == "socket.getaddrinfo":
        name = args[0] if isinstance(args[0], str) else args[0].decode()
        looked_up.add(name)
        if name != "localhost":
            raise RuntimeError(f"the client wants to leave for {name}")


# An audit hook sees every name looked up in this process, whatever the client does to get there, and can forbid it.
sys.addaudithook(_take_down)


def ours(url: str, request_id: str) -> bool:
    return url.startswith(f"{GATEWAY}/queue/fal-ai/hyper-sdxl/requests/{request_id}")


@pytest.fixture
def alice() -> fal_client.SyncClient:
    return fal_client.SyncClient(key=ALICE)


def test_a_job_from_submit_to_result(alice: fal_client.SyncClient) -> None:
    """Submit, events with logs, status and result; every URL of the job is the gateway's."""
    handle = alice.submit(ENDPOINT, arguments=INPUT)
    events = list(handle.iter_events(with_logs=True, interval=0.02))
    output = handle.get()

    assert all(ours(url, handle.request_id) for url in (handle.status_url, handle.response_url, handle.cancel_url))
    assert isinstance(events[-1], fal_client.Completed)
    assert len(events[-1].logs or []) > 0
    assert isinstance(handle.status(), fal_client.Completed)
    assert (output["images"][0]["width"], output["images"][0]["height"], output["seed"]) == (96, 64, 7)


def test_subscribe(alice: fal_client.SyncClient) -> None:
    """The one call that does it all, with its updates."""
    seen: list[fal_client.Status] = []
    output = alice.subscribe(ENDPOINT, arguments=INPUT, with_logs=True, on_queue_update=seen.append)

    assert output["prompt"] == INPUT["prompt"]
    assert isinstance(seen[-1], fal_client.Completed)


def test_a_job_by_its_id(alice: fal_client.SyncClient) -> None:
    """Status and result need no more than the id, from which the client builds URLs of its own."""
    request_id = alice.submit(ENDPOINT, arguments=INPUT).request_id
    alice.get_handle(ENDPOINT, request_id).get()

    assert isinstance(alice.status(ENDPOINT, request_id), fal_client.Completed)
    assert alice.result(ENDPOINT, request_id)["seed"] == 7


async def test_the_asynchronous_client() -> None:
    """The same, awaited."""
    handle = await fal_client.AsyncClient(key=ALICE).submit(ENDPOINT, arguments=INPUT)
    events = [event async for event in handle.iter_events(with_logs=True, interval=0.02)]
    output = await handle.get()

    assert ours(handle.status_url, handle.request_id)
    assert isinstance(events[-1], fal_client.Completed)
    assert output["images"][0]["width"] == 96


async def test_cancel(alice: fal_client.SyncClient) -> None:
    """A cancelled job's result is fal's 499, through both clients."""
    handle = await fal_client.AsyncClient(key=ALICE).submit(ENDPOINT, arguments=INPUT)
    await handle.cancel()
    with pytest.raises(fal_client.FalClientHTTPError) as cancelled:
        await handle.get()
    assert (cancelled.value.status_code, cancelled.value.error_type) == (499, "client_cancelled")

    other = alice.submit(ENDPOINT, arguments=INPUT)
    alice.cancel(ENDPOINT, other.request_id)
    with pytest.raises(fal_client.FalClientHTTPError) as cancelled:
        other.get()
    assert cancelled.value.status_code == 499


def test_run(alice: fal_client.SyncClient) -> None:
    """The model's answer in one call."""
    output = alice.run(ENDPOINT, arguments=INPUT)

    assert (output["images"][0]["width"], output["seed"], output["prompt"]) == (96, 7, INPUT["prompt"])


def test_stream(alice: fal_client.SyncClient) -> None:
    """A stream has the model's messages, and its output at the end."""
    *messages, output = alice.stream(ENDPOINT, arguments=INPUT)

    assert len([event["message"] for event in messages]) > 1
    assert (output["images"][0]["width"], output["seed"]) == (96, 7)


async def test_run_and_stream_awaited() -> None:
    """The same through the asynchronous client."""
    alice = fal_client.AsyncClient(key=ALICE)
    output = await alice.run(ENDPOINT, arguments=INPUT)
    events = [event async for event in alice.stream(ENDPOINT, arguments=INPUT)]
    seen: list[fal_client.Status] = []
    subscribed = await alice.subscribe(ENDPOINT, arguments=INPUT, with_logs=True, on_queue_update=seen.append)

    assert output["seed"] == events[-1]["seed"] == subscribed["seed"] == 7
    assert isinstance(seen[-1], fal_client.Completed)


def test_a_bad_run(alice: fal_client.SyncClient) -> None:
    """A 422 whose detail names the wrong field."""
    with pytest.raises(fal_client.FalClientHTTPError) as refused:
        alice.run(ENDPOINT, arguments={**INPUT, "format": "gif"})

    assert (refused.value.status_code, refused.value.error_type) == (422, "validation_error")
    assert [error["loc"] for error in refused.value.response.json()["detail"]] == [["body", "format"]]


def test_a_bad_payload(alice: fal_client.SyncClient) -> None:
    """A 422 whose detail names every wrong field."""
    with pytest.raises(fal_client.FalClientHTTPError) as refused:
        alice.submit(ENDPOINT, arguments={**INPUT, "format": "gif", "num_images": 0})

    assert (refused.value.status_code, refused.value.error_type) == (422, "validation_error")
    locations = [error["loc"] for error in refused.value.response.json()["detail"]]
    assert sorted(locations) == [["body", "format"], ["body", "num_images"]]


def test_no_session() -> None:
    """A 401, with nothing about the reason."""
    with pytest.raises(fal_client.FalClientHTTPError) as refused:
        fal_client.SyncClient(key="not.a.token").submit(ENDPOINT, arguments=INPUT)

    assert (refused.value.status_code, refused.value.message) == (
        401,
        "Sign in again: this call has no valid session token",
    )


def test_another_users_job(alice: fal_client.SyncClient) -> None:
    """A 404 on each of its three actions."""
    request_id = alice.submit(ENDPOINT, arguments=INPUT).request_id
    bob = fal_client.SyncClient(key=BOB)
    for call in (bob.status, bob.result, bob.cancel):
        with pytest.raises(fal_client.FalClientHTTPError) as refused:
            call(ENDPOINT, request_id)
        assert (refused.value.status_code, refused.value.error_type) == (404, "job_not_found")


def test_nothing_left_for_another_host(alice: fal_client.SyncClient) -> None:
    """In all of this process, the only name ever looked up is the gateway's."""
    alice.submit(ENDPOINT, arguments=INPUT).get()

    assert looked_up == {"localhost"}
