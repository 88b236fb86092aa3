"""Tests of the page's main function in a real browser: a picture in, another one out, and its facts."""

from __future__ import annotations

import json
import re

import httpx2
import pytest
from playwright.sync_api import Browser, Locator, expect
from support.browser import PROMPT, Visit, judged_everywhere, playground, visit
from support.demo import Told
from support.gateway_process import Rig, until
from support.in_process_gateway import ENDPOINT, FAL_KEY, token
from support.sandbox import data_uri, png

from proxy.sandbox.settings import SandboxSettings

STATUS = re.compile(r"https://queue\.fal\.run/fal-ai/hyper-sdxl/requests/[^/]+/status\?logs=1")
STREAM = re.compile(r"https://queue\.fal\.run/fal-ai/hyper-sdxl/requests/[^/]+/status/stream\?logs=1")
CANCEL = re.compile(r"https://queue\.fal\.run/fal-ai/hyper-sdxl/requests/[^/]+/cancel")


def shown_job(visiting: Visit) -> Locator:
    """Returns the card of the job on show."""
    return visiting.page.locator("#history .card-show[aria-pressed=true]")


def left(visiting: Visit) -> float:
    """Credits left, as the page shows them."""
    shown = visiting.page.locator("#standing dd .left").first
    expect(shown).to_contain_text("credits")
    text = shown.text_content() or ""
    return float(text.split(" of ")[0])


def picture_at(url: str | None) -> bytes:
    assert url is not None
    return httpx2.get(url, trust_env=False).content


def test_a_picture(browser: Browser, demo: Told) -> None:
    """A run shows its queue, log, comparison, seed, time, history and cost."""
    with visit(browser, demo.url) as alice:
        page = alice.page
        alice.screenshot("entrance")
        alice.sign_in_with(demo.tokens["alice"])
        before = left(alice)
        alice.fill()
        alice.run()
        expect(page.locator("#line .now b")).to_have_text("Running", timeout=10_000)
        alice.screenshot("running")
        picture = alice.result()
        expect(page.locator("#announcer")).to_contain_text("Done in")
        expect(page.locator("#line li.past")).to_have_count(3)
        expect(shown_job(alice)).to_contain_text(PROMPT)
        expect(shown_job(alice)).to_contain_text("done")
        expect(shown_job(alice)).to_contain_text("1.05 credits")
        expect(page.locator("#fact-price")).to_contain_text("1.05 credits")
        expect(page.locator("#log-lines")).to_contain_text("Step 1 of 1")
        expect(page.locator("#standing")).to_contain_text(f"{before - 1.048576:.2f}")
        expect(page.locator("#standing")).to_contain_text(re.compile(r"\d+ of 30 left"))
        assert picture.get_attribute("alt") == f"Result: {PROMPT}"
        assert page.locator("#seed-shown").text_content()
        alice.screenshot("done", whole=True)
        alice.tab("Gateway")
        expect(page.locator(".calls")).to_contain_text("1.05 credits charged")
        expect(page.locator(".calls")).not_to_contain_text("until the job ends")
        expect(page.locator("#price")).to_contain_text(f"{round(before - 2 * 1.048576, 2):g} left after it")
        alice.check()
        assert len(alice.submitted()) == 1


def test_the_seed_again(browser: Browser, demo: Told) -> None:
    """One button puts it into the form, and the next run gives the same bytes."""
    with visit(browser, demo.url) as alice:
        alice.sign_in_with(demo.tokens["alice"])
        alice.fill()
        alice.run()
        first = picture_at(alice.result().get_attribute("src"))
        seed = alice.page.locator("#seed-shown").text_content()
        alice.page.get_by_role("button", name="Reuse seed").click()
        expect(alice.page.get_by_label("Seed", exact=True)).to_have_value(seed or "none")
        alice.run()
        expect(alice.page.locator("#announcer")).to_contain_text("Done in", timeout=10_000)
        second = picture_at(alice.result().get_attribute("src"))
        alice.check()

    assert first == second


