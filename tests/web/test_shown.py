"""What texts of others become: escaped, cut, and marked up only where we mark them up."""

import pytest

from archon_transport.web.markdown import rendered
from archon_transport.web.shown import code, ms, said, shown, size, span


@pytest.mark.parametrize(
    ("markdown", "markup"),
    [
        ("a *b* **c** `*d*`", "<p>a <em>b</em> <strong>c</strong> <code>*d*</code></p>"),
        ("# T\ntext\nmore", "<h2>T</h2>\n<p>text\nmore</p>"),
        ("1. a\n2. b\n\n- c", "<ol><li>a</li>\n<li>b</li></ol>\n<ul><li>c</li></ul>"),
        ("```py\n<x>\n# no\n```\nend", "<pre><code>&lt;x&gt;\n# no</code></pre>\n<p>end</p>"),
        ("```\nopen", "<pre><code>open\n</code></pre>"),
        (
            "[a](https://x.example/?a=1&b=2)",
            '<p><a href="https://x.example/?a=1&amp;b=2" rel="noreferrer">a</a></p>',
        ),
        ("[a](javascript:alert(1))", "<p>[a](javascript:alert(1))</p>"),
        (
            '[a](https://x/"onclick="y)',
            '<p><a href="https://x/&#34;onclick=&#34;y" rel="noreferrer">a</a></p>',
        ),
        ("one ` tick <i>", "<p>one ` tick &lt;i&gt;</p>"),
        ("2 * 3 * 4 snake_case", "<p>2 * 3 * 4 snake_case</p>"),
        ("", ""),
    ],
)
def test_markdown_is_marked_up_and_nothing_else(markdown, markup):
    """The marks that documents use; everything else is text."""
    assert str(rendered(markdown)) == markup


def test_json_becomes_an_outline():
    """Objects and lists are shown as such, to a depth."""
    assert str(rendered({"user_stories": ["<a>", 1]})) == (
        "<dl><dt>user stories</dt><dd><ul><li><p>&lt;a&gt;</p></li><li><p>1</p></li></ul></dd></dl>"
    )
    deep = None
    for _ in range(5000):
        deep = [deep]
    assert len(rendered({"a": {"b": {"c": [[[[["x"]]]]]}}})) < 1000
    assert rendered({}) == "<dl></dl>" and rendered(None) == ""


def test_texts_of_others_are_cut_and_cleaned():
    """No control character is left; a megabyte is shown as its beginning."""
    assert shown("a\x00b\x1bc\nd\ud800") == "a\ufffdb\ufffdc d\ufffd"
    assert shown("x" * 1_000_000, 5) == "xxxxx…"
    assert str(said("<b>")) == "<bdi>&lt;b&gt;</bdi>"
    assert str(code("a `<b>` c")) == "a <code><bdi>&lt;b&gt;</bdi></code> c"
    assert str(code("odd ` tick")) == "odd ` tick"


def test_numbers_are_in_units_that_one_reads():
    """Each in the largest unit in which it is at least one."""
    assert [span(s) for s in (0.2, 59, 60, 3600, 90_000, None)] == ["0 s", "59 s", "1 min", "1 h", "1 d", "–"]
    assert [ms(v) for v in (0, 999, 1500, None)] == ["0 ms", "999 ms", "1.5 s", "–"]
    assert [size(v) for v in (0, 999, 1500, 20_000, 3_000_000_000, None)] == [
        "0 B",
        "999 B",
        "1.5 KB",
        "20 KB",
        "3.0 GB",
        "–",
    ]
