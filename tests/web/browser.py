"""A real browser that remembers what it complained about: errors on its console, and what the policy stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.needs import needs, needs_module

WATCH = (
    "document.addEventListener('securitypolicyviolation', e => console.error('policy', e.violatedDirective))"
)


class Browser:
    """One Chromium; `complaints` has what any of its pages said was wrong."""

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium
        self.complaints: list[str] = []

    async def page(self, **options: Any) -> Any:
        """A page in a context of its own: `viewport`, `color_scheme` and the like."""
        context = await self._chromium.new_context(**options)
        await context.add_init_script(WATCH)
        page = await context.new_page()
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """A browser until left."""
    needs_module("playwright", "pip install playwright")
    from playwright.async_api import async_playwright

    path = needs("chromium", "apt-get install chromium")
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield Browser(chromium)
        finally:
            await chromium.close()
