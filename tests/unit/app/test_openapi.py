from __future__ import annotations

from pathlib import Path

from support.in_process_gateway import APP, ENDPOINT, gate

from proxy.fal_api.operations import Action

ALL = {
    f"/queue/{ENDPOINT}": "post",
    f"/run/{ENDPOINT}": "post",
    f"/run/{ENDPOINT}/stream": "post",
    f"/queue/{APP}/requests/{{request_id}}": "get",
    f"/queue/{APP}/requests/{{request_id}}/status": "get",
    f"/queue/{APP}/requests/{{request_id}}/status/stream": "get",
    f"/queue/{APP}/requests/{{request_id}}/cancel": "put",
}


OURS = tuple(action for action in Action if action not in (Action.UPLOAD, Action.TOKEN))


async def described(tmp_path: Path, *actions: Action) -> dict[str, dict[str, dict[str, object]]]:
    with gate(tmp_path, endpoints=[{"id": ENDPOINT, "actions": list(actions)}]) as g:
        async with g.client() as alice:
            paths = (await alice.get("/api/fal/openapi.json")).json()["paths"]
    assert isinstance(paths, dict)
    return paths


async def test_every_action_is_described(tmp_path: Path) -> None:
    """Each listed one with its path and method, and a name of its own."""
    paths = await described(tmp_path, *OURS)

    assert {path: next(iter(operations)) for path, operations in paths.items()} == ALL
    assert len({operation["operationId"] for by in paths.values() for operation in by.values()}) == len(ALL)


async def test_what_is_not_listed_is_not_described(tmp_path: Path) -> None:
    """No more than what is offered."""
    assert list(await described(tmp_path, Action.RUN)) == [f"/run/{ENDPOINT}"]


async def test_a_run_takes_what_a_submit_takes(tmp_path: Path) -> None:
    """The effective schema is that of both; a run answers what a result is, a stream events."""
    paths = await described(tmp_path, *OURS)
    submit, run, stream = (paths[path]["post"] for path in list(ALL)[:3])

    assert submit["requestBody"] == run["requestBody"] == stream["requestBody"]
    assert "text/event-stream" in str(stream["responses"])
    assert "application/json" in str(run["responses"]["200"])  # type: ignore[index]
    assert "text/event-stream" in str(paths[list(ALL)[5]]["get"]["responses"])
