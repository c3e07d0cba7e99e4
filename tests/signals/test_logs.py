"""Log lines in both forms: fields are there, and nothing that a client sends can forge a line."""

import io
import json
import logging

import pytest

from archon_transport.signals import logs


@pytest.fixture
def log():
    """Configure logging into a buffer and put everything back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("archon_transport")
    before = root.handlers[:], root.level, ours.level
    buffer = io.StringIO()

    def configured(level="info", style="text"):
        logs.configure(level, style, buffer)
        return logging.getLogger("archon_transport.test"), buffer

    root.handlers = []
    yield configured
    root.handlers, root.level, ours.level = before


def test_a_text_line_is_a_sentence_and_its_fields(log):
    """Time, level, logger, sentence, then key=value."""
    logger, buffer = log()
    logger.info("session opened", extra={"session": "0198", "client": "a client"})
    when, rest = buffer.getvalue().split(" ", 1)
    assert len(when) == len("2026-11-22T09:25:00.123Z")
    assert rest == 'INFO archon_transport.test: session opened session=0198 client="a client"\n'


def test_a_json_line_is_one_object(log):
    """The same names on every line, and the fields beside them; any value can be written."""
    logger, buffer = log(style="json")
    logger.warning("refused %s", "it", extra={"status": 404, "level": "mine", "thing": {1}})
    entry = json.loads(buffer.getvalue())
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "warning",
        "logger": "archon_transport.test",
        "message": "refused it",
        "status": 404,
        "thing": "{1}",
    }


@pytest.mark.spec("S-17")
@pytest.mark.parametrize("style", ["text", "json"])
def test_no_value_begins_a_line_of_its_own(log, style):
    """A newline in a client's name, or in the sentence, stays inside its line."""
    logger, buffer = log(style=style)
    forged = "x\n2026-11-22T09:25:00.123Z ERROR forged\u2028\x1b[31m"
    logger.info("from " + forged, extra={"client": forged, "empty": ""})
    line = buffer.getvalue()
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line


@pytest.mark.parametrize("style", ["text", "json"])
def test_an_exception_keeps_its_traceback(log, style):
    """What went wrong is in the log, in either form."""
    logger, buffer = log(style=style)
    try:
        raise ValueError("the reason")
    except ValueError:
        logger.exception("it failed")
    text = json.loads(buffer.getvalue())["exception"] if style == "json" else buffer.getvalue()
    assert "ValueError: the reason" in text
    assert "Traceback" in text


@pytest.mark.parametrize(
    ("level", "shown"),
    [("debug", "dinw"), ("info", "inw"), ("warning", "nw"), ("error", "")],
)
def test_the_level_is_ours_and_others_are_quieter(log, level, shown):
    """Libraries speak up from a warning on, or when everything is asked for."""
    logger, buffer = log(level=level)
    other = logging.getLogger("library")
    for each, number, letter in ((logger, 10, "d"), (logger, 20, "i"), (logger, 30, "n"), (other, 30, "w")):
        each.log(number, "message %s", letter)
    assert "".join(line[-1] for line in buffer.getvalue().splitlines()) == shown
    other.info("quiet")
    assert ("quiet" in buffer.getvalue()) == (level == "debug")
