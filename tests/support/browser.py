"""Debian's Chromium, driven by Playwright, and the playground as a person meets it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect, sync_playwright
from support.gateway_process import PATIENCE, Gateway, Rig, program
from support.in_process_gateway import ENDPOINT, ENVIRON

from proxy.demo.demo import SandboxAddresses

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "artifacts"  # ignored by git; screenshots to look at
AXE = ROOT / "tests/browser/node_modules/axe-core/axe.min.js"
SIZES = {"wide": (1440, 900), "middle": (768, 1024), "narrow": (360, 740)}
Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PROMPT = "a lighthouse by the sea"

# Chromium reports every answer from 400 on; a test expects those of the statuses that it provokes.
_REFUSAL = re.compile(r"Failed to load resource: the server responded with a status of (\d+)")
# Requests that the page makes by itself; a refusal of one is not what a test provokes.
_BY_ITSELF = re.compile(r"/(jobs|quote)\b")


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """One page of the playground, and all that it did: requests, console messages, errors."""

    page: Page
    url: str
    requests: list[Request] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))

    def _hear(self, message: ConsoleMessage) -> None:
        refusal = _REFUSAL.match(message.text)
        if refusal is not None and _BY_ITSELF.search(message.location["url"]):
            return
        if refusal is not None:
            self.refusals.append(int(refusal[1]))
        elif message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text}")

    def check(self, *refusals: int) -> None:
        """Checks that nothing was wrong but answers of *refusals*, and that no request left loopback."""
        assert self.problems == []
        assert set(self.refusals) == set(refusals)
        away = [r.url for r in self.requests if urlsplit(r.url).hostname not in ("127.0.0.1", None)]
        assert [url for url in away if not url.startswith(("data:", "blob:"))] == []

    # ---- what a person does ----------------------------------------------------------------------------------------

    def sign_in_with(self, token: str) -> None:
        field = self.page.get_by_label("Session token")
        if not field.is_visible():
            self.page.get_by_text("Use a session token").click()
        field.fill(token)
        self.page.get_by_role("button", name="Sign in with the token").click()
        expect(self.page.locator("#workshop")).to_be_visible()

    def sign_in_as(self, user: str) -> None:
        self.page.get_by_role("button", name=f"Continue as {user}").click()
        expect(self.page.locator("#workshop")).to_be_visible()

    def tab(self, name: str) -> None:
        """Selects a tab: Result, Gateway or Code."""
        self.page.get_by_role("tab", name=name, exact=True).click()

    def edit(self) -> None:
        """Goes back to the form, where a narrow window shows one side at a time."""
        if self.page.locator("#show-form").is_visible():
            self.page.locator("#show-form").click()

    def fill(self, *, prompt: str = PROMPT, sample: str = "Lighthouse at dusk") -> None:
        self.page.get_by_role("button", name=f"Sample: {sample}").click()
        expect(self.page.locator(".drop-title")).not_to_have_text("Drop an image here")
        self.page.get_by_label("Prompt", exact=True).fill(prompt)

    def run(self) -> None:
        self.page.get_by_role("button", name="Run", exact=True).click()

    def result(self) -> Locator:
        """Returns the picture of a run, waited for until it is there and loaded."""
        picture = self.page.locator(".compare .after")
        expect(picture).to_be_visible(timeout=PATIENCE * 1000)
        # `wait_for_function` evaluates text, which the page's policy forbids from the second look on.
        expect(picture).not_to_have_js_property("naturalWidth", 0, timeout=PATIENCE * 1000)
        return picture

    def choose(self, name: str, option: str) -> None:
        """Checks a radio button of the field *name*."""
        self.field(name).get_by_role("radio", name=option).check()

    def field(self, name: str) -> Locator:
        return self.page.locator(f"[data-name={name}]")

    def trouble(self) -> Locator:
        box = self.page.get_by_role("alert").and_(self.page.locator("#trouble"))
        expect(box).to_be_visible(timeout=PATIENCE * 1000)
        return box

    def submitted(self) -> list[Request]:
        """Returns the submits so far, replays included."""
        return self.calls(re.compile(rf"https://queue\.fal\.run/{re.escape(ENDPOINT)}"))

    def calls(self, target: re.Pattern[str]) -> list[Request]:
        """Returns the requests through the gateway whose whole target matches."""
        return [r for r in self.requests if target.fullmatch(r.headers.get("x-fal-target-url", ""))]

    def screenshot(self, name: str, *, whole: bool = False) -> None:
        ARTIFACTS.mkdir(exist_ok=True)
        size = self.page.viewport_size
        assert size is not None
        if whole:  # a window as tall as the page: what sticks to its edges stands where it belongs
            self.page.set_viewport_size({**size, "height": self.page.evaluate("document.documentElement.scrollHeight")})
        self.page.screenshot(path=ARTIFACTS / f"{name}.png", animations="disabled")
        self.page.set_viewport_size(size)


@contextmanager
def visit(browser: Browser, url: str, *, size: str = "wide", theme: Theme = "light") -> Iterator[Visit]:
    """A page in a browser of its own (no cookie is there before), opened and ready."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=theme,
        reduced_motion="reduce",
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(PATIENCE * 1000)
    visiting = Visit(context.new_page(), url)
    visiting.page.goto(f"{url}/")
    expect(visiting.page.locator("#entrance:not([hidden]), #workshop:not([hidden])")).to_be_visible()
    try:
        yield visiting
    finally:
        context.close()


def judged(visiting: Visit, name: str) -> None:
    """Checks for sideways scroll and findings of axe, and keeps a screenshot of the whole page."""
    visiting.screenshot(name, whole=True)
    width, inner = visiting.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width <= inner, f"{name}: {width} pixels wide in {inner}"
    # Evaluated by the debugger, which the page's policy does not bind; the page itself could not load it.
    if visiting.page.evaluate("typeof axe === 'undefined'"):
        visiting.page.evaluate(AXE.read_text(encoding="utf-8") + ";0")
    report = visiting.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    found = [
        (violation["id"], violation["impact"], [node["html"][:160] for node in violation["nodes"]])
        for violation in report["violations"]
    ]
    assert not found, f"{name}: {found}"


def judged_everywhere(
    visiting: Visit, name: str, *, sizes: Iterable[str] = tuple(SIZES), side: str | None = "result"
) -> None:
    """Judges a state at each of *sizes* in both themes, without a new visit, and restores the window.

    *side* is the one that a narrow window shows, None for the one that it shows now.
    """
    page, before = visiting.page, visiting.page.viewport_size
    if side is not None:
        page.evaluate("side => { document.getElementById('workshop').dataset.side = side }", side)
    for size in sizes:
        width, height = SIZES[size]
        page.set_viewport_size({"width": width, "height": height})
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            judged(visiting, f"{name}-{size}-{theme}")
    page.emulate_media(color_scheme="light")
    if before is not None:
        page.set_viewport_size(before)


def playground(rig: Rig, sandbox: SandboxAddresses, **sections: object) -> Gateway:
    """Returns a gateway with the page switched on, in front of *sandbox*."""
    fal = {"queue_origin": sandbox.queue, "run_origin": sandbox.run, "rest_origin": sandbox.rest}
    page = {"enabled": True, "picture_hosts": [sandbox.rest], "upload_hosts": [sandbox.rest]}
    settings: dict[str, object] = {"fal": fal, "playground": page, **sections}
    return rig.gateway(sandbox.queue, origin=None, environ=ENVIRON, **settings)
