from __future__ import annotations

import json
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest
from support.gateway_process import program
from support.in_process_gateway import ISSUER, open_gateway, token

from proxy.app.page_files import CLOSED, FILES, IMMUTABLE, MODULES, PAGES, bundle, page_files
from proxy.app.playground import README, content_security_policy
from proxy.config.sections.playground import FAL_MEDIA, Playground

ROOT = Path(__file__).parents[3]
ON = {"enabled": True}


def file_names() -> set[str]:
    return {name for name, _, _ in FILES.values()}


def test_the_table_is_the_folder() -> None:
    """Every file of the playground is in the table, and nothing else is."""
    assert file_names() == {str(path.relative_to(PAGES)) for path in PAGES.rglob("*") if path.is_file()}


def test_what_the_files_name_is_served() -> None:
    """Each address in the page, the style and the modules is one of the table's."""
    mentioned = set()
    for name in sorted(file_names()):
        if not name.startswith("vendor/") and name.endswith((".html", ".css", ".js")):
            text = (PAGES / name).read_text(encoding="utf-8")
            mentioned |= set(re.findall(r'"(/playground/[\w./-]+\.\w+)"', text))
            folder = PurePosixPath("/playground", name).parent
            imported = re.findall(r'from "(\.{1,2}/[\w./-]+)"', text)
            mentioned |= {posixpath.normpath(folder / path) for path in imported}

    assert len(mentioned) > 15
    assert mentioned - {"/playground/config.json"} <= set(FILES)


@pytest.mark.parametrize("name", sorted(name for name in file_names() if name.endswith((".html", ".js", ".css"))))
def test_nothing_comes_from_elsewhere(name: str) -> None:
    """No third-party origin, and no script or style within the page, which its policy would not run."""
    text = (PAGES / name).read_text(encoding="utf-8")

    if not name.startswith("vendor/"):
        assert set(re.findall(r"https?://[\w.-]+", text)) <= {"http://www.w3.org"}
    if name.endswith(".html"):
        assert not re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", text)
    assert not re.findall(r"\binnerHTML\b|\beval\(|new Function\b|document\.write", text)


async def test_off_by_default(tmp_path: Path) -> None:
    """Without the table [playground] there is no page, no file and no configuration."""
    with open_gateway(tmp_path) as g:
        async with g.client() as alice:
            statuses = {path: (await alice.get(path)).status_code for path in (*FILES, "/playground/config.json")}

    assert set(statuses.values()) == {404}


async def test_every_file(tmp_path: Path) -> None:
    """A file has its bytes, its type, the page's policy and a 304; HEAD sends the same head."""
    with open_gateway(tmp_path, playground=ON) as g:
        async with g.client(None) as nobody:
            for path, file in page_files().items():
                whole, head = await nobody.get(path), await nobody.head(path)
                again = await nobody.get(path, headers={"if-none-match": whole.headers["etag"]})

                assert (whole.status_code, head.status_code, again.status_code) == (200, 200, 304), path
                assert whole.content == file.body
                assert (whole.headers["content-type"], whole.headers["cache-control"]) == (
                    file.media_type,
                    file.caching,
                )
                policy = content_security_policy(Playground()) if path == "/" else CLOSED
                assert whole.headers["content-security-policy"] == policy
                assert whole.headers["x-content-type-options"] == "nosniff"
                assert again.content == b""
                assert head.headers["content-length"] == whole.headers["content-length"]
                assert len(whole.headers.get_list("content-security-policy")) == 1


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("br;q=1.0, GZIP;q=0.5", "gzip"),
        ("identity", None),
        ("gzip;q=0", None),
        ("gzip; q=0.0", None),
        ("*;q=0", None),
        ("", None),
    ],
)
async def test_text_is_sent_compressed_where_the_client_takes_it(
    tmp_path: Path, accepted: str, encoding: str | None
) -> None:
    """The compressed form has a length and an entity tag of its own, and is the same text."""
    with open_gateway(tmp_path, playground=ON) as g:
        async with g.client(None) as nobody:
            answer = await nobody.get("/playground/style.css", headers={"accept-encoding": accepted})
            font = await nobody.get("/playground/vendor/geist-5.3.0.woff2", headers={"accept-encoding": accepted})

    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["vary"] == "Accept-Encoding, Origin"
    assert answer.headers["etag"].endswith('-gzip"') is (encoding is not None)
    assert answer.content == (PAGES / "style.css").read_bytes()
    assert "content-encoding" not in font.headers


