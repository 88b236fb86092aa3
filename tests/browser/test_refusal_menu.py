"""The demo's menu of refusals: real requests, and the step that stops each."""

from __future__ import annotations

import httpx2
import pytest
from playwright.sync_api import Browser, Locator, Response, Route, expect
from support.browser import Visit, playground, visit
from support.demo import Told, told_demo
from support.gateway_process import PATIENCE, Rig
from support.in_process_gateway import token

# Entry, status, step that refuses, words of its explanation.
REFUSALS = [
    ("schema", 422, "admit", "num_images: Input should be less than or equal to 8"),
    ("budget", 402, "reserve", "credits are left in “today”, and this run takes 33.55."),
    ("window", 429, "reserve", "The limit “quote-user” allows 60 requests in 60 s."),
    ("listing", 403, "authorize", "This endpoint is not offered here: fal-ai/not-listed"),
    ("foreign", 404, "authorize", "Job not found"),
    ("forged", 404, "authorize", "Job not found"),
    ("signer", 401, "authenticate", "Sign in again: this call has no valid session token"),
]

# Steps stand in the order of time.
STATES = ["step-ok", "step-refused", "step-skipped"]


def pick(visiting: Visit, name: str) -> Locator:
    """Sends the requests of an entry, and returns the calls that the inspector shows."""
    page = visiting.page
    page.locator("#refusals summary").click()
    page.locator(f"[data-refusal={name}]").click()
    calls = page.locator(".calls .call")
    expect(calls.first).to_be_visible()
    return calls


@pytest.mark.parametrize(("name", "status", "step", "words"), REFUSALS, ids=[name for name, *_ in REFUSALS])
def test_a_refusal(browser: Browser, demo: Told, name: str, status: int, step: str, words: str) -> None:
    """A real request is refused with its status; its step is red, later steps are not reached."""
    answers: list[Response] = []
    with visit(browser, demo.url) as alice:
        alice.page.on("response", lambda answer: answers.append(answer))
        alice.sign_in_as("alice")
        pick(alice, name)
        call = alice.page.locator(".calls .refused")
        expect(call.locator(".call-status")).to_have_text(str(status))
        expect(call.locator(".step-refused b")).to_have_text(step)
        expect(call.locator(".step-refused .step-note")).to_contain_text(words)
        expect(call.locator(".step-skipped").last).to_contain_text("not reached")
        expect(call.locator(".call-facts")).to_contain_text("Costnothing")
        states = call.locator(".steps li").evaluate_all("nodes => nodes.map((node) => node.className)")
        assert states == sorted(states, key=STATES.index)
        if name == "schema":
            counted = call.locator(".step-ok").last
            expect(counted).to_contain_text("the request is counted before its body is read")
        expect(call.locator("summary")).to_be_focused()
        expect(alice.page.locator("#announcer")).to_have_text(f"Refused at the step {step}")
        alice.screenshot(f"refusal-{name}")
        request = call.locator(".call-facts").text_content() or ""
        real = [answer for answer in answers if answer.status == status]
        assert real
        assert any(answer.headers["x-fal-request-id"] in request for answer in real)
        quotes = [answer for answer in answers if "/quote/" in answer.url]
        # The first quote is the price in the menu.
        sent = quotes[1:] if name == "window" else [answer for answer in answers if "/queue/" in answer.url]
        noun = "request" if len(sent) == 1 else "requests"
        expect(alice.page.locator(".sent")).to_have_text(f"{len(sent)} {noun} sent")
        alice.tab("Result")
        expect(alice.page.locator("#trouble h3")).to_contain_text(f"refused with {status}")
        expect(alice.page.locator("#result-panel")).not_to_contain_text("Fill in the form")
        assert alice.problems == []