def test_an_earlier_picture_again(browser: Browser, demo: Told) -> None:
    """A thumbnail brings its result back, and says that it is the one on show."""
    with visit(browser, demo.url) as bob:
        bob.sign_in_with(demo.tokens["bob"])
        bob.fill()
        sources = []
        for seed in ("1", "2"):
            bob.page.get_by_label("Seed", exact=True).fill(seed)
            bob.run()
            expect(bob.page.locator("#seed-shown")).to_have_text(seed, timeout=10_000)
            sources.append(bob.result().get_attribute("src"))
        bob.page.locator("#history .card-show").nth(1).click()
        assert bob.result().get_attribute("src") == sources[0]
        expect(bob.page.locator("#history .card-show").nth(1)).to_have_attribute("aria-pressed", "true")
        expect(bob.page.locator("#seed-shown")).to_have_text("1")
        bob.check()


def test_several_pictures(browser: Browser, demo: Told) -> None:
    """Each picture of a run can be looked at; before and after can be compared with the pointer."""
    with visit(browser, demo.url) as bob:
        page = bob.page
        bob.sign_in_with(demo.tokens["bob"])
        bob.fill()
        page.get_by_label("Number of Images", exact=True).fill("3")
        bob.choose("image_size", "Square 512")
        bob.run()
        first = bob.result().get_attribute("src")
        page.get_by_role("button", name="Image 3").click()
        assert bob.result().get_attribute("src") != first
        frame = page.locator(".compare").bounding_box()
        assert frame is not None
        page.mouse.click(frame["x"] + frame["width"] / 4, frame["y"] + frame["height"] / 2)
        expect(page.get_by_role("slider", name="Before and after")).to_have_value("25")
        bob.check()


def test_download(browser: Browser, demo: Told) -> None:
    """The saved file is the picture, under a name that says what it is."""
    with visit(browser, demo.url) as bob:
        bob.sign_in_with(demo.tokens["bob"])
        bob.fill()
        bob.run()
        shown = picture_at(bob.result().get_attribute("src"))
        with bob.page.expect_download() as saved:
            bob.page.get_by_role("button", name="Download").click()
        bob.check()

        assert re.fullmatch(r"a-lighthouse-by-the-sea-\d+\.jpeg", saved.value.suggested_filename)
        assert saved.value.path().read_bytes() == shown


@pytest.mark.parametrize("streams", [False, True], ids=["polling", "streaming"])
def test_how_it_follows_a_job(browser: Browser, rig: Rig, streams: bool) -> None:
    """With status streams allowed the page follows by one, else it polls.

    The picture is there either way.
    """
    actions = ["submit", "status", "result", "cancel", *(["status-stream"] if streams else [])]
    gateway = playground(rig, rig.sandbox(), endpoints=[{"id": ENDPOINT, "actions": actions}])
    origin = gateway.parts.config.server.public_origin
    with visit(browser, origin) as alice:
        alice.sign_in_with(token())
        alice.fill()
        alice.run()
        alice.result()
        expect(alice.page.locator("#log-lines")).to_contain_text("Encoding")
        alice.check()

        assert bool(alice.calls(STREAM)) is streams
        assert bool(alice.calls(STATUS)) is not streams


def test_cancel(browser: Browser, rig: Rig) -> None:
    """A running job is cancelled at the source, the page says so, and nothing is spent."""
    slow = SandboxSettings(keys=frozenset({FAL_KEY}), queue_seconds=0.1, run_seconds=300)
    sandbox = rig.sandbox(slow)
    gateway = playground(
        rig,
        sandbox,
        endpoints=[{"id": ENDPOINT, "price": "input.num_images"}],
        budgets=[{"name": "today", "per": "user", "window": "day", "limit": 5}],
    )
    with visit(browser, gateway.parts.config.server.public_origin) as alice:
        alice.sign_in_with(token())
        assert left(alice) == 5
        alice.fill()
        alice.run()
        expect(alice.page.locator("#line .now b")).to_have_text("Running", timeout=10_000)
        judged_everywhere(alice, "running")
        alice.page.get_by_role("button", name="Cancel").click()
        expect(alice.trouble()).to_contain_text("Cancelled")
        expect(alice.page.get_by_role("button", name="Run", exact=True)).to_be_visible()
        expect(alice.page.locator("#standing")).to_contain_text("5 of 5 credits")
        expect(alice.page.locator("#history li")).to_contain_text("cancelled")
        expect(alice.trouble()).to_contain_text("You were not charged.")
        alice.screenshot("cancelled")
        alice.tab("Gateway")
        inspector = alice.page.locator("#gateway-panel")
        expect(inspector).to_contain_text("This job was cancelled. It cost nothing.")
        expect(inspector).not_to_contain_text("failed")
        alice.page.evaluate("sessionStorage.clear()")
        alice.page.reload()
        alice.sign_in_with(token())
        expect(alice.page.locator("#history li")).to_contain_text("cancelled")
        assert len(alice.calls(CANCEL)) == 1
        assert alice.problems == []
    counts = httpx2.get(f"{sandbox.control}/counts", trust_env=False).json()

    assert counts["submits"]["total"] == 1
    assert counts["cancels"] == 1


