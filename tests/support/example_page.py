"""The page of the examples `vite-react` and `nextjs`, and what a person does there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2
from playwright.sync_api import Browser, ConsoleMessage, FilePayload, Page, Request, expect
from support.browser import ARTIFACTS
from support.example_apps import ExampleGateway
from support.gateway_process import PATIENCE, until
from support.in_process_gateway import ENDPOINT, ENVIRON
from support.sandbox import png

from proxy.auth.token_minting import mint
from proxy.demo.demo import SandboxAddresses
from proxy.sandbox.settings import SandboxSettings, unix_clock

# A run is long enough to be cancelled by hand, and to see that its first event does not wait for its last.
SETTINGS = SandboxSettings(keys=frozenset({ENVIRON["FAL_KEY"]}), queue_seconds=0.4, run_seconds=3.0, concurrency=50)
# Notes the time at which each state was first in the page.
_TIMES = """
globalThis.times = {};
new MutationObserver(() => {
  for (const item of document.querySelectorAll("li")) {
    times[item.firstChild.data] ??= performance.now();
  }
}).observe(document, { childList: true, subtree: true });
"""
WAIT = 90_000.0  # milliseconds: a dev server compiles at the first request. Waited for in full by a failing test only
ISSUER = "https://login.example.com"
IMAGE: FilePayload = {"name": "coast.png", "mimeType": "image/png", "buffer": png((320, 200))}
SUBMIT = f"https://queue.fal.run/{ENDPOINT}"
_LOCAL = re.compile(r"http://(127\.0\.0\.1|localhost)[:/]|data:|blob:")
_REFUSAL = re.compile(r"Failed to load resource: the server responded with a status of \d+")


@dataclass
class Repaint:
    """A person at the page of an example. *name* is that of the screenshots."""

    page: Page
    name: str
    gateway: ExampleGateway
    sandbox: SandboxAddresses
    problems: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))

    def sign_in(self) -> None:
        self.page.get_by_label("Name").fill("alice")
        self.screenshot("1-sign-in")
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_text("3 of 3 pictures left")).to_be_visible()

    def run(self, *, images: int = 1) -> None:
        self.page.get_by_label("Image", exact=True).set_input_files(IMAGE)
        self.page.get_by_label("Images", exact=True).fill(str(images))
        self.page.get_by_role("button", name="Run").click()

    def see_the_job(self) -> None:
        """Waits for the states and the picture. The states came one by one, not at the end."""
        progress = self.page.get_by_label("Progress")
        expect(progress.get_by_text("Running").first).to_be_visible()
        self.screenshot("2-running")
        expect(self.page.get_by_alt_text("Result")).to_be_visible()
        expect(self.page.locator("img").first).not_to_have_js_property("naturalWidth", 0, timeout=PATIENCE * 1000)
        expect(progress.get_by_text("Finished")).to_be_visible()
        running, finished = (self.page.evaluate("name => times[name]", name) for name in ("Running", "Finished"))
        assert finished - running > 1000 * SETTINGS.run_seconds / 3
        expect(self.page.get_by_text("2 of 3 pictures left")).to_be_visible()
        self.screenshot("3-picture")

    def see_a_refused_field(self) -> None:
        self.run(images=9)
        refused = self.page.get_by_label("Images", exact=True)
        expect(refused).to_have_accessible_description("Input should be less than or equal to 4")
        expect(self.page.locator("[aria-invalid=true]")).to_have_count(1)
        self.screenshot("4-field")

    def cancel(self) -> None:
        self.run()
        expect(self.page.get_by_label("Progress").get_by_text("Running").first).to_be_visible()
        self.page.get_by_role("button", name="Cancel").click()
        expect(self.page.get_by_text("Cancelled.")).to_be_visible()
        expect(self.page.get_by_text("2 of 3 pictures left")).to_be_visible()
        assert self.counts()["cancels"] == 1
        self.screenshot("5-cancelled")

    def run_out_of_pictures(self) -> None:
        """Takes the last two by another device of alice's."""
        with self.other_device() as device:
            for _ in range(2):
                device.post(f"queue/{ENDPOINT}", json=self.submitted()[0]).raise_for_status()
        self.run()
        expect(self.page.get_by_text("You have used up your pictures")).to_be_visible()
        self.screenshot("6-budget")

    def lose_the_session(self) -> None:
        """Revokes it as the operator."""
        with self.other_device() as device:
            self.gateway.command("user", "revoke", ISSUER, "alice")
            until(lambda: device.get("usage").status_code == 401)
        self.run()
        expect(self.page.get_by_text("Your session has ended. Please sign in again.")).to_be_visible()
        self.screenshot("7-session-end")

    def other_device(self) -> httpx2.Client:
        """Returns a client with a token of alice's own."""
        token = mint(
            algorithm="HS256",
            key=ENVIRON["SESSION_SECRET"].encode(),
            issuer=ISSUER,
            audience="fal-proxy",
            subject="alice",
            lifetime=600,
            now=unix_clock(),
        )
        headers = {"authorization": f"Bearer {token}"}
        base = f"{self.gateway.url}/api/fal/"
        return httpx2.Client(base_url=base, headers=headers, timeout=PATIENCE, trust_env=False)

    def check(self) -> None:
        """Checks that the page had no error of its own, and that fal alone got its key."""
        assert self.problems == []
        assert [r.url for r in self.requests if not _LOCAL.match(r.url)] == []
        uploads = [r for r in self.requests if r.method == "PUT" and r.url.startswith(self.sandbox.rest)]
        assert uploads
        assert all("authorization" not in r.headers and "cookie" not in r.headers for r in uploads)

    def submitted(self) -> list[dict[str, object]]:
        """Returns the bodies of the submits so far."""
        return [
            json.loads(r.post_data or "")
            for r in self.requests
            if r.headers.get("x-fal-target-url", "").startswith(SUBMIT) and r.method == "POST"
        ]

    def counts(self) -> dict[str, object]:
        content: dict[str, object] = httpx2.get(f"{self.sandbox.control}/counts", trust_env=False).json()
        return content

    def screenshot(self, step: str) -> None:
        ARTIFACTS.mkdir(exist_ok=True)
        self.page.screenshot(path=ARTIFACTS / f"example-{self.name}-{step}.png", animations="disabled")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not _REFUSAL.match(message.text):
            self.problems.append(message.text)


@contextmanager
def visit_example(
    browser: Browser, url: str, name: str, gateway: ExampleGateway, sandbox: SandboxAddresses
) -> Iterator[Repaint]:
    """Opens the page of an example in a browser without cookies."""
    context = browser.new_context(viewport={"width": 800, "height": 760}, reduced_motion="reduce")
    context.set_default_timeout(WAIT)
    context.add_init_script(_TIMES)
    person = Repaint(context.new_page(), name, gateway, sandbox)
    try:
        person.page.goto(url)
        yield person
    finally:
        context.close()


def use_everything(person: Repaint) -> None:
    """Signs in, uploads, runs, streams, cancels, and meets a 422, a 402 and the end of the session."""
    expect.set_options(timeout=WAIT)
    person.sign_in()
    person.run()
    person.see_the_job()
    person.see_a_refused_field()
    person.cancel()
    person.run_out_of_pictures()
    person.lose_the_session()
    person.check()
