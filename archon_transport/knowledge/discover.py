"""Where the documents of a source are: files under a folder, the pages that a sitemap or an llms.txt lists,
and which links of a page a crawl follows.

A sitemap is hostile until read: no document type, so no entities, and bounds on size, depth and entries.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.parsers import expat

from .fetch import MAX_BYTES, Fetched, FetchError
from .kinds import is_navigation, kind_of, suffix_of

MAX_ENTRIES = 50_000
MAX_SITEMAPS = 50
MAX_FILES = 100_000

_FOLDERS = {
    *("node_modules", "__pycache__", "site-packages", "venv"),
    *("_static", "_sources", "_images", "_downloads", "_modules"),
}
"""Folders of what programs made, or of the same text once more; what begins with a dot is left out too."""


def files_under(root: Path) -> tuple[list[str], Counter[str]]:
    """The documents under a folder, as file URLs in order, and how many files were left out, by reason."""
    found: list[str] = []
    left: Counter[str] = Counter()
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in _FOLDERS and not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            url = (Path(folder) / name).as_uri()
            if kind_of(url) is None:
                left[f"no text is taken from this kind of file ({suffix_of(url) or name})"] += 1
            elif is_navigation(url):
                left["an index or a search page"] += 1
            else:
                found.append(url)
        if len(found) > MAX_FILES:
            raise FetchError(f"more than {MAX_FILES:,} files in one folder")
    return found, left


def is_sitemap(url: str) -> bool:
    """Whether a URL is that of a sitemap."""
    path = urlsplit(url).path.removesuffix(".gz")
    return path.endswith(".xml") and "sitemap" in path.rpartition("/")[2]


def is_list(url: str) -> bool:
    """Whether a URL is that of an llms.txt, whose links are the documents."""
    return urlsplit(url).path.endswith("/llms.txt")


def scope(url: str) -> tuple[str, str]:
    """What a crawl that starts at `url` stays in: the host, and the folder."""
    parts = urlsplit(url)
    return (parts.hostname or "").removeprefix("www."), parts.path.rpartition("/")[0] + "/"


def within(links: Iterable[str], scopes: Iterable[tuple[str, str]]) -> list[str]:
    """The links that lead to documents in one of the scopes."""
    scopes = tuple(scopes)
    found = []
    for link in links:
        try:
            parts = urlsplit(link)
            host = (parts.hostname or "").removeprefix("www.")
        except ValueError:
            continue
        suffix = "." in parts.path.rpartition("/")[2]
        wanted = parts.scheme in ("http", "https") and (not suffix or kind_of(link) or _is_page(parts.path))
        if wanted and any(host == each and parts.path.startswith(folder) for each, folder in scopes):
            found.append(link)
    return found


def _is_page(path: str) -> bool:
    return path.rpartition(".")[2].lower() in ("php", "asp", "aspx", "jsp") or path[-1:].isdigit()


async def listed(url: str, fetch: Callable[[str], Awaitable[Fetched | None]]) -> list[str]:
    """The pages that a sitemap lists, through the sitemaps that it lists, on its own host.

    Raises:
        FetchError: one of them cannot be had or read.
    """
    pages: dict[str, None] = {}
    waiting, asked = [url], {url}
    host = scope(url)[0]
    while waiting:
        fetched = await fetch(waiting.pop(0))
        if fetched is None:
            continue
        is_index, locations = entries(fetched.body)
        near = [each for each in locations if scope(each)[0] == host]
        if not is_index:
            pages.update(dict.fromkeys(near))
        elif len(asked) + len(near) > MAX_SITEMAPS:
            raise FetchError(f"more than {MAX_SITEMAPS} sitemaps in one")
        else:
            waiting += [each for each in near if each not in asked]
            asked.update(near)
        if len(pages) > MAX_ENTRIES:
            raise FetchError(f"more than {MAX_ENTRIES:,} pages in one sitemap")
    return list(pages)


def entries(body: bytes) -> tuple[bool, list[str]]:
    """The locations that a sitemap names, and whether they are sitemaps themselves.

    Raises:
        FetchError: it is no sitemap, or a hostile one.
    """
    if body[:2] == b"\x1f\x8b":
        unpacker = zlib.decompressobj(wbits=31)
        body = unpacker.decompress(body, MAX_BYTES)
        if unpacker.unconsumed_tail:
            raise FetchError("a sitemap that unpacks to more than may be read of one document")
    found: list[str] = []
    names: list[str] = []
    text: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        names.append(name.rpartition(":")[2])
        text.clear()
        if len(names) > 10:
            raise FetchError("a sitemap that is nested too deeply")

    def end(name: str) -> None:
        if names[-2:] in (["url", "loc"], ["sitemap", "loc"]):
            found.append("".join(text).strip())
        kinds.add(names.pop())

    def doctype(*_: object) -> None:
        raise FetchError("a sitemap with a document type, which may hold entities, is not read")

    kinds: set[str] = set()
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text.append, doctype
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise FetchError(f"not a sitemap: {error}") from None
    if not kinds & {"urlset", "sitemapindex"}:
        raise FetchError("not a sitemap: it has neither urlset nor sitemapindex")
    return "sitemapindex" in kinds, found[: MAX_ENTRIES + 1]


def local(url: str) -> Path:
    """The path that a file URL names."""
    return Path(unquote(urlsplit(url).path))
