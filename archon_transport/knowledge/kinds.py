"""What a document is, by its name and its type: Markdown, text, HTML, PDF, docx, source code, or not read."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

_SUFFIXES = {
    "markdown": "md markdown mdx",
    "text": "txt text rst",
    "html": "html htm xhtml",
    "pdf": "pdf",
    "docx": "docx",
}
_CODE = {
    "python": "py pyi",
    "javascript": "js mjs",
    "typescript": "ts",
    "jsx": "jsx",
    "tsx": "tsx",
    "go": "go",
    "rust": "rs",
    "java": "java",
    "kotlin": "kt",
    "c": "c h",
    "cpp": "cc cpp hpp",
    "csharp": "cs",
    "ruby": "rb",
    "php": "php",
    "swift": "swift",
    "bash": "sh bash",
    "sql": "sql",
    "lua": "lua",
    "perl": "pl",
    "yaml": "yaml yml",
    "toml": "toml",
    "json": "json",
    "ini": "ini cfg",
    "css": "css",
    "hcl": "tf",
    "protobuf": "proto",
    "graphql": "graphql",
    "vue": "vue",
    "svelte": "svelte",
    "elixir": "ex exs",
    "r": "r",
}
_BY_SUFFIX = {suffix: kind for kind, names in _SUFFIXES.items() for suffix in names.split()} | {
    suffix: f"code:{language}" for language, names in _CODE.items() for suffix in names.split()
}
_BY_TYPE = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "text/markdown": "markdown",
}
_NAVIGATION = re.compile(r"(genindex.*|search|py-modindex|contents|modindex|searchindex)\.(html?|js)")


def suffix_of(url: str) -> str:
    """The suffix of a URL's path, without its dot and in small letters."""
    return PurePosixPath(urlsplit(url).path).suffix.lower().lstrip(".")


def kind_of(url: str, content_type: str = "") -> str | None:
    """What a document is; `code:LANGUAGE` for source; None for what is not read."""
    if content_type in _BY_TYPE:
        return _BY_TYPE[content_type]
    if content_type.startswith(("image/", "audio/", "video/", "font/")):
        return None
    return _BY_SUFFIX.get(suffix_of(url)) or ("text" if content_type.startswith("text/") else None)


def is_navigation(url: str) -> bool:
    """Whether the name is that of an index or a search page that a documentation tool makes."""
    return _NAVIGATION.fullmatch(PurePosixPath(urlsplit(url).path).name) is not None
