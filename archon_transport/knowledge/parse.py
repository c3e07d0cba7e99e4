"""One document to pages with chunks and code examples; runs in a process of its own (`readers`).

`read` decides by type what a document is and turns it into Markdown: HTML by its main part, PDF and docx by
their libraries, source code as it is. What cannot be read is an `Unreadable` that says why. Documents come
from strangers: sizes are bounded here, time and memory by the process.
"""

from __future__ import annotations

import io
import logging
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote, urljoin, urlsplit

from . import markup
from .chunk import (
    MARK,
    Chunk,
    Example,
    Mark,
    blocks,
    chunks,
    code_sections,
    examples,
    fenced,
    sections,
    unmarked,
)
from .fetch import Fetched
from .kinds import is_navigation, kind_of, suffix_of
from .markup import MAX_LINKS

MAX_TEXT = 5_000_000
"""Characters of text that are taken from one document."""

MAX_LINE = 100_000
"""Characters of one line of text or code; a longer one was made by a program for a program."""

MAX_UNPACKED = 100 * 2**20
MAX_PDF_PAGES = 5_000


class Unreadable(Exception):
    """Why no page comes of a document; `skipped` says that it is no fault of the document."""

    def __init__(self, reason: str, skipped: bool = False) -> None:
        super().__init__(reason, skipped)
        self.reason = reason
        self.skipped = skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page as it is stored."""

    url: str
    title: str
    content: str
    section_title: str | None = None
    section_order: int = 0
    chunks: list[Chunk] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)


@dataclass(slots=True)
class Document:
    """What came of one document. `links` are where it leads, also when no page is worth keeping."""

    pages: list[Page] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    skipped: str | None = None


@dataclass(slots=True)
class _Text:
    """A document as marked Markdown."""

    title: str
    markdown: str
    trail: list[str] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)


def read(fetched: Fetched, title: str | None = None) -> Document:
    """The pages of a document; `title` is what to call it when it does not say.

    Raises:
        Unreadable: with the reason.
    """
    kind = kind_of(fetched.url, fetched.content_type)
    if kind is None:
        name = suffix_of(fetched.url) or fetched.content_type or "no type"
        raise Unreadable(f"no text is taken from this kind of file ({name})", True)
    if not fetched.body.strip():
        raise Unreadable("empty", True)
    title = title or unquote(PurePosixPath(urlsplit(fetched.url).path).name) or fetched.url
    try:
        return _read(kind, fetched, title)
    except RecursionError:
        raise Unreadable("nested too deeply") from None
    except MemoryError:
        raise Unreadable("reading it takes more memory than one document may have") from None


def _read(kind: str, fetched: Fetched, title: str) -> Document:
    if kind == "html":
        return _read_html(fetched, title)
    if kind in ("pdf", "docx"):
        text = {"pdf": _pdf, "docx": _docx}[kind](fetched.body, title)
        return Document([_page(fetched.url, text)])
    raw = decoded(fetched)
    if kind.startswith("code:"):
        language = kind.removeprefix("code:")
        found = chunks(code_sections(raw, language, title))
        return Document([Page(url=fetched.url, title=title, content=fenced(raw, language), chunks=found)])
    raw = _underlined(raw)
    document = Document(links=markdown_links(fetched.url, raw))
    if fetched.url.endswith("/llms-full.txt"):
        document.pages = _split(fetched.url, raw, title)
    else:
        document.pages = [_page(fetched.url, _Text(_first_heading(raw) or title, raw))]
    return document


def decoded(fetched: Fetched) -> str:
    """The text of a document.

    Raises:
        Unreadable: it is no text, or too much.
    """
    body = fetched.body
    encodings = (
        ["utf-16"] if body[:2] in (b"\xff\xfe", b"\xfe\xff") else [fetched.charset, "utf-8-sig", "cp1252"]
    )
    for encoding in filter(None, encodings):
        try:
            text = body.decode(encoding).replace("\r\n", "\n")
            break
        except (UnicodeDecodeError, LookupError):
            continue
    else:
        raise Unreadable("not text: it looks binary")
    if sum(text.count(chr(code)) for code in (*range(9), *range(14, 27), *range(28, 32))):
        raise Unreadable("not text: it looks binary")
    if (longest := max(map(len, text.splitlines()), default=0)) > MAX_LINE:
        raise Unreadable(f"a line of {longest:,} characters: at most {MAX_LINE:,} are read as text")
    return _bounded(text)


def _bounded(text: str) -> str:
    """The text, as Postgres can store it.

    Raises:
        Unreadable: it is too much.
    """
    if len(text) > MAX_TEXT:
        raise Unreadable(
            f"{len(text):,} characters of text: at most {MAX_TEXT:,} are taken from one document"
        )
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _page(url: str, text: _Text, section_title: str | None = None, order: int = 0) -> Page:
    title, markdown = _bounded(text.title), _bounded(text.markdown)
    found = sections(markdown, title, text.trail, text.marks)
    content = unmarked(markdown)
    if not content:
        raise Unreadable("no text in it", True)
    return Page(
        url=url,
        title=title,
        content=content,
        section_title=section_title,
        section_order=order,
        chunks=chunks(found),
        examples=examples(found),
    )


def _split(url: str, raw: str, title: str) -> list[Page]:
    """One page for each H1 of an llms-full.txt; what stands before the first is a page too."""
    parts: list[tuple[str | None, list[str]]] = [(None, [])]
    for block in blocks(raw):
        if block.startswith("# "):
            parts.append((block, []))
        parts[-1][1].append(block)
    pages = []
    for order, (heading, given) in enumerate(part for part in parts if part[1]):
        name = heading.lstrip("# ").strip() if heading else title
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
        text = _Text(name, "\n\n".join(given))
        pages.append(_page(f"{url}#section-{order}-{slug}", text, heading or name, order))
    return pages


def _underlined(text: str) -> str:
    """Headings that are written as a line under the words, as Markdown and reStructuredText have them."""
    marks = "=-~^"

    def hashed(found: re.Match[str]) -> str:
        level = marks.index(found[2][0]) + 1
        return f"{'#' * level} {found[1]}\n" if len(found[2]) >= min(len(found[1]), 3) else found[0]

    return re.sub(
        r"^(?![#>|`\-\s])([^\n]{1,200})\n(={3,}|-{3,}|~{3,}|\^{3,})[ \t]*$", hashed, text, flags=re.M
    )


def _first_heading(markdown: str) -> str | None:
    heading = next((block for block in blocks(markdown) if block.startswith("# ")), None)
    return heading[2:].strip() if heading else None


def markdown_links(url: str, text: str) -> list[str]:
    """Where Markdown leads, as absolute URLs."""
    found = re.findall(r"\]\(<?([^)\s>]+)", text)[:MAX_LINKS]
    return list(dict.fromkeys(_absolute(url, link) for link in found))


def _absolute(url: str, link: str) -> str:
    try:
        return urljoin(url, link).partition("#")[0]
    except ValueError:
        return ""


def _pdf(body: bytes, title: str) -> _Text:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = PdfReader(io.BytesIO(body))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("a PDF with a password")
        texts = [page.extract_text() for page in reader.pages[:MAX_PDF_PAGES]]
        named = reader.metadata.title if reader.metadata else None
    except (PyPdfError, ValueError, TypeError, KeyError, AttributeError, IndexError, OSError) as error:
        raise Unreadable(f"not a PDF that can be read: {error}") from None
    parts: list[str] = []
    marks: list[Mark] = []
    for number, text in enumerate(texts, 1):
        if text.strip():
            parts.append(f"## {MARK.format(len(marks))}Page {number}\n\n{text.strip()}")
            marks.append(Mark(2, f"page={number}"))
    if not parts:
        raise Unreadable("a PDF without text (scanned pages?)")
    return _Text(named or title, "\n\n".join(parts), marks=marks)


def _docx(body: bytes, title: str) -> _Text:
    import mammoth

    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            if sum(each.file_size for each in archive.infolist()) > MAX_UNPACKED:
                raise Unreadable("it unpacks to more than may be read of one document")
        html = mammoth.convert_to_html(
            io.BytesIO(body), convert_image=mammoth.images.img_element(lambda image: {"src": ""})
        ).value
    except (zipfile.BadZipFile, KeyError, ValueError, AttributeError, OSError) as error:
        raise Unreadable(f"not a docx that can be read: {error}") from None
    text = markup.read(html.encode(), "utf-8", title)
    return _Text(text.title, text.markdown, marks=text.marks)


def _read_html(fetched: Fetched, title: str) -> Document:
    found = markup.read(fetched.body, fetched.charset, title)
    document = Document(links=list(dict.fromkeys(_absolute(fetched.url, link) for link in found.links)))
    words = len(unmarked(found.markdown))
    if is_navigation(fetched.url):
        document.skipped = "an index or a search page"
    elif found.linked and words - found.linked < max(80, found.linked // 4):
        document.skipped = "a page of links"
    elif not words:
        document.skipped = "no text in it"
    else:
        document.pages = [_page(fetched.url, _Text(found.title, found.markdown, found.trail, found.marks))]
    return document
