from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.payload.files.file_names import EXTENSIONS, extension_problem, file_name


@pytest.mark.parametrize(
    ("name", "content_type", "expected"),
    [
        ("cat.png", "image/png", "cat.png"),
        ("Cat.PNG", "image/png", "Cat.png"),
        ("cat.jpeg", "image/jpeg", "cat.jpeg"),
        ("cat.jpg", "image/jpeg", "cat.jpg"),
        ("cat", "image/jpeg", "cat.jpg"),
        ("cat.png", "image/jpeg", "cat_png.jpg"),
        ("page.html", "image/png", "page_html.png"),
        ("evil.html.png", "image/png", "evil_html.png"),
        ("evil.png.html", "image/png", "evil_png_html.png"),
        ("cat.png.", "image/png", "cat_png.png"),
        ("a.tar.gz", "application/zip", "a_tar_gz.zip"),
        ("1764064800000.svg+xml", "image/svg+xml", "1764064800000_svg_xml.svg"),
        ("Holiday photo (1).png", "image/png", "Holiday photo (1).png"),
        ("Foto.png", "image/png", "Foto.png"),
        ("Bu\u0308ro.png", "image/png", "B\u00fcro.png"),
        ("\u732b.png", "image/png", "\u732b.png"),
        ("a?b#c%2f&d.png", "image/png", "a_b_c_2f_d.png"),
        ("con:aux|nul*.png", "image/png", "con_aux_nul.png"),
        (".env", "image/png", "env.png"),
        (".png", "image/png", "file.png"),
        ("...a", "image/png", "a.png"),
        ("\U0001f63a.png", "image/png", "file.png"),
        ("a" * 250 + ".png", "image/png", "a" * 100 + ".png"),
    ],
)
def test_names_are_made_anew(name: str, content_type: str, expected: str) -> None:
    """One dot, an extension of the type, and nothing in the name that means something elsewhere."""
    assert extension_problem(name) is None
    assert file_name(name, content_type) == expected


NO_NAMES = {
    "slashes": "a/b.png",
    "up": "../x.png",
    "absolute": "/etc/passwd",
    "drive": "C:\\x.png",
    "backslash-up": "..\\x.png",
    "backslash-last": "a\\",
    "slash": "/",
    "dot": ".",
    "dots": "..",
    "more-dots": "...",
    "space": " ",
    "space-and-dot": " . ",
    "nul": "a\x00.png",
    "crlf": "a\r\n.png",
    "tab": "a\tb.png",
    "delete": "a\x7f.png",
    "next-line": "a\x85.png",
    "right-to-left": "a\u202egnp.exe",
    "isolate": "a\u2066.png",
    "zero-width": "a\u200b.png",
    "byte-order-mark": "\ufeffa.png",
    "line-separator": "a\u2028.png",
    "no-break-space": "a\u00a0.png",
    "surrogate": "a\ud800.png",
    "soft-hyphen": "a\u00ad.png",
    "private-use": "a\ue000.png",
}


@pytest.mark.parametrize("name", NO_NAMES.values(), ids=list(NO_NAMES))
def test_what_is_no_file_name_is_refused(name: str) -> None:
    """Paths, control characters, bidi marks and invisible characters are refused."""
    assert extension_problem(name) is not None


@given(st.text(min_size=1, max_size=255), st.sampled_from(sorted(EXTENSIONS)))
def test_any_name_that_passes_becomes_harmless(name: str, content_type: str) -> None:
    """Every name becomes a stem without dots and an extension of the type; a second pass changes nothing."""
    if extension_problem(name) is not None:
        return
    made = file_name(name, content_type)
    stem, _, extension = made.rpartition(".")

    assert re.fullmatch(r"[\w ()-]{1,100}", stem)
    assert stem == stem.strip()
    assert extension in EXTENSIONS[content_type]
    assert extension_problem(made) is None
    assert file_name(made, content_type) == made
