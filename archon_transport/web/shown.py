"""How values are shown: times, durations, sizes, and texts that a client sent.

Nothing here makes markup out of a client's text: templates escape it, `shown` only takes out what no
page can show and cuts what is too long to read.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape


def shown(text: object, length: int = 200) -> str:
    """A client's text without control characters, cut."""
    cut = "" if text is None else str(text)[: length + 1]
    clean = "".join(
        c if unicodedata.category(c) not in ("Cc", "Cs") else " " if c in "\t\r\n" else "\ufffd" for c in cut
    )
    return clean if len(clean) <= length else clean[:length] + "…"


def said(text: object, length: int = 200) -> Markup:
    """A client's text in an element of its own, so that its direction stays inside."""
    return Markup("<bdi>{}</bdi>").format(shown(text, length))


def code(text: str) -> Markup:
    """Escaped, with what stands in backticks as code."""
    parts = str(escape(shown(text, 1000))).split("`")
    if len(parts) % 2 == 0:
        return Markup("`".join(parts))  # noqa: S704 - escaped above
    marked = (f"<code><bdi>{part}</bdi></code>" if i % 2 else part for i, part in enumerate(parts))
    return Markup("".join(marked))  # noqa: S704 - escaped above


def ago(at: datetime | None) -> Markup:
    """A time as how long ago it was; the exact one when pointed at."""
    if at is None:
        return Markup('<span class="none">–</span>')
    exact = at.astimezone(UTC)
    seconds = (datetime.now(UTC) - exact).total_seconds()
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        exact.isoformat(),
        exact.strftime("%Y-%m-%d %H:%M:%S UTC"),
        span(seconds) + " ago" if seconds >= 1 else "now",
    )


def span(seconds: float | None) -> str:
    """A length of time in its largest unit."""
    if seconds is None:
        return "–"
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{int(seconds // unit)} {name}"
    return f"{max(int(seconds), 0)} s"


def ms(value: float | None) -> str:
    """A duration in milliseconds, in seconds where it is long."""
    if value is None:
        return "–"
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.0f} ms"


def size(value: int | None) -> str:
    """Bytes in a unit that one reads."""
    if value is None:
        return "–"
    amount = float(value)
    for unit in ("B", "KB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def number(value: float | None) -> str:
    """A count with its thousands apart."""
    return "–" if value is None else f"{value:,.0f}".replace(",", "\u202f")


def environment(**names: Any) -> Environment:
    """The templates with these filters; a name that a template has and nobody gave is an error."""
    made = Environment(
        loader=PackageLoader("archon_transport.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (shown, said, code, ago, span, ms, size, number)
    made.filters.update({function.__name__: function for function in filters})
    made.globals.update(names)
    return made
