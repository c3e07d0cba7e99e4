"""The id on the wire: public half, secret half, and what opens what."""

import dataclasses
import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archon_transport.sessions import WireId
from archon_transport.sessions.record import uuid7
from tests.sessions.rows import new_session


def test_an_id_comes_back_from_its_text():
    """What `mint` makes, `parse` reads."""
    wire = WireId.mint()
    assert WireId.parse(str(wire)) == wire


@pytest.mark.spec("H-45")
def test_an_id_is_visible_ascii():
    """An `Mcp-Session-Id` has visible ASCII only (2025-11-25 transports, Session Management 1)."""
    assert re.fullmatch(r"[\x21-\x7e]+", str(WireId.mint()))


@pytest.mark.spec("H-44", "S-05")
def test_a_secret_has_128_bits_and_no_two_are_alike():
    """The secret is 128 random bits, so it cannot be guessed and is never repeated."""
    secrets = {WireId.mint().secret for _ in range(500)}
    assert len(secrets) == 500
    assert {len(secret) for secret in secrets} == {22}


def test_the_secret_stays_out_of_sight():
    """Neither the repr of an id nor the session's own fields hold the secret."""
    wire = WireId.mint()
    assert wire.secret not in repr(wire)
    assert wire.secret not in repr(new_session(wire))
    assert len(wire.digest) == 32


@pytest.mark.spec("S-05")
def test_a_secret_opens_its_own_session_only():
    """One changed character, another session's secret and a digest in the secret's place do not open it."""
    wire, other = WireId.mint(), WireId.mint()
    session = new_session(wire)
    assert wire.digest == session.secret_digest
    changed = ("A" if wire.secret[0] != "A" else "B") + wire.secret[1:]
    assert dataclasses.replace(wire, secret=changed).digest != session.secret_digest
    assert dataclasses.replace(wire, secret=other.secret).digest != session.secret_digest
    assert dataclasses.replace(wire, secret=wire.digest.hex()).digest != session.secret_digest


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text.upper(),
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text[:-1],
        lambda text: text + "A",
        lambda text: text.replace(".", ""),
        lambda text: text.replace(".", ".."),
        lambda text: text.partition(".")[0],
        lambda text: text.partition(".")[0] + ".",
        lambda text: text.replace("-", ""),
        lambda text: text[:-1] + "é",
        lambda text: text[:-1] + "\udc80",
        lambda text: text[:-1] + "\x00",
        lambda text: text[:-1] + "=",
        lambda text: text[:-1] + "١",
        lambda text: f"{text}, {text}",
        lambda text: "x" * 100_000,
    ],
)
def test_what_is_not_an_id_of_ours_is_none(spoil):
    """Anything but the exact form is no id, without a question to the store."""
    assert WireId.parse(spoil(str(WireId.mint()))) is None


@given(st.text())
def test_any_text_is_parsed_or_not(text):
    """Any text gives an id that prints as that text, or None."""
    wire = WireId.parse(text)
    assert wire is None or str(wire) == text


def test_a_uuid7_carries_its_time_and_sorts_by_it():
    """Ids made later sort later, and version and variant are as RFC 9562 wants them."""
    moments = [0, 1, 2**40, 1_780_000_000_000, 2**48 - 1]
    ids = [uuid7(moment) for moment in moments]
    assert [made.int >> 80 for made in ids] == moments
    assert {made.version for made in ids} == {7}
    assert {made.variant for made in ids} == {uuid.RFC_4122}
    assert sorted(map(str, ids)) == [str(made) for made in ids]