# Before the tests in which fal refuses the account of the one demo, which is paused for a while then.
def test_a_job_of_another_model(browser: Browser, demo: Told) -> None:
    """An old job names its model and opens its form; after a reload its card does too."""
    with visit(browser, demo.url) as alice:
        page = alice.page
        alice.sign_in_as("alice")
        page.get_by_label("Endpoint").select_option("openrouter/router")
        page.get_by_label("Prompt", exact=True).fill("tides")
        page.get_by_label("Model", exact=True).fill("acme/one")
        alice.run()
        expect(page.locator(".tile-text")).to_be_visible(timeout=PATIENCE * 1000)
        expect(page.locator("#of-model")).to_be_hidden()
        page.get_by_role("button", name="Sign out").click()
        alice.sign_in_as("alice")
        page.locator(".card-show", has_text="router").first.click()
        expect(page.locator("#of-model")).to_contain_text("A job of openrouter/router")
        expect(page.locator("#facts")).to_contain_text("Timesnot measured in this page")
        page.get_by_role("button", name="Open its form").click()
        expect(page.get_by_label("Endpoint")).to_have_value("openrouter/router")
        expect(page.locator(".tile-text")).to_be_visible()
        expect(page.locator("#of-model")).to_be_hidden()


def test_a_locked_account(browser: Browser, demo: Told) -> None:
    """fal refuses the account: the gateway pauses, says so with a time, and charges nothing."""
    with visit(browser, demo.url) as alice:
        alice.sign_in_as("alice")
        before = alice.page.locator("#standing dd .left").first.text_content()
        call = pick(alice, "locked").first
        expect(call.locator(".call-status")).to_have_text("503")
        expect(call.locator(".step-refused b")).to_have_text("relay")
        expect(call.locator(".call-facts")).to_contain_text("service_paused")
        expect(call.locator(".call-facts")).to_contain_text("Retry after4 s")
        expect(call.locator(".call-facts")).to_contain_text("credits, and released")
        expect(call.locator(".call-facts")).to_contain_text("Costnothing")
        expect(alice.page.locator("#standing dd .left").first).to_have_text(before or "")
        assert alice.problems == []


def test_an_entry_after_a_locked_account(browser: Browser, demo: Told) -> None:
    """An entry is sent when the pause is over. A run meanwhile shows the seconds."""
    with visit(browser, demo.url) as alice:
        alice.sign_in_as("alice")
        alice.fill()
        pick(alice, "locked")
        expect(alice.page.locator(".calls .call")).to_contain_text("503")
        alice.tab("Result")
        alice.run()
        expect(alice.trouble()).to_contain_text("fal refuses the account of this gateway")
        expect(alice.trouble().get_by_role("button")).to_contain_text("Run again in")
        alice.page.locator("#refusals summary").click()
        alice.page.locator("[data-refusal=budget]").click()
        expect(alice.page.locator(".intro")).to_contain_text("fal's account is still paused. This entry is sent in")
        call = alice.page.locator(".calls .call").first
        expect(call.locator(".call-status")).to_have_text("402", timeout=15_000)
        expect(alice.page.locator(".intro")).to_contain_text("The price is known before the call")


def test_an_unexpected_answer(browser: Browser, demo: Told) -> None:
    """An entry that got another status shows that, and not the explanation of the one it expects."""
    with visit(browser, demo.url) as alice:
        alice.sign_in_as("alice")
        body = '{"detail": "The gateway is overloaded", "error_type": "overloaded"}'
        alice.page.route(
            "**/queue/fal-ai/not-listed",
            lambda route: route.fulfill(status=503, content_type="application/json", body=body),
        )
        pick(alice, "listing")
        expect(alice.page.locator(".intro")).to_contain_text(
            "The gateway answered 503, not the 403 that this entry shows. The gateway is overloaded"
        )


def test_a_front_proxy_gives_up(browser: Browser) -> None:
    """The repeat joins the call of a connection that was closed: one job, one price."""
    with told_demo() as demo, visit(browser, demo.url) as bob:
        bob.sign_in_as("bob")
        bob.page.locator("#refusals summary").click()
        expect(bob.page.locator("[data-refusal=replay]")).to_contain_text("runs one job for 0.26 credits")
        bob.page.locator("#refusals summary").click()
        bob.fill()
        expect(bob.page.locator("#price")).to_have_text("Costs 1.05 credits; 3.95 left after it")
        calls = pick(bob, "replay")
        expect(bob.page.locator(".call-label")).to_have_text(["First request", "Repeat"], timeout=10_000)
        expect(calls.nth(0)).to_contain_text("connection closed")
        expect(calls.nth(1).locator(".call-status")).to_have_text("200")
        expect(calls.nth(1)).to_contain_text("it ran once and is charged once")
        expect(bob.page.locator(".intro")).to_contain_text("The repeat got the answer of the first request")
        expect(bob.page.locator("#history li")).to_contain_text("done", timeout=20_000)
        expect(calls.nth(1).locator(".call-facts")).to_contain_text("Cost0.26 credits")
        expect(bob.page.locator("#price")).to_have_text("Costs 1.05 credits; 3.69 left after it")
        expect(bob.page.locator("#history li")).to_contain_text("0.26 credits")
        expect(bob.page.locator("#standing")).not_to_contain_text("reserved")
        bob.tab("Result")
        bob.result()
        counts = httpx2.get(f"{demo.control}/counts", trust_env=False).json()
        bob.check()

    assert counts["submits"]["total"] == 1


