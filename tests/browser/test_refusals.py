"""Tests of errors: each is explained at its field, or with the next step."""

from __future__ import annotations

import httpx2
import pytest
from playwright.sync_api import Browser, expect
from support.browser import Visit, playground, visit
from support.gateway_process import QUICK, Rig, until
from support.in_process_gateway import ENDPOINT, token

from proxy.demo.demo import SandboxAddresses

SUBMITS = {"per": "user", "actions": ["submit"]}
PRICED = {
    "endpoints": [{"id": ENDPOINT, "price": "input.num_images"}],
    "budgets": [{"name": "today", "per": "user", "window": "day", "limit": 3}],
}


def ready(visiting: Visit) -> None:
    visiting.sign_in_with(token())
    visiting.fill()


def knob(sandbox: SandboxAddresses, **fault: object) -> None:
    httpx2.put(f"{sandbox.control}/faults", json=[fault], trust_env=False).raise_for_status()


def accepted(sandbox: SandboxAddresses) -> int:
    counts = httpx2.get(f"{sandbox.control}/counts", trust_env=False).json()
    total = counts["submits"]["total"]
    assert isinstance(total, int)
    return total


def test_fields(browser: Browser, rig: Rig) -> None:
    """A 422 stands beside each of its fields, the first has the focus, and the alert links to all of them."""
    sandbox = rig.sandbox()
    with visit(browser, playground(rig, sandbox).parts.config.server.public_origin) as alice:
        page = alice.page
        ready(alice)
        page.get_by_label("Prompt", exact=True).fill("")
        alice.field("strength").get_by_role("spinbutton").fill("7")
        alice.choose("image_size", "Custom")
        page.get_by_label("Width", exact=True).fill("0")
        page.get_by_text("Advanced").click()
        page.get_by_role("button", name="Add embedding").click()
        page.get_by_text("Advanced").click()
        alice.run()
        expect(alice.trouble()).to_contain_text("4 fields need fixing")
        expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
        expect(page.get_by_label("Prompt", exact=True)).to_have_attribute("aria-invalid", "true")
        expect(alice.field("prompt").locator(".error").first).to_have_text("Required")
        expect(alice.field("strength").locator(".error")).to_have_text("Must be less than or equal to 1")
        expect(alice.field("width").locator(".error")).to_have_text("Must be greater than 0")
        expect(alice.field("path").locator(".error")).to_be_visible()
        alice.screenshot("fields")
        page.get_by_role("button", name="Embeddings, 1, Path: Required").click()
        expect(page.get_by_label("Path", exact=True)).to_be_focused()
        described = page.get_by_label("Path", exact=True).get_attribute("aria-describedby") or ""
        assert page.locator(f"#{described.split()[1]}").text_content() == "Required"
        alice.check(422)
    assert accepted(sandbox) == 0


def test_the_fields_are_right_again(browser: Browser, rig: Rig) -> None:
    """Once mended, the next run leaves no trace of the errors."""
    with visit(browser, playground(rig, rig.sandbox()).parts.config.server.public_origin) as alice:
        ready(alice)
        number = alice.field("num_images").get_by_role("spinbutton")
        number.fill("99")
        alice.run()
        expect(number).to_be_focused()
        number.fill("1")
        alice.run()
        alice.result()
        expect(alice.page.locator("[aria-invalid]")).to_have_count(0)
        expect(alice.page.locator("#trouble")).to_be_hidden()
        alice.check(422)


def test_no_number(browser: Browser, rig: Rig) -> None:
    """Text that is no number is an error at once, and not an empty field."""
    with visit(browser, playground(rig, rig.sandbox()).parts.config.server.public_origin) as alice:
        ready(alice)
        seed = alice.page.get_by_label("Seed", exact=True)
        seed.press_sequentially("1e")
        alice.run()
        expect(alice.field("seed").locator(".error")).to_have_text("This is not a number")
        expect(seed).to_be_focused()
        alice.check()
        assert alice.submitted() == []


