"""Files of the playground: a fixed table, the modules as one script, and their compressed form."""

from __future__ import annotations

import gzip
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from proxy.http.fields import accepts_gzip, first

PAGES = Path(__file__).parents[1] / "playground"
BASE = "/playground/"

HTML, STYLE, SCRIPT = "text/html; charset=utf-8", "text/css; charset=utf-8", "text/javascript; charset=utf-8"
_FONT, _JPEG, _WEBP, _SVG = "font/woff2", "image/jpeg", "image/webp", "image/svg+xml"
TEXT = "text/plain; charset=utf-8"

# Revalidated each time and answered by 304: a page and its scripts must be of one release.
FRESH = "no-cache"
# The address has a version or a digest in it, or a name that is not used again.
IMMUTABLE = "public, max-age=31536000, immutable"

CLOSED = "default-src 'none'; frame-ancestors 'none'"

ENTRY = "main.js"
_FOLDERS: Mapping[str, tuple[str, ...]] = {
    "": ("address", "dom", "hosts", "main", "tabs", "workshop"),
    "code/": ("code_panel", "code_samples"),
    "form/": (
        "choice_field",
        "drop_target",
        "field_factory",
        "field_wrapper",
        "file_field",
        "file_kinds",
        "file_values",
        "form",
        "labels",
        "list_field",
        "number_field",
        "schema",
    ),
    "gateway/": (
        "call_record",
        "call_steps",
        "inspector",
        "menu",
        "price_preview",
        "quota_panel",
        "refusal_menu",
        "refusal_requests",
    ),
    "job/": (
        "cheaper_advice",
        "error_messages",
        "fal_job",
        "job_controller",
        "job_times",
        "progress_line",
        "stored_jobs",
    ),
    "result/": (
        "before_after",
        "job_history",
        "json_view",
        "log_view",
        "result_items",
        "result_tiles",
        "result_view",
        "trouble_box",
    ),
    "session/": ("session", "session_changes", "sign_in", "who"),
}
MODULES = tuple(f"{folder}{name}.js" for folder, names in _FOLDERS.items() for name in names)

# All paths that are served: file, media type, caching. No folder is searched, so that no path can lead out of one.
FILES: Mapping[str, tuple[str, str, str]] = {
    "/": ("index.html", HTML, FRESH),
    "/playground/style.css": ("style.css", STYLE, FRESH),
    "/playground/icon.svg": ("icon.svg", _SVG, FRESH),
    "/playground/theme.js": ("theme.js", SCRIPT, FRESH),
    **{f"{BASE}{name}": (name, SCRIPT, FRESH) for name in MODULES},
    **{f"{BASE}samples/{name}.jpg": (f"samples/{name}.jpg", _JPEG, IMMUTABLE) for name in ("coast", "dunes", "ridge")},
    **{
        f"{BASE}samples/{name}-small.webp": (f"samples/{name}-small.webp", _WEBP, IMMUTABLE)
        for name in ("coast", "dunes", "ridge")
    },
    "/playground/vendor/fal-client-1.10.1.js": ("vendor/fal-client-1.10.1.js", SCRIPT, IMMUTABLE),
    "/playground/vendor/geist-5.3.0.woff2": ("vendor/geist-5.3.0.woff2", _FONT, IMMUTABLE),
    "/playground/vendor/geist-mono-5.3.0.woff2": ("vendor/geist-mono-5.3.0.woff2", _FONT, IMMUTABLE),
    "/playground/vendor/LICENSES.txt": ("vendor/LICENSES.txt", TEXT, FRESH),
}

