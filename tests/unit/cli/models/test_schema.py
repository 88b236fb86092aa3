from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main

ID = "acme/paint/fast"
FILE = "acme__paint__fast.json"


def document(fields: dict[str, object], endpoint: str = ID) -> dict[str, object]:
    schema = {"type": "object", "properties": fields}
    body = {"content": {"application/json": {"schema": schema}}}
    return {
        "openapi": "3.0.4",
        "info": {"x-fal-metadata": {"endpointId": endpoint}},
        "paths": {f"/{endpoint}": {"post": {"requestBody": body, "responses": {}}}},
    }


PROMPT: dict[str, object] = {"prompt": {"type": "string"}}


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["schema", *map(str, args)], catch_exceptions=False)


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_import_writes_a_file_for_each_endpoint(tmp_path: Path) -> None:
    """The file is `<id>.json` with `__` for slashes, in the folder of --to."""
    source = write(tmp_path / "doc.json", document(PROMPT))
    result = run("import", "--to", tmp_path / "out", source)

    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == f"{ID}: 1 fields -> {tmp_path}/out/{FILE}"
    assert list(json.loads((tmp_path / "out" / FILE).read_text())["properties"]) == ["prompt"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [FILE]


def test_import_goes_to_the_folder_of_the_configuration(tmp_path: Path) -> None:
    """Without --to the folder of [schemas] dir is used, relative to the configuration."""
    config = tmp_path / "fal-proxy.toml"
    config.write_text('[server]\npublic_origin = "https://a.example.com"\n[schemas]\ndir = "models"\n')
    source = write(tmp_path / "doc.json", document(PROMPT))

    assert run("import", "--config", config, source).exit_code == 0
    assert (tmp_path / "models" / FILE).is_file()


def test_import_without_a_folder_is_explained(tmp_path: Path) -> None:
    """The message has both ways to give the folder."""
    source = write(tmp_path / "doc.json", document(PROMPT))
    result = run("import", "--config", tmp_path / "none.toml", source)

    assert result.exit_code == 2
    assert "give a folder with --to DIR, or set dir in [schemas]" in result.stderr


def test_the_last_of_two_documents_wins(tmp_path: Path) -> None:
    """Two files for one endpoint: a warning, the last one is written, and the exit code is 0."""
    first = write(tmp_path / "a.json", document({"old": {}}))
    second = write(tmp_path / "b.json", document({"new": {}}))
    result = run("import", "--to", tmp_path / "out", first, second)

    assert result.exit_code == 0
    assert "warning: " in result.stderr
    assert "replaces the first" in result.stderr
    assert list(json.loads((tmp_path / "out" / FILE).read_text())["properties"]) == ["new"]


def test_a_json_schema_is_named_by_its_file(tmp_path: Path) -> None:
    """A plain JSON Schema has the id of its file's name, or that of --endpoint."""
    schema = {"type": "object", "properties": PROMPT}
    by_name = run("import", "--to", tmp_path / "out", write(tmp_path / "acme__x__y.json", schema))
    by_option = run("import", "--to", tmp_path / "out", "--endpoint", ID, write(tmp_path / "schema.json", schema))
    neither = run("import", "--to", tmp_path / "out", write(tmp_path / "schema.json", schema))

    assert (by_name.exit_code, by_option.exit_code, neither.exit_code) == (0, 0, 1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [FILE, "acme__x__y.json"]
    assert "give it with --endpoint" in neither.stderr


def test_a_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    """Good files are written, the bad one is reported, and the exit code is 1."""
    bad = tmp_path / "bad.json"
    bad.write_text("<html>")
    result = run("import", "--to", tmp_path / "out", bad, write(tmp_path / "doc.json", document(PROMPT)))

    assert result.exit_code == 1
    assert f"{bad}: is not JSON" in result.stderr
    assert (tmp_path / "out" / FILE).is_file()


def test_an_untyped_document_among_others_is_a_problem_without_an_exit_code(tmp_path: Path) -> None:
    """A page of many models is imported although one of them has no fields."""
    page = {"models": [{"openapi": document(PROMPT)}, {"openapi": document({}, "acme/any")}]}
    result = run("import", "--to", tmp_path / "out", write(tmp_path / "page.json", page))

    assert result.exit_code == 0
    assert 'list the endpoint with schema = "any" instead' in result.stderr


def test_list_has_the_folder_before_the_shipped(tmp_path: Path) -> None:
    """Each endpoint is listed once, with its number of fields and where it comes from."""
    run("import", "--to", tmp_path, write(tmp_path / "doc.txt", document(PROMPT)))
    rows = {row["endpoint"]: row for row in json.loads(run("list", "--to", tmp_path, "--json").stdout)}

    assert (rows[ID]["source"], rows[ID]["fields"]) == ("folder", 1)
    assert rows["fal-ai/hyper-sdxl/image-to-image"]["source"] == "shipped"
    assert f"{ID} " in run("list", "--to", tmp_path).stdout


def test_list_reports_a_damaged_file(tmp_path: Path) -> None:
    """A file that cannot be loaded is listed with its problem, and the exit code is 1."""
    write(tmp_path / FILE, {"type": "array"})
    result = run("list", "--to", tmp_path)

    assert result.exit_code == 1
    assert 'must have "type": "object"' in result.stdout


OLD: dict[str, object] = {
    "prompt": {"type": "string", "maxLength": 100},
    "num_images": {"type": "integer", "maximum": 4, "default": 1},
    "resolution": {"enum": ["720p"], "default": "720p"},
    "gone": {"type": "string"},
}
NEW: dict[str, object] = {
    "prompt": {"type": "string", "maxLength": 200},
    "num_images": {"type": "integer", "maximum": 8, "default": 1},
    "resolution": {"enum": ["720p", "1080p"], "default": "1080p"},
    "style": {"type": "string"},
}


def test_diff_shows_price_relevant_fields_first(tmp_path: Path) -> None:
    """Each change is a line; what a price may depend on comes first; the exit code is 1."""
    run("import", "--to", tmp_path / "out", write(tmp_path / "old.json", document(OLD)))
    result = run("diff", "--to", tmp_path / "out", write(tmp_path / "new.json", document(NEW)))

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{ID}: input.num_images: maximum 4 -> 8 (price)",
        f"{ID}: input.resolution: choices added: 1080p (price)",
        f"{ID}: input.resolution: default 720p -> 1080p (price)",
        f"{ID}: input.gone: removed",
        f"{ID}: input.prompt: maxLength 100 -> 200",
        f"{ID}: input.style: added (string)",
    ]


def test_diff_without_a_change_exits_with_zero(tmp_path: Path) -> None:
    """A document that says the same in another order is no change."""
    run("import", "--to", tmp_path / "out", write(tmp_path / "old.json", document(OLD)))
    result = run("diff", "--to", tmp_path / "out", write(tmp_path / "new.json", document(dict(reversed(OLD.items())))))

    assert (result.exit_code, result.stdout) == (0, "no difference\n")


class Catalogue(BaseHTTPRequestHandler):
    """Stand-in for fal's public documents."""

    requests: ClassVar[list[tuple[str, dict[str, str]]]] = []

    def do_GET(self) -> None:
        """Answers with a document, or `null` for an unknown id, as fal does."""
        self.requests.append((self.path, dict(self.headers)))
        (endpoint,) = parse_qs(urlsplit(self.path).query)["endpoint_id"]
        known = endpoint == ID
        body = json.dumps(document(PROMPT) if known else None).encode()
        self.send_response(200 if known else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Writes nothing."""


@pytest.fixture
def catalogue() -> Iterator[str]:
    """The address of a local catalogue."""
    server = HTTPServer(("127.0.0.1", 0), Catalogue)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_pull_fetches_and_imports(catalogue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document of the endpoint is fetched without a key, and written as by import."""
    monkeypatch.setenv("FAL_KEY", "id:secret-of-fal")
    Catalogue.requests.clear()
    result = run("pull", "--to", tmp_path, "--base-url", catalogue, ID)

    assert result.exit_code == 0
    assert (tmp_path / FILE).is_file()
    ((path, headers),) = Catalogue.requests
    assert path == "/api/openapi/queue/openapi.json?endpoint_id=acme%2Fpaint%2Ffast"
    assert "secret-of-fal" not in str(headers)


def test_pull_reports_an_unknown_endpoint(catalogue: str, tmp_path: Path) -> None:
    """fal answers `null` for an id it does not know."""
    result = run("pull", "--to", tmp_path, "--base-url", catalogue, "acme/none")

    assert result.exit_code == 1
    assert "acme/none: fal has no document for this endpoint" in result.stderr


def test_diff_fetches_the_endpoints_of_the_folder(catalogue: str, tmp_path: Path) -> None:
    """Without a source each file of the folder is compared with what fal publishes now."""
    run("import", "--to", tmp_path / "out", write(tmp_path / "old.json", document(OLD)))
    result = run("diff", "--to", tmp_path / "out", "--base-url", catalogue)

    assert result.exit_code == 1
    assert f"{ID}: input.num_images: removed (price)" in result.stdout


@pytest.mark.parametrize("url", ["http://fal.ai", "ftp://127.0.0.1", "fal.ai"])
def test_documents_are_fetched_by_https(url: str, tmp_path: Path) -> None:
    """Plain http is for a loopback host alone."""
    assert run("pull", "--to", tmp_path, "--base-url", url, ID).exit_code == 2
