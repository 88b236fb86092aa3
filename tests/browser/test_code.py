"""The code the page shows is copied from it and run: it does what the form would have done."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from support.browser import visit
from support.demo import Told
from support.gateway_process import CLIENTS, program

from proxy.app.page_files import PAGES


def shown(browser: Browser, demo: Told, language: str) -> str:
    with visit(browser, demo.url) as alice:
        page = alice.page
        alice.sign_in_with(demo.tokens["alice"])
        alice.fill(prompt='it\'s a "quoted" sea')
        page.get_by_label("Seed", exact=True).fill("7")
        alice.choose("image_size", "Square 512")
        page.get_by_text("Advanced").click()
        page.get_by_role("switch", name="Expand Prompt").check()
        alice.tab("Code")
        alice.tab(language)
        page.get_by_role("button", name="Copy", exact=True).click()
        expect(page.locator("#copy")).to_have_text("Copied")
        copied = page.evaluate("navigator.clipboard.readText()")
        alice.check()
    assert isinstance(copied, str)
    assert demo.tokens["alice"] not in copied
    return copied


def run(command: list[str], code: str, home: Path, demo: Told) -> str:
    shutil.copy(PAGES / "samples/coast.jpg", home)
    environ = {**os.environ, "SESSION_TOKEN": demo.tokens["alice"], "NODE_PATH": str(CLIENTS / "node_modules")}
    done = subprocess.run(
        command, input=code, cwd=home, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_javascript(browser: Browser, demo: Told, tmp_path: Path) -> None:
    """With @fal-ai/client in Node."""
    (tmp_path / "node_modules").symlink_to(CLIENTS / "node_modules")
    output = run([program("node"), "--input-type=module"], shown(browser, demo, "JavaScript"), tmp_path, demo)

    assert "COMPLETED" in output
    assert "seed: 7" in output
    assert 'it\'s a "quoted" sea' in output.replace("\\'", "'")


def test_python(browser: Browser, demo: Told, tmp_path: Path) -> None:
    """With fal_client."""
    output = run([sys.executable, "-W", "ignore", "-"], shown(browser, demo, "Python"), tmp_path, demo)

    assert "'seed': 7" in output
    assert "'width': 512" in output


def test_curl(browser: Browser, demo: Told, tmp_path: Path) -> None:
    """With curl in a plain shell: the job is accepted, and its addresses lead back here."""
    output = run([program("sh"), "-e"], shown(browser, demo, "curl"), tmp_path, demo)

    assert json.loads(output)["status_url"].startswith(f"{demo.url}/api/fal/queue/")


@pytest.mark.parametrize("language", ["JavaScript", "Python", "curl"])
def test_it_keeps_step(browser: Browser, demo: Told, language: str) -> None:
    """A change of the form is a change of the code."""
    with visit(browser, demo.url) as alice:
        page = alice.page
        alice.sign_in_with(demo.tokens["alice"])
        alice.tab("Code")
        alice.tab(language)
        page.get_by_label("Prompt", exact=True).fill("a first one")
        expect(page.locator("#code")).to_contain_text("a first one")
        page.get_by_label("Prompt", exact=True).fill("another")
        expect(page.locator("#code")).not_to_contain_text("a first one")
        page.get_by_label("Strength", exact=True).fill("0.5")
        expect(page.locator("#code")).to_contain_text(re.compile(r'"?strength"?: 0\.5'))
