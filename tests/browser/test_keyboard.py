"""The whole main job without a pointer."""

from __future__ import annotations

from dataclasses import replace

from playwright.sync_api import Browser, Page, expect
from support.browser import PROMPT, playground, visit
from support.gateway_process import QUICK, Rig
from support.in_process_gateway import token

FOCUSED = "document.activeElement"
# What is focused, by its accessible name as the browser computes it, near enough.
NAME = """() => {
  const node = document.activeElement;
  const ids = (node.getAttribute('aria-labelledby') ?? '').split(' ');
  const by = ids.map((id) => document.getElementById(id)?.textContent);
  return (node.getAttribute('aria-label') ?? (by.join(' ').trim() || null) ?? node.labels?.[0]?.textContent
    ?? node.textContent).trim();
}"""


def tab_to(page: Page, name: str, *, back: bool = False) -> None:
    """Presses Tab until *name* has the focus; each stop on the way must be seen."""
    for _ in range(80):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        assert page.evaluate(f"{FOCUSED} !== document.body"), f"the focus left the page before {name}"
        shown = page.evaluate(
            f"""() => {{
              const own = {FOCUSED};
              const node = own.matches('input:is([type=file], [type=radio])') ? own.nextElementSibling : own;
              const style = getComputedStyle(node.matches('.split') ? node.nextElementSibling.firstChild : node);
              return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
            }}"""
        )
        assert shown, f"no visible focus at {page.evaluate(NAME)!r}"
        if page.evaluate(NAME).startswith(name):
            return
    raise AssertionError(f"Tab never came to {name!r}")


def test_the_main_job(browser: Browser, rig: Rig) -> None:
    """Sign in, a sample, a prompt, a size, run, compare, reuse the seed, other code, sign out: keys alone."""
    gateway = playground(rig, rig.sandbox())
    with visit(browser, gateway.parts.config.server.public_origin) as alice:
        page, keys = alice.page, alice.page.keyboard
        tab_to(page, "Session token")
        keys.insert_text(token())
        tab_to(page, "Sign in with the token")
        keys.press("Enter")
        expect(page.locator("#workshop")).to_be_visible()

        tab_to(page, "Sample: Lighthouse at dusk")
        keys.press("Enter")
        expect(page.locator(".drop-title")).to_have_text("coast.jpg")
        tab_to(page, "Prompt")
        keys.type(PROMPT)
        tab_to(page, "Square HD")
        keys.press("ArrowRight")
        expect(alice.field("image_size").get_by_role("radio", name="Square 512")).to_be_checked()
        tab_to(page, "Strength, slider")
        keys.press("ArrowLeft")
        expect(alice.field("strength").get_by_role("spinbutton")).to_have_value("0.94")
        keys.press("Control+Enter")
        alice.result()
        expect(page.get_by_role("button", name="Run", exact=True)).to_be_focused()

        tab_to(page, "Before and after")
        keys.press("ArrowLeft")
        expect(page.get_by_role("slider", name="Before and after")).to_have_value("49")
        assert page.locator(".split").get_attribute("aria-valuetext") == "49 % before, 51 % after"
        tab_to(page, "Reuse seed")
        keys.press("Enter")
        expect(page.get_by_label("Seed", exact=True)).not_to_have_value("")
        tab_to(page, "Show again")
        keys.press("Enter")
        tab_to(page, "Result", back=True)
        keys.press("ArrowRight")
        expect(page.get_by_role("tab", name="Gateway")).to_be_focused()
        tab_to(page, "200")
        keys.press("Enter")
        tab_to(page, "Gateway", back=True)
        keys.press("ArrowRight")
        tab_to(page, "JavaScript")
        keys.press("ArrowRight")
        expect(page.get_by_role("tab", name="Python")).to_be_focused()
        expect(page.locator("#code")).to_contain_text("import fal_client")
        tab_to(page, "Copy")
        keys.press("Enter")
        expect(page.locator("#copy")).to_have_text("Copied")
        assert "import fal_client" in page.evaluate("navigator.clipboard.readText()")
        tab_to(page, "Sign out", back=True)
        keys.press("Enter")
        expect(page.locator("#entrance")).to_be_visible()
        expect(page.locator("#entrance-title")).to_be_focused()
        alice.check()


def test_cancel_is_at_hand(browser: Browser, rig: Rig) -> None:
    """While a job runs Cancel has the focus, so one key stops it; then the focus is on what that led to."""
    gateway = playground(rig, rig.sandbox(replace(QUICK, run_seconds=15)))
    with visit(browser, gateway.parts.config.server.public_origin) as alice:
        alice.sign_in_with(token())
        alice.fill()
        alice.page.keyboard.press("Control+Enter")
        expect(alice.page.get_by_role("button", name="Cancel")).to_be_focused()
        expect(alice.page.locator("#line .now b")).to_have_text("Running")
        alice.page.keyboard.press("Enter")
        expect(alice.trouble()).to_contain_text("Cancelled")
        expect(alice.trouble()).to_be_focused()


def test_the_skip_link(browser: Browser, rig: Rig) -> None:
    """The first Tab shows it, and it leads past the header."""
    gateway = playground(rig, rig.sandbox())
    with visit(browser, gateway.parts.config.server.public_origin) as nobody:
        nobody.page.keyboard.press("Tab")
        link = nobody.page.get_by_role("link", name="Skip to the playground")
        expect(link).to_be_focused()
        box = link.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        nobody.page.keyboard.press("Enter")
        expect(nobody.page.locator("main")).to_be_focused()


def test_the_theme(browser: Browser, rig: Rig) -> None:
    """One button goes through system, light and dark, and the choice outlives the page."""
    gateway = playground(rig, rig.sandbox())
    ground = "getComputedStyle(document.body).backgroundColor"
    with visit(browser, gateway.parts.config.server.public_origin) as nobody:
        light = nobody.page.evaluate(ground)
        button = nobody.page.get_by_role("button", name="Colours")
        button.click()
        button.click()
        expect(button).to_have_accessible_name("Colours: dark")
        dark = nobody.page.evaluate(ground)
        nobody.page.reload()
        expect(nobody.page.get_by_role("button", name="Colours: dark")).to_be_visible()

        assert light != dark == nobody.page.evaluate(ground)