def test_only_what_differs_is_sent(browser: Browser, demo: Told) -> None:
    """Fields at their defaults stay out of the request.

    Those that were set are in it, in their schema's types.
    """
    with visit(browser, demo.url) as alice:
        page = alice.page
        alice.sign_in_with(demo.tokens["alice"])
        alice.fill(prompt="dunes")
        alice.choose("image_size", "Custom")
        page.get_by_label("Width", exact=True).fill("96")
        page.get_by_label("Height", exact=True).fill("64")
        alice.choose("num_inference_steps", "2")
        page.get_by_label("Seed", exact=True).fill("7")
        page.get_by_text("Advanced").click()
        page.get_by_role("switch", name="Enable Safety Checker").uncheck()
        page.get_by_role("button", name="Add embedding").click()
        page.get_by_label("Path", exact=True).fill("https://example.com/embedding.safetensors")
        alice.run()
        alice.result()
        body = json.loads(alice.submitted()[0].post_data or "")
        picture = body.pop("image_url")

    assert body == {
        "prompt": "dunes",
        "image_size": {"width": 96, "height": 64},
        "num_inference_steps": "2",
        "seed": 7,
        "enable_safety_checker": False,
        "embeddings": [{"path": "https://example.com/embedding.safetensors"}],
    }
    assert picture.startswith(("data:image/jpeg;base64,", "http://127.0.0.1"))


def test_the_session_cookie(browser: Browser, demo: Told) -> None:
    """A demo user's cookie is hidden from scripts, is the only credential, and outlives a reload."""
    with visit(browser, demo.url) as alice:
        page = alice.page
        alice.screenshot("entrance")
        alice.sign_in_as("alice")
        expect(page.locator("#who-name")).to_have_text("alice")
        page.reload()
        expect(page.locator("#workshop")).to_be_visible()
        expect(page.locator("#who-name")).to_have_text("alice")
        alice.fill()
        alice.run()
        alice.result()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("button", name="Continue as bob")).to_be_visible()
        assert page.context.cookies() == []
        page.reload()
        expect(page.get_by_role("button", name="Continue as bob")).to_be_visible()
        assert not [r.url for r in alice.requests if "authorization" in r.headers]
        assert page.evaluate("document.cookie") == ""
        alice.check()


def test_another_user(browser: Browser, demo: Told) -> None:
    """The next user sees no picture and no setting of the last one, and the own allowance."""
    with visit(browser, demo.url) as someone:
        page = someone.page
        someone.sign_in_as("alice")
        someone.fill(prompt="alice's own")
        someone.run()
        someone.result()
        page.get_by_role("button", name="Sign out").click()
        someone.sign_in_as("bob")
        expect(page.locator("#who-name")).to_have_text("bob")
        expect(page.locator("#history")).not_to_contain_text("alice's own")
        expect(page.locator(".compare")).to_have_count(0)
        expect(page.get_by_label("Prompt", exact=True)).to_have_value("")
        someone.check()


