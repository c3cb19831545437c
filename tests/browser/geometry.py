"""Measure what of a view cannot be read where it stands: boxes beyond the screen, and texts beyond their boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTHS = (1440, 1280, 1024, 390)
NARROW = 600  # below, a wide table may scroll in its region
SLACK = 1.5  # pixels that fonts may lean over
_CLIPPED = """([slack, scrolls]) => {
    const screen = document.documentElement.clientWidth;
    const found = new Set();
    const name = (element) => {
        const text = (element.ariaLabel ?? element.textContent ?? "").trim().replace(/\\s+/g, " ").slice(0, 50);
        return `<${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}">${text}`;
    };
    if (document.documentElement.scrollWidth > screen) found.add("the page scrolls sideways");
    const shown = (element) => element.checkVisibility({ visibilityProperty: true })
        && !element.closest(".visually-hidden, .skip, option, [popover], script, style, noscript");
    const rooms = (from) => {  // what bounds it: of each element around it the box, and whether it scrolls
        const all = [];
        for (let up = from; up; up = up.parentElement) {
            const { overflowX, overflowY, display } = getComputedStyle(up);
            const box = up.getBoundingClientRect();
            const holds = /^(TD|TH|LI|DD|DT|BUTTON|FIGURE|SUMMARY)$/.test(up.tagName) || up.matches(".card");
            if (overflowX !== "visible" || overflowY !== "visible") {
                all.push([up, box, /auto|scroll/.test(overflowX + overflowY)]);
            } else if (holds && display !== "inline" && display !== "contents") all.push([up, box, false]);
        }
        return all;
    };
    const check = (element, box, from) => {
        if (box.width < 1 || box.height < 1) return;
        for (const [room, bound, scroller] of rooms(from)) {
            if (scroller) {
                const wide = room.scrollWidth > room.clientWidth + 1;
                if (scrolls || !wide || room.matches("pre, .map-box")) return;
                found.add(`${name(room)} scrolls sideways`);
                return;
            }
            if (box.left < bound.left - slack || box.right > bound.right + slack
                || box.top < bound.top - slack || box.bottom > bound.bottom + slack)
                found.add(`${name(element)} leaves ${name(room)}`);
        }
        if (box.left < -slack || box.right > screen + slack) found.add(`${name(element)} leaves the screen`);
    };
    for (const element of document.body.querySelectorAll("*")) {
        if (!shown(element)) continue;
        if (element.matches("button, .button, input, select, textarea, progress, img, canvas, table, meter"))
            check(element, element.getBoundingClientRect(), element.parentElement);
        if (element.matches("canvas, .uplot *, svg *, textarea, select")) continue;
        for (const node of element.childNodes) {
            if (node.nodeType !== Node.TEXT_NODE || !node.data.trim()) continue;
            const range = document.createRange();
            range.selectNodeContents(node);
            for (const box of range.getClientRects()) check(element, box, element);
        }
    }
    return [...found];
}"""


def clipped(page: Page, width: int) -> list[str]:
    """Set the window's width; return what is clipped then."""
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return list(page.evaluate(_CLIPPED, [SLACK, width < NARROW]))
