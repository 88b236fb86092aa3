"""Tests of the process `fal-proxy sandbox`: its options, and answers by a folder of documents."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import jsonschema_rs
import pytest
from PIL import Image
from support.demo import interrupt
from support.gateway_process import PATIENCE, until
from support.sandbox import data_uri, png

from proxy.sandbox.json_types import Json, JsonObject, as_list, as_object

COMMAND = [str(Path(sys.executable).with_name("fal-proxy")), "sandbox"]
KEY = {"authorization": "Key a:b"}
FILE: JsonObject = {
    "title": "File",
    "type": "object",
    "required": ["url"],
    "properties": {"url": {"type": "string"}, "content_type": {"type": "string"}, "file_size": {"type": "integer"}},
}


def output(**fields: Json) -> JsonObject:
    return {"type": "object", "required": [*fields], "properties": fields}


def openapi(schema: JsonObject, answer: JsonObject) -> JsonObject:
    """Returns a document in fal's form; its paths are not the endpoint's id."""

    def content(name: str) -> JsonObject:
        return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}

    status: JsonObject = {"type": "object", "properties": {"status": {}, "request_id": {}}}
    return {
        "openapi": "3.0.4",
        "components": {"schemas": {"TheInput": schema, "TheOutput": answer, "QueueStatus": status}},
        "paths": {
            "/x": {"post": {"requestBody": content("TheInput"), "responses": {"200": content("QueueStatus")}}},
            "/x/requests/{request_id}/status": {"get": {"responses": {"200": content("QueueStatus")}}},
            "/x/requests/{request_id}": {"get": {"responses": {"200": content("TheOutput")}}},
        },
    }


PROMPT: JsonObject = {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}}
OUTPUTS: dict[str, JsonObject] = {
    "acme/paint": output(images={"type": "array", "items": FILE}, seed={"type": "integer"}),
    "acme/voice/v1.5": output(audio=FILE, duration_ms={"type": "integer"}),
    "acme/film": output(video=FILE),
    "acme/solid": output(model_mesh=FILE, model_urls=output(obj=FILE)),
    "acme/words": output(text={"type": "string"}, usage=output(total_tokens={"type": "integer", "minimum": 1})),
}
DOCUMENTS: dict[str, JsonObject] = {
    "acme__paint.json": openapi(PROMPT, OUTPUTS["acme/paint"]),
    "acme__voice__v1.5.json": {"metadata": {}, "openapi": openapi(PROMPT, OUTPUTS["acme/voice/v1.5"])},
    "acme__film.json": {**PROMPT, "$defs": {"Output": OUTPUTS["acme/film"]}},
    "acme__solid.json": openapi(PROMPT, OUTPUTS["acme/solid"]),
    "acme__words.json": openapi(PROMPT, OUTPUTS["acme/words"]),
}


@contextmanager
def sandbox(*arguments: str) -> Iterator[dict[str, str]]:
    """The origins of a running sandbox by name."""
    with subprocess.Popen(
        [*COMMAND, "--port", "0", *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True, env=os.environ
    ) as process:
        assert process.stdout is not None
        origins: dict[str, str] = {}
        while "control" not in origins:
            line = process.stdout.readline()
            assert line, "the sandbox ended by itself"
            name, _, address = line.strip().partition(" ")
            origins[name] = address.strip()
        try:
            yield origins
        finally:
            interrupt(process)


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("schemas")
    for name, document in DOCUMENTS.items():
        (folder / name).write_text(json.dumps(document))
    options = ["--schemas", str(folder), "--queue-seconds", "0", "--run-seconds", "0.05", "--concurrency", "20"]
    with sandbox(*options) as running:
        yield running


def call(origins: dict[str, str], endpoint: str, **payload: object) -> httpx2.Response:
    """Returns the result of one job."""
    with httpx2.Client(headers=KEY, trust_env=False, timeout=PATIENCE) as http:
        job = http.post(f"{origins['queue']}/{endpoint}", json=payload)
        assert job.status_code == 200, job.text
        until(lambda: http.get(job.json()["status_url"]).status_code == 200)
        return http.get(job.json()["response_url"])


def download(description: Json) -> bytes:
    answer = httpx2.get(str(as_object(description)["url"]), trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == as_object(description)["content_type"]
    assert len(answer.content) == as_object(description)["file_size"]
    return answer.content


@pytest.mark.parametrize("endpoint", OUTPUTS)
def test_an_endpoint_of_the_folder_answers_by_its_schema(origins: dict[str, str], endpoint: str) -> None:
    """All three forms of documents are read, and each answer is valid."""
    answer = call(origins, endpoint, prompt="a cat")

    assert (answer.status_code, answer.headers["x-sandbox"]) == (200, "1")
    assert list(jsonschema_rs.Draft202012Validator(OUTPUTS[endpoint]).iter_errors(answer.json())) == []


def test_files_are_real(origins: dict[str, str]) -> None:
    """Images have the size asked for, audio its length, video and 3D the magic bytes of their formats."""
    images = as_list(call(origins, "acme/paint", prompt="a cat", num_images=2, image_size="square").json()["images"])
    voice = call(origins, "acme/voice/v1.5", prompt="x", duration=2).json()
    film = call(origins, "acme/film", prompt="x", duration="2s").json()
    solid = call(origins, "acme/solid", prompt="x").json()

    assert [Image.open(io.BytesIO(download(image))).size for image in images] == [(512, 512)] * 2
    with wave.open(io.BytesIO(download(voice["audio"]))) as file:
        assert file.getnframes() / file.getframerate() == 2
    assert voice["duration_ms"] == 2000
    assert download(film["video"]).startswith(b"\x1aE\xdf\xa3")
    assert download(solid["model_mesh"]).startswith(b"glTF")
    assert b"\nv " in download(solid["model_urls"]["obj"])


def test_an_input_is_checked_and_its_files_are_read(origins: dict[str, str]) -> None:
    """A missing field is fal's 422, a public URL is left unread, an image is transformed in its size."""
    missing = call(origins, "acme/paint")
    public = call(origins, "acme/paint", prompt="x", image_url="https://example.com/cat.png")
    own = call(origins, "acme/paint", prompt="x", image_url=data_uri(png()))

    assert (missing.status_code, missing.json()["detail"][0]["loc"]) == (422, ["body", "prompt"])
    assert public.status_code == 200
    assert Image.open(io.BytesIO(download(own.json()["images"][0]))).size == (64, 48)