def test_the_result_as_input(browser: Browser, demo: Told) -> None:
    """An output can be the next input, by its address, and is compared with the next output."""
    with visit(browser, demo.url) as bob:
        bob.sign_in_as("bob")
        bob.fill()
        bob.choose("image_size", "Square 512")
        bob.run()
        first = bob.result().get_attribute("src")
        bob.page.get_by_role("button", name="Use as input").click()
        expect(bob.page.locator(".drop-title")).to_have_text("From a URL")
        bob.run()
        expect(bob.page.locator("#announcer")).to_contain_text("Done in", timeout=10_000)
        assert bob.page.locator(".compare .before").get_attribute("src") == first
        assert json.loads(bob.submitted()[1].post_data or "")["image_url"] == first
        bob.check()


def test_a_stream_that_ends_early(browser: Browser, rig: Rig) -> None:
    """A job that outlives its stream is followed by polling to its picture, without a second submit."""
    slow = SandboxSettings(keys=frozenset({FAL_KEY}), queue_seconds=0.1, run_seconds=4)
    gateway = playground(rig, rig.sandbox(slow), streams={"max_seconds": 1.0})
    with visit(browser, gateway.parts.config.server.public_origin) as alice:
        alice.sign_in_with(token())
        alice.fill()
        alice.run()
        alice.result()
        assert alice.calls(STREAM)
        assert alice.calls(STATUS)
        assert len(alice.submitted()) == 1
        alice.check(400)


def test_pasted_and_dropped(browser: Browser, demo: Told) -> None:
    """An image comes in by paste, by drop anywhere, and as a dragged link; another file is refused."""
    give = """([kind, type, name]) => {
      const data = new DataTransfer();
      if (kind === 'link') data.setData('text/uri-list', name);
      else data.items.add(new File([new Uint8Array(9)], name, { type }));
      const target = kind === 'drop' ? document.querySelector('.drop') : document.body;
      const event = kind === 'paste'
        ? new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true })
        : new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true });
      return target.dispatchEvent(event);
    }"""
    with visit(browser, demo.url) as bob:
        bob.sign_in_as("bob")
        title = bob.page.locator(".drop-title")
        bob.page.evaluate(give, ["paste", "image/png", "pasted.png"])
        expect(title).to_have_text("pasted.png")
        bob.page.evaluate(give, ["drop", "image/webp", "dropped.webp"])
        expect(title).to_have_text("dropped.webp")
        bob.page.evaluate(give, ["drop", "text/plain", "notes.txt"])
        expect(bob.field("image_url").locator(".error")).to_have_text("This is not an image.")
        expect(title).to_have_text("dropped.webp")
        assert not bob.page.evaluate(give, ["beside", "image/png", "beside.png"]), "the browser would open the file"
        expect(title).to_have_text("beside.png")
        bob.page.evaluate(give, ["link", "", "https://example.com/cat.png"])
        expect(title).to_have_text("From a URL")
        expect(bob.page.get_by_label("Image URL, as a URL")).to_have_value("https://example.com/cat.png")
        bob.page.get_by_role("button", name="Remove the image").click()
        expect(title).to_have_text("Drop an image here")
        bob.check()


def test_the_place_in_the_queue(browser: Browser, rig: Rig) -> None:
    """A waiting user sees, and a screen reader reads, the number of jobs ahead; then the job runs."""
    slow = SandboxSettings(keys=frozenset({FAL_KEY}), queue_seconds=0.05, run_seconds=2.5, concurrency=1)
    gateway = playground(rig, rig.sandbox(slow))
    with gateway.client("bob") as bob, visit(browser, gateway.parts.config.server.public_origin) as alice:
        alice.sign_in_with(token())
        alice.fill()
        for _ in range(2):
            bob.post(f"queue/{ENDPOINT}", json={"image_url": data_uri(png()), "prompt": "first"}).raise_for_status()
        alice.run()
        now = alice.page.locator("#line .now")
        expect(now).to_contain_text("1 ahead", timeout=10_000)
        expect(alice.page.locator("#announcer")).to_have_text("In the queue, 1 ahead")
        alice.screenshot("queued")
        expect(now).to_contain_text("next", timeout=10_000)
        alice.result()
        alice.check()


