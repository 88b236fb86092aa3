"""States of the page in both themes, wide and at 360 pixels: no sideways scroll, no faults of axe."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from playwright.sync_api import Browser, Request, expect
from support.browser import SIZES, judged, judged_everywhere, playground, visit
from support.demo import Told
from support.gateway_process import Gateway, Rig
from support.in_process_gateway import ENDPOINT, token


@pytest.fixture
def gateway(rig: Rig) -> Gateway:
    """With every kind of thing to show: a budget, seats, a window, and two endpoints to choose from."""
    endpoints = [
        {
            "id": ENDPOINT,
            "price": "input.num_images",
            "force": {"enable_safety_checker": True},
            "forbid": ["sync_mode"],
        },
        {"id": "acme/upscale", "price": "1.0", "schema_file": str(_schema(rig))},
    ]
    return playground(
        rig,
        rig.sandbox(),
        endpoints=endpoints,
        budgets=[{"name": "today", "per": "user", "window": "day", "limit": 40}],
        in_flight=[{"name": "jobs", "per": "user", "limit": 4}],
        limits=[{"name": "submits", "per": "user", "actions": ["submit"], "rate": "30/minute"}],
    )


def _schema(rig: Rig) -> object:
    """Returns a schema with a mask, a plain object, a list of texts and many choices."""
    path = rig.home / "upscale.json"
    many = [f"style_{number}" for number in range(9)]
    path.write_text(
        json.dumps(
            {
                "type": "object",
                "required": ["image_url", "scale"],
                "properties": {
                    "image_url": {"type": "string"},
                    "mask_url": {"type": "string", "description": "White where it may change."},
                    "scale": {"type": "integer", "enum": [2, 4], "default": 2},
                    "style": {"type": "string", "enum": many, "default": "style_3"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "window": {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}},
                    "notes": {},
                },
            }
        ),
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize("sizes", [("wide", "middle"), ("narrow",)], ids=["wide", "narrow"])
def test_every_state(browser: Browser, gateway: Gateway, sizes: Sequence[str]) -> None:
    """Sign-in, forms, a result, each tab, errors at fields and a refusal have no fault in any theme."""
    with visit(browser, gateway.parts.config.server.public_origin, size=sizes[0]) as alice:
        page = alice.page
        judged_everywhere(alice, "state-1-entrance", sizes=sizes, side=None)
        alice.sign_in_with(token())
        judged_everywhere(alice, "state-2-form", sizes=sizes, side=None)

        page.get_by_text("Advanced").click()
        page.get_by_role("button", name="Add embedding").click()
        alice.choose("image_size", "Custom")
        page.get_by_role("button", name="About Strength").click()
        page.locator("#who-menu summary").click()
        judged_everywhere(alice, "state-3-open", sizes=sizes, side=None)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Remove this embedding").click()
        alice.choose("image_size", "Landscape 4:3")

        alice.fill()
        alice.field("num_images").get_by_role("spinbutton").fill("2")
        alice.run()
        alice.result()
        page.locator("#logs summary").click()
        judged_everywhere(alice, "state-4-result", sizes=sizes, side=None)
        for tab in ("JSON", "Gateway", "Code"):
            alice.tab(tab)
            judged_everywhere(alice, f"state-4-{tab.lower()}", sizes=sizes, side=None)

        alice.edit()
        alice.field("strength").get_by_role("spinbutton").fill("7")
        page.get_by_label("Prompt", exact=True).fill("")
        alice.run()
        expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
        judged_everywhere(alice, "state-5-fields", sizes=sizes, side=None)

        alice.field("strength").get_by_role("spinbutton").fill("1")
        page.get_by_label("Prompt", exact=True).fill("dunes")
        alice.field("num_images").get_by_role("spinbutton").fill("8")
        for _ in range(5):
            alice.run()
            expect(page.locator("#form")).to_have_attribute("aria-busy", "false", timeout=20_000)
            alice.edit()
        page.locator("#show-result").dispatch_event("click")
        expect(alice.trouble()).to_contain_text("does not cover this")
        judged_everywhere(alice, "state-6-spent", sizes=sizes, side=None)
        alice.check(402, 422)


def test_another_endpoint(browser: Browser, gateway: Gateway) -> None:
    """The form is the endpoint's own: no forbidden fields, forced ones shown, all others usable."""
    with visit(browser, gateway.parts.config.server.public_origin) as alice:
        page = alice.page
        alice.sign_in_with(token())
        page.get_by_text("Advanced").click()
        expect(alice.field("sync_mode")).to_have_count(0)
        expect(alice.field("enable_safety_checker")).to_contain_text("set by the operator")

        page.get_by_label("Endpoint").select_option("acme/upscale")
        expect(alice.field("prompt")).to_have_count(0)
        page.get_by_label("Image URL, as a URL").fill("https://example.com/cat.png")
        alice.choose("scale", "4")
        page.get_by_label("Style", exact=True).select_option(label="style_5")
        page.get_by_text("Advanced").click()
        page.get_by_label("Tags", exact=True).fill("one\ntwo")
        page.get_by_role("button", name="Add window").click()
        page.get_by_label("X", exact=True).fill("3")
        page.get_by_label("Notes", exact=True).fill('{"any": [1]}')
        judged(alice, "another-endpoint")
        alice.run()
        expect(page.locator("#views")).to_be_visible(timeout=10_000)
        alice.tab("JSON")
        shown = page.locator(".raw")
        expect(shown).to_be_visible()
        alice.check()

        assert json.loads(shown.text_content() or "")["input"] == {
            "image_url": "https://example.com/cat.png",
            "scale": 4,
            "style": "style_5",
            "tags": ["one", "two"],
            "window": {"x": 3},
            "notes": {"any": [1]},
        }


