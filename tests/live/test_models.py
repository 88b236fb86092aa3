"""Models of documents with fal's oddities, from `schema import` to the answer of the sandbox."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner
from jsonschema_rs import Draft202012Validator
from support.gateway_process import Rig, until
from support.sandbox import QUICK, png

from proxy.cli.main import main
from proxy.payload.schema_import.lookup import load_endpoint_schema
from proxy.sandbox.settings import SandboxSettings

PICTURE = "data:image/png;base64," + b64encode(png()).decode()
FILE = {"type": "object", "title": "File", "properties": {"url": {"type": "string"}}, "required": ["url"]}
SIZE = {
    "type": "object",
    "properties": {"width": {"type": "integer", "exclusiveMinimum": 0}, "height": {"type": "integer"}},
}


def document(endpoint: str, fields: dict[str, object], required: list[str], *, path: str | None = None) -> object:
    """Returns an OpenAPI document of a model that answers with an image and a seed."""
    start = path or f"/{endpoint}"
    output = {
        "type": "object",
        "required": ["images", "seed"],
        "properties": {
            "images": {"type": "array", "items": {"$ref": "#/components/schemas/acme~1File"}},
            "seed": {"type": "integer"},
        },
    }

    def content(schema: object) -> object:
        return {"content": {"application/json": {"schema": schema}}}

    return {
        "openapi": "3.0.4",
        "info": {"x-fal-metadata": {"endpointId": endpoint}},
        "components": {
            "schemas": {
                "acme/File": FILE,
                "Size": SIZE,
                "Input": {"type": "object", "properties": fields, "required": required},
                "Output": output,
            }
        },
        "paths": {
            f"{start}/requests/{{request_id}}": {
                "get": {"responses": {"200": content({"$ref": "#/components/schemas/Output"})}}
            },
            start: {"post": {"requestBody": content({"$ref": "#/components/schemas/Input"}), "responses": {}}},
        },
    }


MODELS: dict[str, tuple[dict[str, object], dict[str, object], str | None]] = {
    "acme/nullable": ({"prompt": {"type": "string", "nullable": True}}, {"prompt": None}, None),
    "acme/siblings": (
        {"size": {"$ref": "#/components/schemas/Size", "title": "Size", "default": {"width": 64, "height": 64}}},
        {"size": {"width": 32}},
        None,
    ),
    "acme/all-of": ({"size": {"allOf": [{"$ref": "#/components/schemas/Size"}]}}, {"size": {"height": 32}}, None),
    "acme/dangling/v1.5": (
        {"loras": {"items": {"$ref": "#/components/schemas/Gone"}}},
        {"loras": [{"path": "a/b"}]},
        None,
    ),
    "acme/defaults": ({"steps": {"type": "integer", "default": "4"}, "n": {"type": "string", "default": 1}}, {}, None),
    "acme/bounds": ({"strength": {"type": "number", "exclusiveMinimum": 0, "le": 1}}, {"strength": 0.5}, None),
    "acme/examples": ({"prompt": {"type": "string", "examples": None}}, {"prompt": "a cat"}, None),
    "acme/other-path": ({"prompt": {"type": "string"}}, {"prompt": "a cat"}, "/somewhere/else"),
    "workflows/acme/flow": ({"image_url": {"type": "string"}}, {"image_url": PICTURE}, None),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The schemas of MODELS, imported by the command."""
    documents = tmp_path / "documents"
    documents.mkdir()
    for number, (endpoint, (fields, _, path)) in enumerate(MODELS.items()):
        (documents / f"{number}.json").write_text(json.dumps(document(endpoint, fields, [], path=path)))
    files = [str(file) for file in sorted(documents.iterdir())]
    result = CliRunner().invoke(main, ["schema", "import", "--to", str(tmp_path / "schemas"), *files])
    assert result.exit_code == 0, result.output
    return tmp_path / "schemas"


def ended(client: httpx2.Client, url: str) -> httpx2.Response:
    """Returns the result of the job at *url*, once it has ended."""
    until(lambda: client.get(f"{url}/status").status_code == 200)
    return client.get(url)


