"""Pictures of a page, and how a tab is to be: width, colours, files that are chosen."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

from tests.browser import Browser
from tests.programs import axe

NARROW, WIDE = 390, 1200
# What stands out of the window on the right, by its tag and class.
OUTSIDE = """[...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5)
    .map((one) => `${one.tagName}.${one.className}`)"""
RUN_AXE = """axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations.map((one) =>
    `${one.id}: ${one.help}: ${one.nodes.map((node) => node.html + ' ' + node.failureSummary).slice(0, 3).join(' | ')}`))"""


async def look_with(browser: Browser, width: int = WIDE, dark: bool = False) -> None:
    """The width of the window in px, and what the reader's system prefers."""
    size = {"width": width, "height": 844 if width == NARROW else 900, "deviceScaleFactor": 1}
    await browser.do("Emulation.setDeviceMetricsOverride", mobile=width == NARROW, **size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    await browser.do("Emulation.setEmulatedMedia", features=[scheme])


async def picture(browser: Browser, width: int, height: int) -> bytes:
    """A PNG of the page's beginning."""
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    taken = await browser.do("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
    return b64decode(taken["data"])


async def violations(browser: Browser) -> list[str]:
    """What axe says against the page as it is now."""
    await browser.value(f"{axe()}; 0")
    found: list[str] = await browser.value(RUN_AXE)
    return found


async def choose_file(browser: Browser, selector: str, file: Path) -> None:
    """Choose a file in a field."""
    root: Any = (await browser.do("DOM.getDocument"))["root"]["nodeId"]
    field = (await browser.do("DOM.querySelector", nodeId=root, selector=selector))["nodeId"]
    await browser.do("DOM.setFileInputFiles", files=[str(file)], nodeId=field)


def text_of(selector: str) -> str:
    """An expression: the text of the first element."""
    return f"(document.querySelector({json.dumps(selector)})?.innerText || '')"
