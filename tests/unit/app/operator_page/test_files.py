from __future__ import annotations

import re
import subprocess
from pathlib import Path

from support.gateway_process import program

from proxy.app.operator_page.files import CONTENT_SECURITY_POLICY, FOLDER, MODULES, operator_files


def test_the_modules_are_the_folder() -> None:
    """Every script of the page is in the table."""
    scripts = {f"operator_page/{path.name}" for path in (FOLDER / "operator_page").glob("*.js")}

    assert scripts == {name for name in MODULES if name.startswith("operator_page/")}


def test_the_page_names_what_is_served(tmp_path: Path) -> None:
    """Each address in the page and its styles is served, none is of another site; the script is a module."""
    files = operator_files()
    texts = [file.body.decode() for path, file in files.items() if path == "/" or path.endswith(".css")]
    addresses = {path for text in texts for path in re.findall(r'"(/[\w./-]+\.\w+)"', text)}
    (script,) = [file for path, file in files.items() if path.startswith("/operator/main-")]
    (tmp_path / "main.mjs").write_bytes(script.body)
    subprocess.run([program("node"), "--check", tmp_path / "main.mjs"], check=True, timeout=60)

    assert addresses <= set(files)
    assert len(addresses) > 6
    assert not re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", files["/"].body.decode())
    assert not re.findall(r"https?://(?!www\.w3\.org)", "".join(texts) + script.body.decode())
    assert not re.findall(r"\binnerHTML\b|\beval\(|new Function\b|document\.write", script.body.decode())


def test_the_policy_allows_nothing_else() -> None:
    """No source but the page's own, no inline script or style, no frame around it."""
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert {"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(
        CONTENT_SECURITY_POLICY.split("; ")
    )
    assert set(re.findall(r"src ([^;]+)", CONTENT_SECURITY_POLICY)) == {"'none'", "'self'"}