async def test_the_page_names_files_by_their_digest(tmp_path: Path) -> None:
    """The script and the style of the page can be stored for good: their names change with their content."""
    with open_gateway(tmp_path, playground=ON) as g:
        async with g.client(None) as nobody:
            page = (await nobody.get("/")).text
            script, style, theme = (
                re.findall(rf'"(/playground/{name}-[0-9a-f]{{16}}\.\w+)"', page)[0]
                for name in ("main", "style", "theme")
            )
            answers = [await nobody.get(path) for path in (script, style, theme)]
            other = await nobody.get(script.replace(script[-8], "0" if script[-8] != "0" else "1"))

    assert [answer.headers["cache-control"] for answer in answers] == [IMMUTABLE] * 3
    assert other.status_code == 404


def test_the_first_load_is_small() -> None:
    """The page, its script, style, client and font take less than 120 kB on the wire, images included."""
    files = page_files()
    linked = {"/", *re.findall(r'(?:src|href)="(/playground/[^"]+)"', files["/"].body.decode())} & files.keys()
    first = linked - {"/playground/main.js", "/playground/vendor/LICENSES.txt"}

    assert sum(len(files[path].compressed or files[path].body) for path in first) < 120_000


def test_the_script_is_all_modules() -> None:
    """The one script has each module once, after those it imports, and no top-level name twice."""
    sources = {name: (PAGES / name).read_text(encoding="utf-8") for name in MODULES}
    script = bundle(sources, "main.js")
    checked = subprocess.run(
        [program("node"), "--input-type=module", "--check"], input=script, text=True, capture_output=True, check=False
    )
    declared = re.compile(r"^(?:export )?(?:async )?(?:const|let|function|class) (\w+)", re.MULTILINE)
    names = [name for text in sources.values() for name in declared.findall(text)]

    assert checked.returncode == 0, checked.stderr
    assert len(names) == len(set(names)) > 100
    assert set(names) <= set(re.findall(r"\w+", script))


@pytest.mark.parametrize(
    "text",
    [
        'import { a as b } from "./x.js"\n',
        'import x from "./x.js";\n',
        'export * from "./x.js";\n',
        "export default 1;\n",
    ],
)
def test_another_form_of_import_is_refused(text: str) -> None:
    """A module that the bundle would get wrong stops the start, and is named."""
    with pytest.raises(ValueError, match=re.escape("main.js: ")):
        bundle({"main.js": text, "x.js": ""}, "main.js")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/playground", 404),
        ("GET", "/playground/", 404),
        ("GET", "/playground/../config.py", 404),
        ("GET", "/playground/%2e%2e/config.py", 404),
        ("GET", "/playground/..%2fconfig.py", 404),
        ("GET", "/playground/vendor/..%5c..%5cconfig.py", 404),
        ("GET", "/playground/vendor", 404),
        ("GET", "/playground//main.js", 404),
        ("GET", "/playground/main.js/", 404),
        ("GET", "/playground/MAIN.JS", 404),
        ("GET", "/index.html", 404),
        ("POST", "/", 405),
        ("PUT", "/playground/main.js", 405),
    ],
)
async def test_only_the_table(tmp_path: Path, method: str, path: str, status: int) -> None:
    """No other path, spelling or method gets anything."""
    with open_gateway(tmp_path, playground=ON) as g:
        async with g.client(None) as nobody:
            answer = await nobody.request(method, path)

    assert answer.status_code == status
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


async def test_the_api_keeps_its_own_policy(tmp_path: Path) -> None:
    """The page's policy is the page's alone."""
    with open_gateway(tmp_path, playground=ON) as g:
        async with g.client() as alice:
            answers = [await alice.get(path) for path in ("/healthz", "/api/fal/usage", "/playground/config.json")]

    assert {a.headers["content-security-policy"] for a in answers} == {"default-src 'none'; frame-ancestors 'none'"}
    assert {a.headers["cache-control"] for a in answers} == {"no-store, private"}


