"""The operator page in Chromium: figures of two workers, looks, filter, and stale data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from support.browser import SIZES, THEMES, Theme, Visit, judged
from support.budgets import Json
from support.budgets import Rig as Money
from support.gateway_process import PATIENCE, Rig
from support.operator_load import page_data, send_load, two_workers

from proxy.app.operator_page.ledger_view import MAX_AGE

SOON = PATIENCE * 1000  # milliseconds
LEDGER_SOON = SOON + MAX_AGE * 1000  # a slow ledger's report is used for longer


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """An event loop beside the browser's."""
    with Rig(tmp_path_factory.mktemp("operator")) as running:
        yield running


@pytest.fixture(scope="module")
def money(loop: Rig) -> Money:
    """Two workers that have answered, refused and failed requests."""
    running = loop.enter(two_workers(loop.home, show_users=True))
    loop.run(send_load(running))
    return running


@contextmanager
def operator(browser: Browser, money: Money, *, theme: Theme = "light") -> Iterator[Visit]:
    """The page, once it shows its first data."""
    context = browser.new_context(color_scheme=theme, reduced_motion="reduce", viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE * 1000)
    visiting = Visit(context.new_page(), money.gateway.admin)
    visiting.page.goto(f"{money.gateway.admin}/")
    expect(visiting.page.locator("#main")).to_have_attribute("aria-busy", "false", timeout=SOON)
    yield visiting
    context.close()


def figure(page: Page, name: str) -> str:
    """Returns the large number of a figure."""
    return page.locator(".figure", has=page.get_by_text(name, exact=True)).locator("b").inner_text()


def rows(page: Page, table: str) -> Locator:
    return page.get_by_role("table", name=table).get_by_role("row")


def metrics(loop: Rig, money: Money, name: str) -> int:
    return int(loop.run(money.gateway.metric(name)))


def test_figures_are_those_of_the_metrics(browser: Browser, loop: Rig, money: Money) -> None:
    """A page open under load shows the sums of both workers and of the ledger, and refusals by type."""
    with operator(browser, money) as visiting:
        page = visiting.page
        loop.run(send_load(money, rounds=10))
        total = metrics(loop, money, "fal_proxy_requests_total")
        expect(page.locator(".figure").first.locator("b")).to_have_text(f"{total:,}", timeout=SOON)
        expect(page.locator(".figure").nth(3).locator("b")).to_have_text("0", timeout=SOON)
        usage = loop.run(money.usage("user"))
        spend = f"{sum(row['used'] + row['reserved'] for row in usage.values()):g}"
        expect(page.locator(".figure").nth(2).locator("b")).to_have_text(spend, timeout=LEDGER_SOON)
        shown: Json = loop.run(page_data(money))
        refusals = page.locator("#refusals li")
        by_type = {row.locator(".share-name").inner_text(): row.locator("b").inner_text() for row in refusals.all()}

        assert by_type == {
            name: str(metrics(loop, money, f'fal_proxy_refusals_total{{error_type="{name}"')) for name in by_type
        }
        assert {"budget_exceeded", "job_not_found", "unauthenticated", "upstream_failed"} <= by_type.keys()
        assert figure(page, "Refused and failed") == str(sum(map(int, by_type.values())))
        assert shown["jobs"]["live"] == metrics(loop, money, "fal_proxy_ledger_open_jobs") == 0
        assert [worker["requests"] > 0 for worker in shown["workers"]] == [True, True]
        assert sum(worker["requests"] for worker in shown["workers"]) == total
        assert page.locator("#users").inner_text().split()[0] == "alice"
        visiting.check()


@pytest.mark.parametrize("theme", THEMES)
def test_looks(browser: Browser, money: Money, theme: Theme) -> None:
    """At each width the page needs no sideways scroll, and axe finds nothing."""
    with operator(browser, money, theme=theme) as visiting:
        page = visiting.page
        page.locator("#pause").click()
        for name, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            judged(visiting, f"operator-{name}-{theme}")
        page.get_by_label("Only what the file sets").uncheck()
        page.get_by_label("Last 24 hours").check(force=True)
        page.set_viewport_size({"width": 360, "height": 740})
        judged(visiting, f"operator-defaults-{theme}")
        visiting.check()


def test_the_filter_by_keyboard(browser: Browser, money: Money) -> None:
    """Keys alone reach the filter, narrow the list by text, outcome and operation, and reset it."""
    with operator(browser, money) as visiting:
        page = visiting.page
        text = page.get_by_label("Filter by reason, endpoint, user or request id")
        for _ in range(20):
            page.keyboard.press("Tab")
            if text.evaluate("node => node === document.activeElement"):
                break
        page.keyboard.type("BUDGET_exc")
        expect(rows(page, "Last requests").nth(1)).to_contain_text("budget_exceeded", timeout=SOON)
        found = int(page.locator("#shown").inner_text().split()[0])
        assert rows(page, "Last requests").get_by_text("402").count() == min(found, 25)

        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        expect(page.get_by_label("Answered", exact=True)).to_be_checked()
        expect(page.locator("#requests")).to_have_text("No request matches the filter.", timeout=SOON)
        page.keyboard.press("ArrowRight")
        expect(page.locator("#shown")).to_have_text(re.compile(rf"{found} of \d+"), timeout=SOON)
        page.keyboard.press("Tab")
        page.keyboard.type("status")
        expect(page.locator("#filter-action")).to_have_value("status")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#shown")).to_have_text(re.compile(r"(\d+) of \1$"), timeout=SOON)
        expect(page.get_by_label("All", exact=True)).to_be_checked()
        visiting.check()


def test_stale_data_is_marked(browser: Browser, money: Money) -> None:
    """A page that gets no answer keeps its figures, says so, and goes on when it can."""
    with operator(browser, money) as visiting:
        page = visiting.page
        before = figure(page, "Requests")
        page.route("**/operator/data.json", lambda route: route.abort())
        expect(page.locator("#stale")).to_have_text(
            re.compile(r"stale, of [\d:]+: the gateway does not answer"), timeout=SOON
        )
        expect(page.locator("#age")).to_have_text("Stale", timeout=SOON)
        assert figure(page, "Requests") == before
        visiting.screenshot("operator-stale")
        page.unroute("**/operator/data.json")
        expect(page.locator("#stale")).to_be_hidden(timeout=SOON)
        expect(page.locator("#age")).to_have_text("Live", timeout=SOON)
