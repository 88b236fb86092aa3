"""Files of the operator page: its own, and the style and the fonts of the playground."""

from __future__ import annotations

from pathlib import Path

from proxy.app.page_files import FILES, FRESH, HTML, IMMUTABLE, PAGES, SCRIPT, STYLE, PageFile, bundle, page_file

FOLDER = Path(__file__).parents[2]
ENTRY = "operator_page/main.js"
MODULES = (
    "playground/dom.js",
    *(
        f"operator_page/{name}.js"
        for name in (
            "charts",
            "configuration",
            "data_source",
            "format",
            "health",
            "main",
            "requests",
            "tables",
            "views",
        )
    ),
)
_SHARED = (
    "/playground/style.css",
    "/playground/icon.svg",
    "/playground/theme.js",
    "/playground/vendor/geist-5.3.0.woff2",
    "/playground/vendor/geist-mono-5.3.0.woff2",
)
_SCRIPT_PATH, _STYLE_PATH = "/operator/main.js", "/operator/style.css"
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)


def operator_files() -> dict[str, PageFile]:
    """Returns all files by path. Raises OSError where a file is missing."""
    sources = {name: (FOLDER / name).read_text(encoding="utf-8") for name in MODULES}
    files = {path: _shared(path) for path in _SHARED}
    page = (FOLDER / "operator_page/index.html").read_text(encoding="utf-8")
    script = page_file(bundle(sources, ENTRY).encode(), SCRIPT, IMMUTABLE)
    style = page_file((FOLDER / "operator_page/style.css").read_bytes(), STYLE, IMMUTABLE)
    for path, file in ((_SCRIPT_PATH, script), (_STYLE_PATH, style)):
        stem, _, ending = path.rpartition(".")
        hashed = f"{stem}-{file.digest[:16]}.{ending}"
        files[hashed] = file
        page = page.replace(f'"{path}"', f'"{hashed}"')
    return {"/": page_file(page.encode(), HTML, FRESH), **files}


def _shared(path: str) -> PageFile:
    name, media_type, caching = FILES[path]
    return page_file((PAGES / name).read_bytes(), media_type, caching)
