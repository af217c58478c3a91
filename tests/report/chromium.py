"""A page in headless Chromium on one screen and in one theme: what loads, what sticks out, how it looks."""

import base64
from pathlib import Path

from tests.helpers.browser import Browser

# Sounds may begin without a click in no browser, but their metadata must be there.
_LOADED = """
return document.readyState === 'complete'
  && [...document.images].every(image => image.complete)
  && [...document.querySelectorAll('audio')].every(audio => audio.readyState >= 1 || audio.error)
"""
_SOUNDS = "return [...document.querySelectorAll('audio')].map(audio => audio.error ? -1 : audio.duration)"
_PICTURES = "return [...document.images].map(image => image.naturalWidth)"
_SMALLEST_TEXT = """
let smallest = 99;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  const shown = !['SCRIPT', 'STYLE'].includes(node.tagName) && node.checkVisibility();
  if (!shown || !walker.currentNode.nodeValue.trim()) continue;
  smallest = Math.min(smallest, parseFloat(getComputedStyle(node).fontSize));
}
return smallest
"""
_STICKING_OUT = """
const width = document.documentElement.clientWidth, out = [];
for (const node of document.querySelectorAll('body *')) {
  const box = node.getBoundingClientRect();
  if (box.right > width + 1 && !node.closest('.scroll, .contents, .hidden')) out.push(node.className || node.tagName);
}
return out
"""


class Viewer:
    """One browser window on a local page."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    def show(self, page: Path, width: int, theme: str = "light", height: int = 844) -> None:
        """Open a file at a width and in a theme, and wait until its sounds and pictures are there."""
        self.screen(width, theme, height)
        self.browser.ask("POST", f"/session/{self.browser.session}/url", {"url": page.resolve().as_uri()})
        self.browser.wait(_LOADED)

    def screen(self, width: int, theme: str = "light", height: int = 844) -> None:
        """The screen on which pages are opened from now on; a narrow one is a phone's."""
        phone = width < 600
        self.browser.command(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone},
        )
        self.browser.command(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        )

    def sounds(self) -> list[float]:
        """Duration of every audio element in seconds; -1 where it cannot be played."""
        return [float(value) for value in self.browser.run(_SOUNDS)]

    def pictures(self) -> list[int]:
        """Natural width of every picture in pixels; 0 where it did not load."""
        return [int(value) for value in self.browser.run(_PICTURES)]

    def smallest_text(self) -> float:
        """Computed size of the smallest text that is shown, in pixels."""
        return float(self.browser.run(_SMALLEST_TEXT))

    def sideways(self) -> tuple[int, list[str]]:
        """By how many pixels the page scrolls sideways, and what sticks out of it."""
        root = "document.documentElement"
        return int(self.browser.run(f"return {root}.scrollWidth - {root}.clientWidth")), self.browser.run(_STICKING_OUT)

    def complaints(self) -> list[str]:
        """What the console says since the last call: errors and warnings, refused loads among them."""
        lines = self.browser.ask("POST", f"/session/{self.browser.session}/se/log", {"type": "browser"})
        return [line["message"] for line in lines if line["level"] in ("SEVERE", "WARNING")]

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG."""
        size = self.browser.command("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        made = self.browser.command(
            "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True, "clip": clip}
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(made["data"]))
