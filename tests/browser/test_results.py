"""Results of any shape: shown by their values, and told where the page may not show them."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Browser, Route, expect
from support.browser import Visit, judged_everywhere, playground, visit
from support.gateway_process import Rig
from support.in_process_gateway import token

RESULT = "**/api/fal/proxy"


def give(visiting: Visit, result: object) -> None:
    """Puts *result* in the place of the sandbox's, and runs."""

    def answer(route: Route) -> None:
        target = route.request.headers.get("x-fal-target-url", "")
        if route.request.method == "GET" and "/requests/" in target and "/status" not in target:
            route.fulfill(status=200, content_type="application/json", body=json.dumps(result))
        else:
            route.continue_()

    visiting.page.route(RESULT, answer)
    visiting.sign_in_with(token())
    visiting.fill()
    visiting.run()
    expect(visiting.page.locator("#views")).to_be_visible(timeout=10_000)


@pytest.mark.parametrize("host", ["https://other.example", "http://127.0.0.1:9"])
def test_an_image_elsewhere(browser: Browser, rig: Rig, host: str) -> None:
    """A host that the page may not show: its address, a way to open it, and the setting that allows it."""
    with visit(browser, playground(rig, rig.sandbox()).parts.config.server.public_origin) as alice:
        give(alice, {"images": [{"url": f"{host}/a.png", "content_type": "image/png"}], "seed": 1})
        tile = alice.page.locator(".tile-hidden")
        expect(tile).to_contain_text(f"This image is on {host.split('//')[1]}, which this page may not show.")
        expect(tile).to_contain_text("picture_hosts")
        expect(tile.get_by_role("link", name="Open")).to_have_attribute("href", f"{host}/a.png")
        judged_everywhere(alice, "hidden-host")
        alice.check()


def test_every_shape(browser: Browser, rig: Rig) -> None:
    """Files and long texts anywhere in a result become tiles; the JSON has all of it, with links."""
    sandbox = rig.sandbox()
    long = "A long answer that goes on and on, and then some more, until it is a text of its own. " * 3
    result = {
        "image": {"url": "data:image/gif;base64,R0lGODlhAQABAAAAACw=", "content_type": "image/gif"},
        "model_mesh": {"url": f"{sandbox.rest}/mesh.glb", "content_type": "model/gltf-binary", "file_size": 120_000},
        "outputs": [{"file": f"{sandbox.rest}/table.zip", "archive": {"url": f"{sandbox.rest}/table.zip"}}],
        "text": long,
        "note": "short",
        "seed": 7,
    }
    with visit(browser, playground(rig, sandbox).parts.config.server.public_origin) as alice:
        give(alice, result)
        page = alice.page
        expect(page.locator(".compare .after")).to_be_visible()
        expect(page.locator(".tile-file")).to_have_count(2)
        expect(page.locator(".tile-file").first).to_contain_text("mesh.glb")
        expect(page.locator(".tile-file").first).to_contain_text("120 kB")
        expect(page.locator(".tile-text")).to_have_count(1)
        expect(page.locator(".tile-text")).to_contain_text("A long answer")
        alice.tab("JSON")
        expect(page.locator(".raw")).to_contain_text('"note": "short"')
        expect(page.locator(".raw").get_by_role("link").first).to_have_attribute("href", f"{sandbox.rest}/mesh.glb")
        alice.screenshot("every-shape", whole=True)


def test_nothing_to_show(browser: Browser, rig: Rig) -> None:
    """A result without files and texts is shown as JSON at once."""
    with visit(browser, playground(rig, rig.sandbox()).parts.config.server.public_origin) as alice:
        give(alice, {"score": 0.5, "boxes": [[1, 2, 3, 4]]})
        expect(alice.page.get_by_role("tab", name="JSON")).to_have_attribute("aria-selected", "true")
        expect(alice.page.locator(".raw")).to_contain_text('"score": 0.5')
        alice.check()