async def test_what_the_page_is_told(tmp_path: Path) -> None:
    """The page's settings have the user of the session; a bad session has none and is no error."""
    playground = {"enabled": True, "picture_hosts": ["https://a.example"], "upload_hosts": ["https://b.example"]}
    with open_gateway(tmp_path, playground=playground) as g:
        async with g.client() as alice, g.client(None) as nobody:
            hers = (await alice.get("/playground/config.json")).json()
            anybody = (await nobody.get("/playground/config.json")).json()
            forged = {"authorization": f"Bearer {token()[:-4]}AAAA"}
            bad = await nobody.get("/playground/config.json", headers=forged)

    assert hers == {
        "version": hers["version"],
        "readme_url": README,
        "install": "pip install .",
        "origin": "https://gate.example.com",
        "prefix": "/api/fal",
        "max_body_bytes": 10 * 1024 * 1024,
        "picture_hosts": ["https://a.example"],
        "upload_hosts": ["https://b.example"],
        "sandbox": False,
        "docs_url": None,
        "source_url": None,
        "user": "alice",
        "session": {
            "issuer": ISSUER,
            "audience": hers["session"]["audience"],
            "subject": "alice",
            "scopes": [],
            "expires_at": hers["session"]["expires_at"],
        },
    }
    assert anybody == {**hers, "user": None, "session": None}
    assert (bad.status_code, bad.json()) == (200, anybody)


@pytest.mark.parametrize(
    ("playground", "explains"),
    [({"enabled": True, "explain": True}, True), ({"enabled": True}, False), ({"explain": True}, False)],
    ids=["on", "no explain", "no page"],
)
async def test_a_trace_for_the_caller(tmp_path: Path, playground: dict[str, object], explains: bool) -> None:
    """With `explain` each response has the steps of its own request, else none has."""
    with open_gateway(tmp_path, playground=playground) as g:
        async with g.client() as alice, g.client(None) as nobody:
            refused = await alice.post("/api/fal/queue/acme/not-listed", json={"prompt": "secret words"})
            stranger = await nobody.get("/api/fal/queue/acme/app/requests/x/status")
            page = await alice.get("/api/fal/usage")

    traces = [answer.headers.get("x-gateway-trace") for answer in (refused, stranger, page)]
    assert [trace is not None for trace in traces] == [explains, explains, False]
    if explains:
        first, second = (json.loads(trace or "") for trace in traces[:2])
        assert [(step["name"], step["ok"]) for step in first["steps"]] == [
            ("authenticate", True),
            ("resolve", True),
            ("authorize", False),
        ]
        assert [(step["name"], step["ok"], step.get("note")) for step in second["steps"]] == [
            ("authenticate", False, None)
        ]
        assert "secret" not in str(traces)


def test_the_policy_names_configured_hosts_only() -> None:
    """Closed, but for our own files and the hosts of the configuration; fal's media hosts by default."""
    policy = content_security_policy(
        Playground(picture_hosts=("https://p.example",), upload_hosts=("https://u.example:8443",))
    )
    directives = dict(part.split(" ", 1) for part in policy.split("; "))

    assert directives == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "font-src": "'self'",
        "img-src": "'self' data: blob: https://p.example",
        "media-src": "'self' data: blob: https://p.example",
        "connect-src": "'self' https://u.example:8443",
        "form-action": "'none'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert " ".join(FAL_MEDIA) in content_security_policy(Playground())


def test_the_bundled_client_is_what_the_lock_file_says(tmp_path: Path) -> None:
    """A build from the locked packages gives the same bytes."""
    vendor = ROOT / "vendor"
    assert (vendor / "node_modules/esbuild").exists(), "run `make test`, which installs the npm packages"
    subprocess.run([program("node"), "build.mjs", str(tmp_path)], cwd=vendor, check=True, timeout=60)

    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in (PAGES / "vendor").iterdir()}
    assert {"fal-client-1.10.1.js", "LICENSES.txt"} < set(made)


@pytest.mark.parametrize("folder", ["vendor", "tests/browser", "tests/clients"])
def test_lock_files_have_no_addresses(folder: str) -> None:
    """Lock files pin by version and hash, without addresses of a registry."""
    text = (ROOT / folder / "package-lock.json").read_text(encoding="utf-8")

    assert '"integrity"' in text
    assert '"resolved"' not in text
    assert "://" not in re.sub(r'"url": "[^"]*"', "", text)


def test_the_wheel_has_every_file(tmp_path: Path) -> None:
    """The built wheel has all files of the page."""
    source = tmp_path / "source"
    shutil.copytree(ROOT / "proxy", source / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=source, check=True, timeout=60, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        packed = set(archive.namelist())

    assert {f"proxy/playground/{name}" for name in file_names()} <= packed
