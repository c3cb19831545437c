"""Signing in and out in a real browser, which adds headers of its own to what a form sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.browser.conftest import SECONDS, new_link
from tests.browser.geometry import WIDTHS, clipped
from tests.e2e.conftest import Up

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_sign_in_by_key_or_link_and_sign_out(browser: Browser, up: Up) -> None:
    """Neither key nor code stay in the address; a link clicked again leads to the page, or says that it ended."""
    context = browser.new_context()
    context.set_default_timeout(SECONDS * 1000)
    page = context.new_page()
    page.goto(up.url)
    page.get_by_label("Key").fill(up.key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Sign out").wait_for()
    assert page.url == f"{up.url}/"
    (cookie,) = context.cookies()
    assert up.key not in cookie["value"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Key").wait_for()
    assert context.cookies() == []
    link = up.adamss("link").stdout.strip()
    for _ in range(2):
        page.goto(link)
        page.get_by_role("button", name="Sign out").wait_for()
        assert page.url == f"{up.url}/"
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Key").wait_for()
    page.goto(link)
    page.get_by_text("This link was used already").wait_for()
    context.close()


def test_what_was_asked_for_is_there_after_signing_in(browser: Browser, up: Up) -> None:
    """The docs by their path, a view by what stands after #, which no server sees. The form fits every screen."""
    context = browser.new_context()
    context.set_default_timeout(SECONDS * 1000)
    page = context.new_page()
    for address, there in (("/#/models?x=1", "h1:text-is('Models')"), ("/docs", "#swagger-ui .info")):
        context.clear_cookies()
        page.goto("about:blank")
        page.goto(up.url + address)
        for width in WIDTHS:
            assert clipped(page, width) == [], width
        page.get_by_label("Key").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("The key is not valid").wait_for()
        places = page.evaluate("history.length")
        page.get_by_label("Key").fill(up.key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_selector(there)
        assert page.url == up.url + address
        assert page.evaluate("history.length") == places
        page.go_back()
        page.wait_for_url("about:blank")
    context.close()


def test_a_session_that_ends_leads_to_sign_in_and_back(browser: Browser, up: Up, job: dict[str, Any]) -> None:
    """By a link, too. A new job that is being written stays as it is."""
    context = browser.new_context()
    context.set_default_timeout(SECONDS * 1000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(new_link(up))
    page.wait_for_selector("h1:text-is('Jobs')")
    page.goto(f"{up.url}/#/new")
    page.fill("#field-name", "half written")
    context.clear_cookies()
    page.fill("#field-name", "half written, no")
    page.get_by_text("Your session has ended.").wait_for()
    assert page.input_value("#field-name") == "half written, no"
    page.goto(f"{up.url}/#/workers")  # the view asks, is told, and reloads itself: a reload from here would race it
    page.get_by_label("Key").fill(up.key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("h1:text-is('Workers')")
    context.clear_cookies()
    page.get_by_label("Key").wait_for()  # the view asks again in some seconds, and is told
    page.goto(new_link(up))
    page.wait_for_selector("h1:text-is('Workers')")
    assert page.url == f"{up.url}/#/workers"
    assert errors == []
    context.close()


def test_sign_in_link_on_another_site(browser: Browser, up: Up) -> None:
    """As in a chat: the browser sends no cookie of ours with the click. Going back leads there, not to the link."""
    chat = "http://chat.example/"
    link = up.adamss("link").stdout.strip()
    context = browser.new_context()
    context.set_default_timeout(SECONDS * 1000)
    context.route(chat, lambda route: route.fulfill(content_type="text/html", body=f'<a href="{link}">come</a>'))
    page = context.new_page()
    for _ in range(2):
        page.goto(chat)
        places = page.evaluate("history.length")
        page.get_by_role("link", name="come").click()
        page.get_by_role("button", name="Sign out").wait_for()
        assert page.url == f"{up.url}/"
        assert page.evaluate("history.length") == places + 1
    context.close()