def test_a_run_that_costs_too_much(browser: Browser, demo: Told) -> None:
    """The page names the price that was too high, and what is left."""
    with visit(browser, demo.url) as bob:
        bob.sign_in_as("bob")
        bob.fill()
        bob.field("num_images").get_by_role("spinbutton").fill("6")
        expect(bob.page.locator("#price")).to_have_text("Costs 6.29 credits; more than you have left")
        bob.run()
        expect(bob.trouble()).to_contain_text("credits are left in “today”, and this run takes 6.29.")
        expect(bob.trouble()).to_contain_text("Fewer images or a smaller size may cost less.")
        bob.page.get_by_label("Endpoint").select_option("fal-ai/veo3.1")
        bob.run()
        expect(bob.trouble()).to_contain_text("and this run takes 8. That is more than the whole of it")
        expect(bob.trouble()).to_contain_text("taken. A shorter duration may cost less.")
        assert bob.page.evaluate("scrollY") == 0


def test_the_price_is_back_after_a_pause(browser: Browser, demo: Told) -> None:
    """A quote refused for its rate is requested again after Retry-After; the line shows the wait."""
    refused: list[Route] = []

    def refuse_once(route: Route) -> None:
        if refused:
            route.continue_()
            return
        refused.append(route)
        body = '{"detail": "Too many requests", "error_type": "rate_limited"}'
        route.fulfill(status=429, headers={"retry-after": "2"}, content_type="application/json", body=body)

    with visit(browser, demo.url) as bob:
        bob.sign_in_as("bob")  # the window of alice is full after the entry "Too fast"
        bob.page.route("**/quote/**", refuse_once)
        bob.fill()
        expect(bob.page.locator("#price")).to_contain_text("Too many price requests; the price is back in")
        expect(bob.page.locator("#price")).to_contain_text("Costs 1.05 credits", timeout=10_000)


def test_links_of_the_footer(browser: Browser, demo: Told) -> None:
    """The API description needs a session, so it is linked with one; without an address the code is named."""
    with visit(browser, demo.url) as alice:
        expect(alice.page.locator("#source-name")).to_contain_text("Code: the Python package fal-auth-proxy")
        expect(alice.page.get_by_role("button", name="Continue as alice 20 credits a day")).to_be_visible()
        readme = alice.page.get_by_role("link", name="README of the package").get_attribute("href") or ""
        assert httpx2.get(f"{demo.url}{readme}", trust_env=False).text.startswith("# fal-auth-proxy")
        expect(alice.page.locator("#source-link")).to_be_hidden()
        expect(alice.page.locator("#docs-link")).to_be_hidden()
        expect(alice.page.locator("#api-link")).to_be_hidden()
        alice.sign_in_as("alice")
        expect(alice.page.locator("#api-link")).to_be_visible()
        alice.page.get_by_role("button", name="Sign out").click()
        expect(alice.page.locator("#entrance")).to_be_visible()
        expect(alice.page.locator("#api-link")).to_be_hidden()


def test_no_menu_elsewhere(browser: Browser, rig: Rig) -> None:
    """A page that is no demo has no menu, and no trace: the inspector shows what the status tells."""
    with visit(browser, playground(rig, rig.sandbox()).parts.config.server.public_origin) as alice:
        alice.sign_in_with(token())
        expect(alice.page.locator("#refusals")).to_be_hidden()
        alice.page.get_by_label("Prompt", exact=True).fill("dunes")
        alice.run()
        alice.tab("Gateway")
        call = alice.page.locator(".calls .call").first
        expect(call.locator(".step-refused b")).to_have_text("admit")
        answer = alice.submitted()[0].response()
        assert answer is not None
        assert "x-gateway-trace" not in answer.headers
