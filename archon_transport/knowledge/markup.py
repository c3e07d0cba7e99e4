"""HTML to marked Markdown: the main part of a page, without what surrounds it.

What API documentation says in definition lists (a function, a class, an option, a term) becomes a heading
with its qualified name, so that each is found by itself; `chunk` explains the marks. No escapes, which are
noise to a search; links within a site are kept as their words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .chunk import MARK, Mark, fenced, unmarked

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

MAX_LINKS = 5_000

_DROPPED = {"script", "style", "noscript", "template", "iframe", "svg", "form", "button", "nav"}
_NOISE = {"headerlink", "anchor-link", "hash-link", "toctree-wrapper", "sphinxsidebar"}
_ASIDES = {"sidebar", "footnote", "admonition"}
"""Classes of an `aside` that is a part of the text."""

_MAIN = ("[role=main]", "main", "article", "div.body", "#content", "body")
_LANGUAGE = re.compile(r"(?:highlight|language|lang)-([\w+#.-]+)")
_LANGUAGES = {"python3": "python", "py": "python", "default": "", "none": "", "text": "", "sh": "bash"}


@dataclass(frozen=True, slots=True)
class Marked:
    """A page as marked Markdown: `trail` is its place in its site, `linked` counts characters of links."""

    title: str
    markdown: str
    trail: list[str]
    marks: list[Mark]
    links: list[str]
    linked: int


def read(body: bytes, charset: str | None, title: str) -> Marked:
    """The main part of a page; `title` is what to call it when it does not say."""
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    soup = BeautifulSoup(body, "html.parser", from_encoding=charset)
    links = [str(a["href"]) for a in soup.find_all("a", href=True, limit=MAX_LINKS)]
    trail = [_words(a) for a in _trail(soup)]
    main = next((found for name in _MAIN if (found := soup.select_one(name))), soup)
    for pre in main.find_all("pre"):  # first: highlighted code is most of the tags of many pages
        pre["data-language"] = _language(pre)
        pre.string = pre.get_text()
    for tag in main.find_all(_unwanted if main.name not in ("body", "[document]") else _unwanted_around):
        tag.decompose()
    linked = sum(len(a.get_text()) for a in main.find_all("a", href=True))
    for a in main.find_all("a"):
        if not str(a.get("href", "")).startswith(("http://", "https://")):
            a.unwrap()
    title = _words(main.find("h1")) or re.split(r"\s+[—|·–]\s+", _words(soup.title))[0] or title
    marks = _Marks(soup)
    marks.headings(main)
    markdown = _converter(MarkdownConverter).convert_soup(main)
    trail = [each for each in trail[1:] if each and each != title][-2:]
    return Marked(title, markdown, trail, marks.made, links, linked)


def _words(tag: Tag | None) -> str:
    """The words of a heading or a link in one line."""
    return " ".join(unmarked(tag.get_text(" ").replace("\xb6", "")).split()) if tag is not None else ""


def _unwanted(tag: Tag) -> bool:
    """Whether a tag is no part of the text wherever it stands."""
    classes = tag.get("class") or ()
    if tag.name == "aside":
        return not _ASIDES.intersection(classes)
    named = tag.name in _DROPPED or tag.get("role") == "navigation" or tag.has_attr("hidden")
    return named or bool(_NOISE.intersection(classes))


def _unwanted_around(tag: Tag) -> bool:
    """Whether a tag is no part of the text in a page that does not say where its main part is."""
    return tag.name in ("header", "footer") or _unwanted(tag)


def _trail(soup: BeautifulSoup) -> list[Tag]:
    """The links of a page's breadcrumb navigation, from the site's root down."""
    first = soup.select_one(
        "div.related, nav[aria-label*=readcrumb], [role=navigation][aria-label*=readcrumb]"
    )
    if first is None:
        return []
    return list(first.select("li[class*=nav-item-] a" if "related" in (first.get("class") or []) else "a"))


def _language(pre: Tag) -> str:
    code = pre.find("code")
    places = [pre, *([code] if code else []), *list(pre.parents)[:2]]
    for place in places:
        for name in place.get("class") or []:
            if found := _LANGUAGE.fullmatch(name):
                return _LANGUAGES.get(found[1].lower(), found[1].lower())
    return ""


class _Marks:
    """Puts marks on headings, and makes headings of what is documented in definition lists."""

    def __init__(self, soup: BeautifulSoup) -> None:
        self._soup = soup
        self.made: list[Mark] = []

    def headings(self, main: Tag) -> None:
        """Mark everything in `main`, in the order of the page."""
        level = 1
        for tag in main.find_all(["h1", "h2", "h3", "h4", "h5", "h6", "dl"]):
            if tag.name == "dl":
                self._definitions(tag, level)
                continue
            level = int(tag.name[1])
            anchor = str(tag.get("id") or (tag.parent.get("id") if tag.parent else "") or "")
            symbol = anchor.removeprefix("module-")
            known = symbol != anchor or re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", anchor)
            self._mark(tag, Mark(level, anchor, _words(tag), (symbol,) if known else ()))

    def _mark(self, tag: Tag, mark: Mark) -> None:
        tag.insert(0, MARK.format(len(self.made)))
        self.made.append(mark)

    def _definitions(self, dl: Tag, level: int) -> None:
        terms = [each for each in dl.find_all("dt", recursive=False) if each.get("id")]
        if not terms:
            return
        depth = level + 1 + len(dl.find_parents(attrs={"data-level": True}))
        dl["data-level"] = "1"
        last: Tag | None = None
        for each in dl.find_all(["dt", "dd"], recursive=False):
            if each.name == "dt" and each.get("id"):
                last = self._define(each, depth, last)
            elif each.name == "dd":
                each.name, last = "div", None
        dl.name = "div"
        end = self._soup.new_tag("p")
        dl.insert_after(end)
        self._mark(end, Mark(depth))

    def _define(self, dt: Tag, level: int, together: Tag | None) -> Tag:
        """A term as a heading; one that shares its text with the term before it is named with that."""
        name = dt.select_one(".descname, .sig-name")
        text = " ".join(dt.get_text("" if name else " ").replace("\xb6", "").split())
        anchor = str(dt["id"])
        dotted = name is not None and anchor.endswith(name.get_text()) and "-" not in anchor
        symbol = anchor if dotted else (name or dt).get_text().strip()
        dt.clear()
        code = self._soup.new_tag("code")
        code.string = text
        dt.append(code)
        if together is not None:
            number = int(re.findall("\ue000(\\d+)\ue001", together.get_text())[0])
            mark = self.made[number]
            self.made[number] = Mark(mark.level, mark.anchor, mark.title, (*mark.symbols, symbol))
            dt.name = "p"
            return together
        dt.name = f"h{min(level, 6)}"
        self._mark(dt, Mark(level, anchor, symbol, (symbol,)))
        return dt


def _converter(base: Callable[..., Any]) -> Any:
    """The converter: no escapes, which are noise to a search, and fences that hold what is in them."""

    def pre(tag: Tag, text: str, parent_tags: object) -> str:
        code = tag.get_text().strip("\n")
        return f"\n\n{fenced(code, str(tag.get('data-language', '')))}\n\n" if code.strip() else ""

    def image(tag: Tag, text: str, parent_tags: object) -> str:
        return str(tag.get("alt") or "")

    converter = base(
        heading_style="ATX", bullets="-", escape_asterisks=False, escape_underscores=False, escape_misc=False
    )
    converter.convert_pre, converter.convert_img = pre, image
    return converter
