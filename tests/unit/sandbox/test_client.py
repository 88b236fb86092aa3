"""The stock Python client against the sandbox, over real sockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import fal_client
import fal_client.client
import pytest
from support.sandbox import MODEL, data_uri, picture_input, png, running

from proxy.sandbox.settings import SandboxSettings

SLOW = SandboxSettings(queue_seconds=0.1, run_seconds=0.3)


@contextlib.asynccontextmanager
async def stock_client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[fal_client.AsyncClient]:
    """Client whose hosts, constants of its module, are the sandbox's; it has no close of its own."""
    async with running(SLOW) as rig:
        monkeypatch.setattr(fal_client.client, "QUEUE_URL_FORMAT", f"{rig.queue}/")
        monkeypatch.setattr(fal_client.client, "RUN_URL_FORMAT", f"{rig.run}/")
        client = fal_client.AsyncClient(key="alice:secret")
        yield client
        await (await client._client).aclose()


async def test_submit_events_and_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """The events are queued, in progress with logs, and completed; `get` returns the output."""
    async with stock_client(monkeypatch) as client:
        handle = await client.submit(MODEL, arguments=picture_input(num_inference_steps=4))
        seen = [event async for event in handle.iter_events(with_logs=True, interval=0.02)]
        output = await handle.get()

    kinds = [type(event) for event in seen]
    assert sorted(set(kinds), key=kinds.index) == [fal_client.Queued, fal_client.InProgress, fal_client.Completed]
    assert isinstance(seen[-1], fal_client.Completed)
    assert seen[-1].metrics["inference_time"] >= 0.3
    assert len(seen[-1].logs or []) == 6
    assert output["images"][0]["width"] == 32


async def test_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled job's `get` raises with status 499."""
    async with stock_client(monkeypatch) as client:
        handle = await client.submit("acme/echo", arguments={})
        await handle.cancel()
        with pytest.raises(fal_client.FalClientHTTPError) as cancelled:
            await handle.get()

    assert (cancelled.value.status_code, cancelled.value.error_type) == (499, "client_cancelled")


async def test_run_and_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """The synchronous call returns the output, and the stream ends with it."""
    async with stock_client(monkeypatch) as client:
        output = await client.run(MODEL, arguments=picture_input(image_url=data_uri(png()), seed=4))
        events = [event async for event in client.stream(MODEL, arguments=picture_input(seed=4))]

    assert (output["seed"], events[-1]["seed"], events[0]) == (4, 4, {"message": "Reading the input picture"})


async def test_an_invalid_input_is_an_error_of_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """The submit succeeds and the result raises 422."""
    async with stock_client(monkeypatch) as client:
        handle = await client.submit(MODEL, arguments={"prompt": "x"})
        with pytest.raises(fal_client.FalClientHTTPError) as refused:
            await handle.get()

    assert refused.value.status_code == 422
