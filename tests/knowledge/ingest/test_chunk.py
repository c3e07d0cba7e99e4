"""Documents to chunks, without a database and without a process."""

from __future__ import annotations

import pytest

from archon_transport.knowledge.chunk import (
    FENCE_CAP,
    TARGET,
    chunks,
    code_sections,
    examples,
    fenced,
    sections,
)
from archon_transport.knowledge.fetch import Fetched
from archon_transport.knowledge.parse import Page, Unreadable, read

API = b"""
<html><head><title>asyncio - docs</title></head><body>
<div class="related"><ul><li class="nav-item-0"><a href="i">Docs</a></li>
<li class="nav-item-1"><a href="l">Library</a></li></ul></div>
<nav>Menu <a href="other.html">other</a></nav>
<main><h1 id="module-asyncio">asyncio<a class="headerlink" href="#x">&para;</a></h1><p>Concurrent code.</p>
<section id="groups"><h2>Task groups</h2><p>Words of the section.</p>
<dl class="py class"><dt class="sig" id="asyncio.TaskGroup"><em>class </em><span class="descclassname">asyncio.</span><span
class="sig-name descname">TaskGroup</span></dt><dd><p>Holds tasks.</p>
<dl class="py method"><dt class="sig" id="asyncio.TaskGroup.create_task"><span class="sig-name descname">create_task</span>(coro)
</dt><dd><p>%s</p><div class="highlight-python3"><pre><span>async</span> with TaskGroup() as tg:
    # Not a heading
    tg.create_task(work())</pre></div></dd></dl></dd></dl>
<p>Back in the section, with <code>__init__</code> and a_b_c.</p></section></main><footer>foot</footer></body></html>
""" % (b"Create a task in this group. " * 12)


def page(markdown: str, name: str = "p.md") -> Page:
    (found,) = read(Fetched(url=f"file:///{name}", body=markdown.encode())).pages
    return found


def test_a_documented_name_is_found_under_its_path():
    """A definition is a section with its qualified name; what follows it belongs to the section again."""
    (found,) = read(Fetched(url="http://h/asyncio.html", body=API, content_type="text/html")).pages
    assert found.title == "asyncio"
    paths = {chunk.path: chunk for chunk in found.chunks}
    method = paths["Library", "asyncio", "Task groups", "asyncio.TaskGroup", "asyncio.TaskGroup.create_task"]
    assert method.symbols == ("asyncio.TaskGroup.create_task",)
    assert method.anchor == "asyncio.TaskGroup.create_task"
    assert method.content.startswith("#### `create_task(coro)`\n\nCreate a task")
    (back,) = [chunk for chunk in found.chunks if "Back in" in chunk.content]
    assert (back.path, back.content) == (
        ("Library", "asyncio", "Task groups"),
        "Back in the section, with `__init__` and a_b_c.",
    )
    assert {"asyncio", "asyncio.TaskGroup"} <= {symbol for chunk in found.chunks for symbol in chunk.symbols}
    for word in ("Menu", "foot", "\xb6", "\ue000"):
        assert word not in found.content
    (example,) = found.examples
    assert (example.language, example.code.splitlines()[1]) == ("python", "    # Not a heading")
    assert "Create a task" in example.around


def test_fences_stay_whole_and_nothing_is_giant():
    """A code fence is one piece up to its cap; beyond, and in a line without an end, pieces are bounded."""
    code = "\n".join(f"x{number} = {number}" for number in range(300))
    (found,) = [
        chunk
        for chunk in page(f"# T\n\nBefore.\n\n{fenced(code, 'py')}\n\nAfter.").chunks
        if "x0" in chunk.content
    ]
    assert TARGET < len(code) < FENCE_CAP
    assert fenced(code, "py") in found.content
    giant = page("# T\n\n" + fenced(code * 20, "py") + "\n\n" + "a" * 50_000)
    assert max(len(chunk.content) for chunk in giant.chunks) <= FENCE_CAP
    assert sum(chunk.content.count("a" * 100) for chunk in giant.chunks) >= 490


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"# \x00\x01\x02binary", "not text: it looks binary"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x81\x8d", "not text: it looks binary"),
        (b"a" * 200_000, "a line of 200,000 characters: at most 100,000 are read as text"),
        (b"word \n" * 900_000, "5,400,000 characters of text: at most 5,000,000 are taken from one document"),
        (b" \n", "empty"),
    ],
)
def test_what_is_no_text_is_refused_in_words(given, said):
    """The reason names what is wrong with the file."""
    with pytest.raises(Unreadable) as error:
        read(Fetched(url="file:///x.md", body=given))
    assert error.value.reason == said


def test_small_sections_are_told_together_and_headings_of_any_style_are_seen():
    """A bare heading goes with what it is the heading of; underlined headings count."""
    found = page(
        "Title\n=====\n\nInstall\n-------\n\nRun it.\n\n" + "More. " * 100 + "\n\n## Other\n\nWords."
    )
    assert [chunk.path for chunk in found.chunks] == [("Title", "Install"), ("Title", "Other")]
    assert found.chunks[0].content.startswith("# Title\n\n## Install\n\nRun it.")


def test_source_code_is_cut_at_its_definitions():
    """Each definition at the left margin is found by its name."""
    source = (
        "import os\n\n\nclass A:\n    def m(self):\n        pass\n"
        + "    # filler\n" * 30
        + "\n\nasync def run():\n"
        + "    pass\n" * 40
    )
    found = chunks(code_sections(source, "python", "a.py"))
    assert [chunk.symbols for chunk in found] == [("A",), ("run",)]
    assert found[1].content.startswith("```python\nasync def run():")


def test_a_page_of_links_is_no_content():
    """An index leads elsewhere and is not stored, but where it leads is kept."""
    links = "".join(f'<li><a href="p{n}.html">Chapter {n} of the book</a></li>' for n in range(30))
    found = read(
        Fetched(url="http://h/d/index.html", body=f"<main><h1>Contents</h1><ul>{links}</ul></main>".encode())
    )
    assert (found.pages, found.skipped, len(found.links)) == ([], "a page of links", 30)
    assert found.links[0] == "http://h/d/p0.html"


def test_deep_nesting_is_refused():
    """HTML that is nested without end does not end the process."""
    with pytest.raises(Unreadable, match="nested too deeply"):
        read(Fetched(url="http://h/p.html", body=b"<div>" * 2_000 + b"x", content_type="text/html"))


def test_examples_keep_their_language_and_words():
    """A fence within text is an example; a single line is not."""
    text = "# T\n\nFirst do this:\n\n```sh\na\nb\n```\n\nThen that.\n\n```sh\none\n```"
    (found,) = examples(sections(text, "T"))
    assert (found.code, found.language, found.around) == ("a\nb", "sh", "First do this:\nThen that.")
