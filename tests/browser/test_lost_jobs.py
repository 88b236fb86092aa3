"""Jobs that are found after a lost connection, a reload, a sign-in and in another tab, and paid once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
from playwright.sync_api import Browser, Page, Route, expect
from support.browser import PROMPT, Visit, playground, visit
from support.demo import Told
from support.gateway_process import PATIENCE, Gateway, Rig
from support.in_process_gateway import ENDPOINT, FAL_KEY, token

from proxy.demo.demo import SandboxAddresses
from proxy.sandbox.settings import SandboxSettings

SLOW = SandboxSettings(keys=frozenset({FAL_KEY}), queue_seconds=0.1, run_seconds=4)
COOKIE = "fal-session"


class Site:
    """A gateway with the page and a session cookie, in front of a slow sandbox."""

    def __init__(self, rig: Rig) -> None:
        self.sandbox: SandboxAddresses = rig.sandbox(SLOW)
        self.gateway: Gateway = playground(
            rig,
            self.sandbox,
            endpoints=[{"id": ENDPOINT, "price": "input.num_images"}],
            budgets=[{"name": "today", "per": "user", "window": "day", "limit": 5}],
            cookie={"name": COOKIE, "allow_insecure_name": True},
        )
        self.url = self.gateway.parts.config.server.public_origin

    def jobs(self) -> int:
        """Jobs that the sandbox accepted."""
        counts = httpx2.get(f"{self.sandbox.control}/counts", trust_env=False).json()
        total = counts["submits"]["total"]
        assert isinstance(total, int)
        return total

    @contextmanager
    def signed_in(self, browser: Browser, user: str = "alice") -> Iterator[Visit]:
        """The page of *user*, whose browser has the session cookie."""
        with visit(browser, self.url) as visiting:
            visiting.page.context.add_cookies([{"name": COOKIE, "value": token(user), "url": self.url}])
            visiting.page.reload()
            expect(visiting.page.locator("#workshop")).to_be_visible()
            yield visiting

    def started(self, visiting: Visit) -> None:
        visiting.fill()
        visiting.run()
        expect(visiting.page.locator("#line .now b")).to_have_text("Running", timeout=10_000)


@pytest.fixture
def site(rig: Rig) -> Site:
    return Site(rig)


def shown(page: Page) -> None:
    """Checks that the result is there, and that it was paid for once."""
    expect(page.locator(".compare .after")).to_be_visible(timeout=PATIENCE * 1000)
    expect(page.locator("#standing")).to_contain_text("4 of 5 credits")
    expect(page.locator("#trouble")).to_be_hidden()


def test_offline(browser: Browser, site: Site) -> None:
    """The page shows that the job goes on, offers to check it, never to run it, and reconnects itself."""
    with site.signed_in(browser) as alice:
        site.started(alice)
        expect(alice.page.locator("#standing")).to_contain_text("1 reserved")
        alice.page.context.set_offline(True)
        box = alice.trouble()
        expect(box).to_contain_text("Connection lost, your job goes on")
        expect(box.get_by_role("button", name="Check this job")).to_be_visible()
        expect(box.get_by_role("button", name="Run again")).to_have_count(0)
        alice.screenshot("lost")
        alice.page.context.set_offline(False)
        shown(alice.page)
    assert site.jobs() == 1


def test_the_answer_of_a_submit_is_lost(browser: Browser, site: Site) -> None:
    """The submit is sent again with its key, and runs once."""
    lost: list[str] = []

    def lose(route: Route) -> None:
        request = route.request
        if request.method != "POST" or "hyper-sdxl" not in request.headers.get("x-fal-target-url", "") or lost:
            route.continue_()
            return
        lost.append(request.headers["idempotency-key"])
        route.fetch()
        route.abort("connectionreset")

    with site.signed_in(browser) as alice:
        alice.page.route("**/api/fal/proxy", lose)
        alice.fill()
        alice.run()
        expect(alice.trouble()).to_contain_text("runs only once")
        shown(alice.page)
        keys = [request.headers["idempotency-key"] for request in alice.submitted()]
    assert keys == [lost[0], lost[0]]
    assert site.jobs() == 1


def test_a_reload(browser: Browser, site: Site) -> None:
    """The job that runs is followed again, with its prompt."""
    with site.signed_in(browser) as alice:
        site.started(alice)
        alice.page.reload()
        expect(alice.page.get_by_role("button", name="Cancel")).to_be_visible()
        shown(alice.page)
        expect(alice.page.locator(".compare .after")).to_have_attribute("alt", f"Result: {PROMPT}")
    assert site.jobs() == 1


def test_another_tab_and_another_device(browser: Browser, site: Site) -> None:
    """The gateway lists the job that runs, so another page of the same user follows it too."""
    with site.signed_in(browser) as alice, site.signed_in(browser) as device:
        site.started(alice)
        tab = alice.page.context.new_page()
        tab.goto(f"{site.url}/")
        device.page.goto(f"{site.url}/")
        shown(tab)
        shown(device.page)
        shown(alice.page)
    assert site.jobs() == 1


def test_the_session_ends(browser: Browser, site: Site) -> None:
    """The job is not cancelled; after the next sign-in its result is shown."""
    with site.signed_in(browser) as alice:
        site.started(alice)
        alice.page.context.clear_cookies()
        alice.page.context.set_offline(True)  # ends the stream, which its session would not outlive
        expect(alice.trouble()).to_contain_text("Connection lost")
        alice.page.context.set_offline(False)
        expect(alice.page.get_by_role("heading", name="Your session has ended")).to_be_visible(timeout=10_000)
        alice.trouble().get_by_role("button", name="Sign in").click()
        alice.sign_in_with(token())
        shown(alice.page)
    assert site.jobs() == 1


def test_a_link_to_a_job(browser: Browser, site: Site) -> None:
    """The address leads its owner to the job, and anybody else to the 404 of a job that does not exist."""
    with site.signed_in(browser) as alice:
        site.started(alice)
        address = alice.page.url
        shown(alice.page)
        assert re.search(r"#job=[\w.-]+&endpoint=", address)
        with site.signed_in(browser) as again:
            again.page.goto(address)
            again.page.reload()
            shown(again.page)
    with site.signed_in(browser, "bob") as bob:
        bob.page.goto(address)
        bob.page.reload()
        expect(bob.trouble()).to_contain_text("Job not found")
        expect(bob.page.locator(".compare")).to_have_count(0)
    assert site.jobs() == 1


def test_another_tab_signs_in_as_another_user(browser: Browser, demo: Told) -> None:
    """Tabs share the cookie: each shows the user that another tab signed in, who pays for a run."""
    with visit(browser, demo.url) as first:
        first.sign_in_as("alice")
        first.fill()
        second = Visit(first.page.context.new_page(), demo.url)
        second.page.goto(f"{demo.url}/")
        expect(second.page.locator("#who-name")).to_have_text("alice")

        second.page.get_by_role("button", name="Sign out").click()
        expect(first.page.locator("#entrance")).to_be_visible()
        expect(first.page.locator("#workshop")).to_be_hidden()

        second.sign_in_as("bob")
        expect(first.page.locator("#workshop")).to_be_visible()
        expect(first.page.locator("#who-name")).to_have_text("bob")
        expect(first.page.locator("#standing")).to_contain_text("5 of 5 credits")
        expect(first.page.get_by_label("Prompt", exact=True)).to_have_value("")
        first.fill()
        first.run()
        first.result()
        first.check()
        second.check()


def test_no_run_while_the_session_is_read(browser: Browser, demo: Told) -> None:
    """Between the change of the cookie and the new configuration a tab sends no run under either user."""
    with visit(browser, demo.url) as first:
        first.sign_in_as("alice")
        first.fill()
        waiting: list[Route] = []
        first.page.route("**/playground/config.json", lambda route: waiting.append(route))
        second = Visit(first.page.context.new_page(), demo.url)
        second.page.goto(f"{demo.url}/")
        second.page.get_by_role("button", name="Sign out").click()
        second.sign_in_as("bob")
        while not waiting:
            first.page.wait_for_timeout(20)
        first.run()
        for route in waiting:
            route.continue_()
        first.page.unroute("**/playground/config.json")
        expect(first.page.locator("#who-name")).to_have_text("bob")
        assert first.submitted() == []