def test_signing_out_while_a_job_runs(browser: Browser, rig: Rig) -> None:
    """The job is cancelled, and the next user sees nothing of it."""
    slow = SandboxSettings(keys=frozenset({FAL_KEY}), queue_seconds=0.05, run_seconds=3)
    sandbox = rig.sandbox(slow)
    gateway = playground(rig, sandbox)
    with visit(browser, gateway.parts.config.server.public_origin) as someone:
        someone.sign_in_with(token("alice"))
        someone.fill(prompt="alice's own")
        someone.run()
        expect(someone.page.locator("#line .now b")).to_have_text("Running", timeout=10_000)
        someone.page.get_by_role("button", name="Sign out").click()
        someone.sign_in_with(token("bob"))
        until(lambda: someone.calls(CANCEL))
        someone.fill(prompt="bob's own")
        someone.run()
        assert someone.result().get_attribute("alt") == "Result: bob's own"
        expect(someone.page.locator("#history")).not_to_contain_text("alice's own")


def test_under_another_name(browser: Browser, demo: Told) -> None:
    """Opened as localhost, where the cookie would not count, the page says where to go instead."""
    elsewhere = demo.url.replace("127.0.0.1", "localhost")
    with visit(browser, elsewhere) as somebody:
        link = somebody.page.get_by_role("link", name=demo.url)
        expect(link).to_be_visible()
        link.click()
        expect(somebody.page.get_by_role("button", name="Continue as alice")).to_be_visible()
        expect(link).to_be_hidden()
        somebody.sign_in_as("alice")


def test_a_link_to_a_filled_form(browser: Browser, demo: Told) -> None:
    """The copied link opens the same endpoint with the same settings, for any user."""
    with visit(browser, demo.url) as alice:
        page = alice.page
        alice.sign_in_as("alice")
        page.get_by_label("Endpoint").select_option("fal-ai/flux/dev")
        page.get_by_label("Prompt", exact=True).fill("dunes & stars")
        alice.field("num_images").get_by_role("spinbutton").fill("2")
        page.locator("#copy-form-link").click()
        expect(page.locator("#copy-form-link")).to_have_text("Copied")
        link = page.evaluate("navigator.clipboard.readText()")
        with visit(browser, demo.url) as bob:
            bob.sign_in_as("bob")
            bob.page.goto(link)
            bob.page.reload()
            expect(bob.page.get_by_label("Endpoint")).to_have_value("fal-ai/flux/dev")
            expect(bob.page.get_by_label("Prompt", exact=True)).to_have_value("dunes & stars")
            expect(bob.field("num_images").get_by_role("spinbutton")).to_have_value("2")


def test_another_endpoint_keeps_what_fits(browser: Browser, demo: Told) -> None:
    """The prompt and the image go over to the next form; a choice that it does not have stays behind."""
    with visit(browser, demo.url) as alice:
        page = alice.page
        alice.sign_in_as("alice")
        alice.fill(prompt="the same words")
        page.get_by_label("Endpoint").select_option("fal-ai/kling-video/v2.5-turbo/pro/image-to-video")
        expect(page.get_by_label("Prompt", exact=True)).to_have_value("the same words")
        expect(page.locator(".drop-title").first).to_have_text("coast.jpg")


def test_the_settings_of_an_earlier_job(browser: Browser, demo: Told) -> None:
    """A past run fills the form again, also after a reload."""
    with visit(browser, demo.url) as alice:
        page = alice.page
        alice.sign_in_as("alice")
        page.get_by_label("Endpoint").select_option("openrouter/router")
        page.get_by_label("Prompt", exact=True).fill("first words")
        page.get_by_label("Model", exact=True).fill("acme/one")
        alice.run()
        expect(page.locator(".tile-text")).to_be_visible(timeout=10_000)
        page.reload()
        expect(page.locator(".tile-text")).to_be_visible(timeout=10_000)
        page.get_by_label("Prompt", exact=True).fill("other words")
        shown_job(alice).locator("..").get_by_role("button", name="Use these settings").click()
        expect(page.get_by_label("Prompt", exact=True)).to_have_value("first words")
        expect(page.get_by_label("Model", exact=True)).to_have_value("acme/one")