def test_other_endpoints_are_shipped_or_echo(origins: dict[str, str]) -> None:
    """A folder adds to the shipped schemas, and an id without a schema is accepted and echoed."""
    shipped = call(origins, "fal-ai/flux/dev", prompt="x", image_size={"width": 32, "height": 16})
    unknown = call(origins, "acme/unknown", a=1)

    assert (shipped.json()["images"][0]["width"], shipped.json()["prompt"]) == (32, "x")
    assert unknown.json() == {"endpoint": "acme/unknown", "input": {"a": 1}}


def test_concurrency_bounds_the_running_jobs() -> None:
    """With one slot and a long run the second direct call is refused."""
    with sandbox("--concurrency", "1", "--run-seconds", "600") as origins, httpx2.Client(trust_env=False) as http:
        job = http.post(f"{origins['queue']}/acme/echo", json={}, headers=KEY).json()
        until(lambda: "IN_PROGRESS" in http.get(job["status_url"], headers=KEY).text)

        assert http.post(f"{origins['run']}/acme/echo", json={}, headers=KEY).status_code == 429


def test_unusable_schemas_end_the_command(tmp_path: Path) -> None:
    """The message names the file; a missing folder is a wrong option."""
    (tmp_path / "acme__broken.json").write_text("{")

    def ended(folder: Path) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, "--port", "0", "--schemas", str(folder)]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)

    broken, gone = ended(tmp_path), ended(tmp_path / "gone")

    assert (broken.returncode, gone.returncode) == (1, 2)
    assert "acme__broken.json: is not JSON" in broken.stderr
    assert "does not exist" in gone.stderr
