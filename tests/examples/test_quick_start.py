"""The quick start in Chromium: its files and commands, in an empty folder."""

from __future__ import annotations

import re
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import Browser, expect
from support.browser import ARTIFACTS
from support.example_apps import EXAMPLES, FAL_PROXY, PLAIN, app_process, node_program
from support.example_page import IMAGE, WAIT
from support.front_proxies import free_port

PAGE = (EXAMPLES.parent / "docs/quick-start.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```\w+ title=\"([^\"]+)\"\n(.*?)```", PAGE, re.DOTALL))
SANDBOX_PORTS = 4  # queue, run, rest, control


def free_ports() -> int:
    """Returns the first of four free ports in a row."""
    while True:
        first = free_port()
        with ExitStack() as stack:
            try:
                for offset in range(SANDBOX_PORTS):
                    stack.enter_context(socket.create_server(("127.0.0.1", first + offset)))
            except (OSError, OverflowError):
                continue
        return first


def test_a_first_picture_in_a_page_of_ones_own(browser: Browser, tmp_path: Path) -> None:
    """At most 15 lines of own code show a picture; nothing is changed in the page's files but ports."""
    sandbox, gateway, vite = free_ports(), free_port(), free_port()
    assert set(FILES) == {"index.html", "vite.config.js"}
    assert sum(len(code.splitlines()) for code in FILES.values()) <= 15

    for name, code in FILES.items():
        (tmp_path / name).write_text(code.replace("127.0.0.1:8080", f"127.0.0.1:{gateway}"), encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(EXAMPLES / "vite-react/node_modules")
    fal_proxy(tmp_path, "init", "--sandbox")
    config = tmp_path / "fal-proxy.toml"
    text = re.sub(r"127\.0\.0\.1:900(\d)", lambda port: f"127.0.0.1:{sandbox + int(port[1])}", config.read_text())
    config.write_text(f"{text}\n[admin]\nport = 0\n", encoding="utf-8")
    token = fal_proxy(tmp_path, "token", "--subject", "me")

    with (
        app_process([FAL_PROXY, "sandbox", "--port", str(sandbox)], tmp_path, {}, port=sandbox, log=tmp_path / "1.log"),
        app_process([FAL_PROXY, "serve", "--port", str(gateway)], tmp_path, {}, port=gateway, log=tmp_path / "2.log"),
        app_process(
            [*node_program("vite-react", "vite"), "--port", str(vite), "--host", "127.0.0.1"],
            tmp_path,
            {"VITE_TOKEN": token},
            port=vite,
            log=tmp_path / "3.log",
        ),
        browser.new_context(viewport={"width": 800, "height": 600}) as context,
    ):
        page = context.new_page()
        page.goto(f"http://localhost:{vite}", timeout=WAIT)
        page.locator("input").set_input_files(IMAGE)
        expect(page.locator("img")).to_have_attribute("src", re.compile(r"^http://127\.0\.0\.1:"), timeout=WAIT)
        expect(page.locator("img").first).not_to_have_js_property("naturalWidth", 0, timeout=WAIT)
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / "quick-start.png")


def fal_proxy(folder: Path, *arguments: str) -> str:
    done = subprocess.run([FAL_PROXY, *arguments], cwd=folder, env=PLAIN, capture_output=True, text=True, check=True)
    return done.stdout.strip()