def test_the_models_own_no(browser: Browser, rig: Rig) -> None:
    """An error of the model itself is shown at its field, too."""
    with visit(browser, playground(rig, rig.sandbox()).parts.config.server.public_origin) as alice:
        alice.sign_in_with(token())
        alice.page.get_by_label("Prompt", exact=True).fill("dunes")
        alice.page.get_by_label("Image URL, as a URL").fill("data:image/png;base64,AAAA")
        alice.run()
        expect(alice.field("image_url").locator(".error")).to_have_text("Failed to load the image")
        expect(alice.page.locator("input[type=file]")).to_be_focused()


def test_402(browser: Browser, rig: Rig) -> None:
    """A spent budget: which, what is left of how much, when it is full again, and one submit, not four."""
    sandbox = rig.sandbox()
    with visit(browser, playground(rig, sandbox, **PRICED).parts.config.server.public_origin) as alice:
        ready(alice)
        alice.field("num_images").get_by_role("spinbutton").fill("2")
        alice.run()
        alice.result()
        expect(alice.page.locator("#standing")).to_contain_text("1 of 3 credits")
        alice.run()
        box = alice.trouble()
        expect(box).to_contain_text("Your allowance does not cover this")
        expect(box).to_contain_text("1 of 3 credits are left in “today”, and this run takes 2.")
        expect(box).to_contain_text("It is full again in")
        expect(box).to_be_focused()
        alice.screenshot("402")
        alice.check(402)
        assert len(alice.submitted()) == 2
        alice.field("num_images").get_by_role("spinbutton").fill("4")
        alice.run()
        expect(box).to_contain_text("waiting will not help")
    assert accepted(sandbox) == 1


def test_429(browser: Browser, rig: Rig) -> None:
    """Too many submits: the page shows the retries, then counts down the wait on the button."""
    limits = [{"name": "submits", "rate": "1/minute", **SUBMITS}]
    sandbox = rig.sandbox()
    with visit(browser, playground(rig, sandbox, limits=limits).parts.config.server.public_origin) as alice:
        ready(alice)
        alice.run()
        alice.result()
        expect(alice.page.locator("#standing")).to_contain_text("0 of 1 left")
        alice.run()
        box = alice.trouble()
        expect(box).to_contain_text("Too many requests")
        again = box.get_by_role("button", name="Run again in")
        assert len(alice.submitted()) == 2, "a wait that is longer than the client's patience is not tried in vain"
        expect(again).to_be_disabled()
        first = again.text_content()
        expect(again).not_to_have_text(first or "")
        expect(alice.page.locator(".compare")).to_be_visible()
        expect(alice.page.locator(".earlier")).to_be_visible()
        expect(alice.page.locator("#line")).to_be_hidden()
        alice.screenshot("429")
        alice.check(429)
    assert accepted(sandbox) == 1


def test_too_many_jobs(browser: Browser, rig: Rig) -> None:
    """No seat is free: told as such, and run once there is one again."""
    limits = [{"name": "jobs", "per": "user", "limit": 1}]
    sandbox = rig.sandbox(QUICK)
    gateway = playground(rig, sandbox, in_flight=limits)
    knob(sandbox, kind="hang", action="model", count=1)
    with gateway.client() as other:
        picture = {"image_url": "data:image/png;base64,AAAA", "prompt": "x"}
        job = other.post(f"queue/{ENDPOINT}", json=picture).json()
        with visit(browser, gateway.parts.config.server.public_origin) as alice:
            ready(alice)
            expect(alice.page.locator("#standing")).to_contain_text("0 of 1 free")
            alice.run()
            box = alice.trouble()
            expect(box).to_contain_text("You have as many jobs as you may have at once")
            other.put(job["cancel_url"]).raise_for_status()
            until(lambda: other.get(job["status_url"]).status_code == 200)
            box.get_by_role("button", name="Run again").click()
            alice.result()
            alice.check(429)


def test_503(browser: Browser, rig: Rig) -> None:
    """fal cannot be reached: nothing was done, nothing was taken, and a second try is offered."""
    sandbox = rig.sandbox()
    gateway = playground(
        rig, sandbox, fal={"queue_origin": "http://127.0.0.1:9", "rest_origin": sandbox.rest}, **PRICED
    )
    with visit(browser, gateway.parts.config.server.public_origin) as alice:
        ready(alice)
        alice.run()
        box = alice.trouble()
        expect(box).to_contain_text("Not available right now")
        expect(box).to_contain_text("nothing was taken from your allowance")
        expect(box.get_by_role("button", name="Run again")).to_be_visible()
        expect(alice.page.locator("#standing")).to_contain_text("3 of 3 credits")
        alice.check(503)