def test_every_oddity_runs_from_its_document_to_its_answer(tmp_path: Path, folder: Path) -> None:
    """Each model is imported, listed, priced, submitted, followed and answered by its own output schema."""
    settings = SandboxSettings(queue_seconds=QUICK.queue_seconds, run_seconds=QUICK.run_seconds, schemas=folder)
    with Rig(tmp_path) as rig:
        upstream = rig.sandbox(settings)
        gateway = rig.gateway(
            upstream.queue,
            fal={"queue_origin": upstream.queue, "run_origin": upstream.run, "rest_origin": upstream.rest},
            schemas={"dir": str(folder)},
            endpoints=[{"id": endpoint, "price": 1} for endpoint in MODELS],
            budgets=[{"name": "day", "per": "user", "window": "day", "limit": 100}],
        )
        with gateway.client() as alice:
            for endpoint, (_, value, _) in MODELS.items():
                job = alice.post(f"/queue/{endpoint}", json=value)
                assert job.status_code == 200, f"{endpoint}: {job.text}"
                result = ended(alice, job.json()["response_url"])
                output = load_endpoint_schema(endpoint, folder=folder).output
                assert isinstance(output, dict)
                assert Draft202012Validator(output).is_valid(result.json()), f"{endpoint}: {result.text}"
            flow = alice.post("/queue/workflows/acme/flow", json={"image_url": PICTURE}).json()["request_id"]
            bare = ended(alice, f"/queue/acme/flow/requests/{flow}")
            unknown = alice.post("/queue/acme/bounds", json={"strenght": 1})

    assert bare.status_code == 200
    assert unknown.status_code == 422
    assert 'did you mean "strength"?' in unknown.json()["message"]


def test_unknown_fields_are_a_metric(tmp_path: Path, folder: Path) -> None:
    """The admin listener has the count by endpoint and field."""
    with Rig(tmp_path) as rig:
        upstream = rig.sandbox()
        gateway = rig.gateway(
            upstream.queue,
            schemas={"dir": str(folder)},
            endpoints=[{"id": "acme/bounds", "unknown_fields": "drop"}],
        )
        with gateway.client() as alice:
            assert alice.post("/queue/acme/bounds", json={"strenght": 1, "more": 2}).status_code == 200
        metrics = gateway.metrics()

    assert 'fal_proxy_unknown_fields_total{endpoint="acme/bounds",field="strenght"} 1.0' in metrics
    assert 'fal_proxy_unknown_fields_total{endpoint="acme/bounds",field="more"} 1.0' in metrics


def test_the_backup_origin_takes_submits_and_polls(tmp_path: Path) -> None:
    """A queue that cannot be connected to costs nothing but a failed connection; its backup answers."""
    with Rig(tmp_path) as rig:
        upstream = rig.sandbox()
        origins = {"queue_origin": "http://127.0.0.1:1", "backup_queue_origin": upstream.queue}
        gateway = rig.gateway(upstream.queue, fal=origins, endpoints=[{"id": "acme/any", "schema": "any"}])
        with gateway.client() as alice:
            job = alice.post("/queue/acme/any", json={})
            result = ended(alice, job.json()["response_url"])
        failovers = gateway.metric("fal_proxy_upstream_failovers_total")

    assert (job.status_code, result.status_code) == (200, 200)
    assert failovers >= 3


def test_options_of_a_job_reach_fal(tmp_path: Path) -> None:
    """Options of the operator are in the request to fal, beside the caller's stricter wish."""
    with Rig(tmp_path) as rig:
        upstream = rig.sandbox()
        gateway = rig.gateway(
            upstream.queue,
            endpoints=[{"id": "acme/any", "schema": "any", "store_io": False, "tags": {"team": "web"}}],
        )
        with gateway.client() as alice:
            submit = alice.post("/queue/acme/any", json={}, headers={"x-app-fal-disable-fallback": "true"})
            refused = alice.post("/queue/acme/any", json={}, headers={"x-fal-tags": "nonsense"})
        control = gateway.client(None)
        journal = control.get(f"{upstream.control}/journal").json()
        control.close()

    headers = {name.lower(): value for name, value in dict(journal[-1]["headers"]).items()}
    assert submit.status_code == 200
    assert (refused.status_code, refused.json()["error_type"]) == (400, "bad_header")
    assert (headers["x-fal-store-io"], headers["x-fal-tags"], headers["x-app-fal-disable-fallback"]) == (
        "0",
        "team=web",
        "1",
    )