_IMPORT = re.compile(r'^import \{([^}]*)\} from "([^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const |let |function |async function |class )", re.MULTILINE)
# Comments that take whole lines, and the indentation of the others: no string of the modules spans lines.
_COMMENTS = re.compile(r"^[ ]*(?://.*|/\*\*(?:(?!\*/)[\s\S])*\*/[ ]*)\n|^[ ]+", re.MULTILINE)
_REST = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file as it is served: *compressed* is its gzip form, None where that is no shorter."""

    body: bytes
    compressed: bytes | None
    media_type: str
    caching: str

    @property
    def digest(self) -> str:
        """Digest of the body, as it stands in the entity tag and in the names of immutable files."""
        return sha256(self.body).hexdigest()[:32]


def page_files() -> dict[str, PageFile]:
    """Returns all files by path. Raises OSError where a file is missing.

    The page names one script of all modules, and the style, under names with their digests; the modules themselves are
    served too, to be read.
    """
    files = {path: _read(name, media_type, caching) for path, (name, media_type, caching) in FILES.items()}
    sources = {name: (PAGES / name).read_text(encoding="utf-8") for name in MODULES}
    script = page_file(bundle(sources, ENTRY).encode(), SCRIPT, IMMUTABLE)
    page = files["/"].body.decode()
    for path, served in ((f"{BASE}main.js", script), *((path, files[path]) for path in _HASHED)):
        hashed = re.sub(r"(\.\w+)$", rf"-{served.digest[:16]}\1", path)
        files[hashed] = page_file(served.body, served.media_type, IMMUTABLE)
        page = page.replace(f'"{path}"', f'"{hashed}"', 1)
    files["/"] = page_file(page.encode(), HTML, FRESH)
    return files


_HASHED = (f"{BASE}style.css", f"{BASE}theme.js")


def _read(name: str, media_type: str, caching: str) -> PageFile:
    return page_file((PAGES / name).read_bytes(), media_type, caching)


def page_file(body: bytes, media_type: str, caching: str) -> PageFile:
    """Returns a file with its compressed form, where the media type is a text."""
    if not media_type.startswith("text/") and media_type != _SVG:
        return PageFile(body, None, media_type, caching)
    compressed = gzip.compress(body, 9, mtime=0)
    return PageFile(body, compressed if len(compressed) < len(body) else None, media_type, caching)


def answer_file(file: PageFile, policy: str) -> Callable[[Request], Awaitable[Response]]:
    """Returns the endpoint of a file. *policy* is the Content-Security-Policy of a page alone."""
    fields = {
        "cache-control": file.caching,
        # A browser applies the policy of the page to its scripts, styles and images, whatever these say themselves.
        "content-security-policy": policy if file.media_type == HTML else CLOSED,
        "cross-origin-opener-policy": "same-origin",
        # The origin decides the CORS fields; the rest is the same for all callers.
        "vary": "Origin" if file.compressed is None else "Accept-Encoding, Origin",
    }

    async def answer(request: Request) -> Response:
        headers = request.scope["headers"]
        compressed = file.compressed if accepts_gzip(headers) else None
        # RFC 9110 section 8.8.3: each encoding has an entity tag of its own.
        tag = f'"{file.digest}"' if compressed is None else f'"{file.digest}-gzip"'
        known = first(headers, b"if-none-match")
        if known is not None and tag.encode("ascii") in known:
            return Response(status_code=304, headers={**fields, "etag": tag})
        encoding = {} if compressed is None else {"content-encoding": "gzip"}
        body = file.body if compressed is None else compressed
        return Response(body, media_type=file.media_type, headers={**fields, **encoding, "etag": tag})

    return answer


def bundle(sources: Mapping[str, str], entry: str) -> str:
    """Returns the modules that *entry* needs as one script, each after those it imports.

    Top-level names are unique over all modules, so that imports between them can be left out. An import of a file that
    is not in *sources* stays, with its whole path. Raises ValueError for a form of import or export other than
    `import {a, b} from "…";` and `export` before a declaration.
    """
    outside: dict[str, set[str]] = {}
    parts: list[str] = []
    for name in _in_order(sources, entry):
        text = sources[name]
        for names, path in _IMPORT.findall(text):
            if (target := _resolve(name, path)) not in sources:
                outside.setdefault(target, set()).update(part.strip() for part in names.split(",") if part.strip())
            if " as " in names:
                raise ValueError(f"{name}: {names} from {path}")
        text = _EXPORT.sub("", _IMPORT.sub("", text))
        if (rest := _REST.search(text)) is not None:
            raise ValueError(f"{name}: {rest[0]}")
        parts.append(_COMMENTS.sub("", text))
    imports = [f'import {{ {", ".join(sorted(names))} }} from "{BASE}{path}";\n' for path, names in outside.items()]
    return "".join(imports + parts)


def _in_order(sources: Mapping[str, str], entry: str) -> Iterator[str]:
    seen: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name in seen or name not in sources:
            return
        seen.add(name)
        for _, path in _IMPORT.findall(sources[name]):
            yield from visit(_resolve(name, path))
        yield name

    yield from visit(entry)


def _resolve(importer: str, path: str) -> str:
    """Returns the file that a relative *path* in *importer* leads to, relative to the folder of the page."""
    parts = importer.split("/")[:-1]
    for part in path.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