def test_504(browser: Browser, rig: Rig) -> None:
    """An unknown outcome shows the money as held, and no button that sends it again: one submit."""
    sandbox = rig.sandbox()
    knob(sandbox, kind="reset", action="submit", after=True)
    with visit(browser, playground(rig, sandbox, **PRICED).parts.config.server.public_origin) as alice:
        ready(alice)
        alice.run()
        box = alice.trouble()
        expect(box).to_contain_text("It may be running, and we cannot know")
        expect(box.get_by_role("button")).to_have_count(0)
        expect(alice.page.locator("#standing")).to_contain_text("2 of 3 credits")
        alice.screenshot("504")
        alice.check(504)
        assert len(alice.submitted()) == 1
    assert accepted(sandbox) == 1


def test_a_failed_run(browser: Browser, rig: Rig) -> None:
    """The model breaks: told, not charged."""
    sandbox = rig.sandbox()
    knob(sandbox, kind="status", action="model", status=500)
    with visit(browser, playground(rig, sandbox, **PRICED).parts.config.server.public_origin) as alice:
        ready(alice)
        alice.run()
        expect(alice.trouble()).to_be_focused()
        expect(alice.trouble()).to_contain_text("The model failed")
        expect(alice.trouble()).to_contain_text("You were not charged.")
        expect(alice.page.locator("#standing")).to_contain_text("3 of 3 credits")
        expect(alice.page.locator("#history .state-failed")).to_contain_text("failed")
        assert alice.problems == []


def test_an_ended_session(browser: Browser, rig: Rig) -> None:
    """The end of a session is shown, and after a new sign-in the settings are still there."""
    with visit(browser, playground(rig, rig.sandbox()).parts.config.server.public_origin) as alice:
        page = alice.page
        alice.sign_in_with(token(lifetime=-25))  # within the leeway for some more seconds
        alice.fill(prompt="kept")
        with page.expect_request(lambda request: request.url.endswith("/usage")):
            until_expired(alice.url, token(lifetime=-25))
            alice.run()
            expect(alice.trouble()).to_contain_text("Your session has ended")
            alice.trouble().get_by_role("button", name="Sign in").click()
            alice.sign_in_with(token())
        expect(page.get_by_label("Prompt", exact=True)).to_have_value("kept")
        expect(page.locator(".drop-title")).to_have_text("coast.jpg")
        alice.run()
        alice.result()
        assert set(alice.refusals) == {401}


def until_expired(url: str, session: str) -> None:
    headers = {"authorization": f"Bearer {session}"}
    until(lambda: httpx2.get(f"{url}/api/fal/usage", headers=headers, trust_env=False).status_code == 401)


@pytest.mark.parametrize(
    "text",
    ["", "not a token", "a.b.c", token(lifetime=-3600)],
    ids=["empty", "words", "three-parts", "expired"],
)
def test_a_bad_token(browser: Browser, rig: Rig, text: str) -> None:
    """A bad token is an error at its field, and no user is signed in."""
    with visit(browser, playground(rig, rig.sandbox()).parts.config.server.public_origin) as nobody:
        field = nobody.page.get_by_label("Session token")
        field.fill(text)
        nobody.page.get_by_role("button", name="Sign in with the token").click()
        expect(nobody.page.locator("#token-error")).to_contain_text("The gateway does not accept this token")
        expect(field).to_be_focused()
        expect(nobody.page.locator("#workshop")).to_be_hidden()
        nobody.check()


def test_the_gate_away(browser: Browser, rig: Rig) -> None:
    """A missing answer is shown as that."""
    gateway = playground(rig, rig.sandbox())
    with visit(browser, gateway.parts.config.server.public_origin) as alice:
        ready(alice)
        alice.page.context.set_offline(True)
        alice.run()
        expect(alice.trouble()).to_contain_text("The gateway cannot be reached")