@pytest.mark.parametrize("size", sorted(SIZES))
def test_text_twice_as_large(browser: Browser, gateway: Gateway, size: str) -> None:
    """WCAG 1.4.4 and 1.4.10: at 200 % nothing is cut off sideways either."""
    with visit(browser, gateway.parts.config.server.public_origin, size=size) as alice:
        width, height = SIZES[size]
        alice.sign_in_with(token())
        alice.page.set_viewport_size({"width": max(320, width // 2), "height": height // 2})
        across, inner = alice.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")

        assert across <= inner


def test_states_of_the_demo(browser: Browser, demo: Told) -> None:
    """Axe finds nothing in the menu, a refusal and a lost connection, at any size."""
    with visit(browser, demo.url) as alice:
        page = alice.page
        alice.sign_in_as("alice")
        page.locator("#refusals summary").click()
        judged_everywhere(alice, "demo-menu")
        page.locator("[data-refusal=budget]").click()
        expect(page.locator(".step-refused")).to_be_visible()
        page.locator(".glossary summary").click()
        judged_everywhere(alice, "demo-refusal")
        alice.tab("Result")
        judged_everywhere(alice, "demo-refused", sizes=("narrow",))
        alice.fill()
        page.context.set_offline(True)
        alice.run()
        expect(alice.trouble()).to_be_visible()
        judged_everywhere(alice, "demo-offline")


def test_nothing_jumps(browser: Browser, demo: Told) -> None:
    """The layout shifts that no input caused stay below 0.05, from the first load to a result."""
    with visit(browser, demo.url) as alice:
        page = alice.page
        alice.sign_in_as("alice")
        page.reload()
        expect(page.locator("#workshop")).to_be_visible()
        alice.fill()
        alice.run()
        alice.result()
        expect(page.locator("#fact-price")).to_be_visible()
        shifts = page.evaluate(
            """() => new Promise((resolve) => {
              let sum = 0;
              const observer = new PerformanceObserver((list) => {
                for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
              });
              observer.observe({ type: "layout-shift", buffered: true });
              requestAnimationFrame(() => requestAnimationFrame(() => resolve(sum)));
            })"""
        )

    assert shifts < 0.05


@pytest.mark.parametrize("signed_in", [False, True], ids=["signed out", "signed in"])
def test_the_first_load(browser: Browser, demo: Told, signed_in: bool) -> None:
    """Less than 120 kB on the wire, heads included; each request is due to the page or to its settings."""
    with visit(browser, demo.url) as alice:
        page = alice.page
        if signed_in:
            alice.sign_in_as("alice")
            with browser.new_context() as fresh:
                fresh.add_cookies(page.context.cookies())  # type: ignore[arg-type]
                cold = fresh.new_page()
                requests: list[Request] = []
                cold.on("request", lambda request: requests.append(request))
                cold.goto(demo.url)
                expect(cold.locator("#standing dd").first).to_be_visible()
                size = wire_size(requests)
        else:
            expect(page.get_by_role("button", name="Continue as alice")).to_be_visible()
            size = wire_size(alice.requests)

    assert size < 120_000


def wire_size(requests: list[Request]) -> int:
    """Bytes of all responses, their heads included."""
    sizes = [request.sizes() for request in requests if request.url.startswith("http")]
    return sum(each["responseBodySize"] + each["responseHeadersSize"] for each in sizes)
