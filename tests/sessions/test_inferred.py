"""Which requests without a session share a record."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archon_transport.sessions import IDLE, Groups
from archon_transport.sessions.inferred import CONVERSATION, OPEN, bucket, client, conversation

ALICE, BOB = ("https://issuer", "alice", "app"), ("https://issuer", "bob", "app")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def find(groups: Groups, who="10.0.0.0/24", era="modern", revision="2026-07-28", name="a", conversed=""):
    return groups.find(who, era, revision, (name, "1"), conversed)


def test_nodes_agree_on_a_record_without_asking():
    """The id is a UUIDv5 of what the requests say; the revision is not part of it, everything else is."""
    one = find(Groups())
    assert find(Groups()) == one
    assert uuid.UUID(one.session_id).version == 5
    assert find(Groups(), revision="2027-01-01").session_id == one.session_id
    others = [
        find(Groups(), **change)
        for change in ({"who": ALICE}, {"who": BOB}, {"era": "none"}, {"name": "b"}, {"conversed": "c"})
    ]
    assert len({one.session_id, *(other.session_id for other in others)}) == 6


def test_a_record_says_whether_it_was_told_apart():
    """With a conversation it is; without one two clients of one name share it."""
    assert find(Groups(), conversed="c").told_apart
    assert not find(Groups()).told_apart
    assert (find(Groups(), who=ALICE).owner, find(Groups()).owner) == (ALICE, None)


def test_who_keeps_inventing_names_shares_one_record():
    """Beyond its places a caller's records are one; those that it has stay, and nobody else is touched."""
    groups = Groups(clock=Clock())
    own = [find(groups, name=f"n{number}").session_id for number in range(OPEN)]
    beyond = {find(groups, name=f"m{number}", conversed="c").session_id for number in range(100)}
    assert len(set(own)) == OPEN
    assert len(beyond) == 1 and not beyond & set(own)
    assert find(groups, name="n0").session_id == own[0]
    assert find(groups, name="m1").client_name == "other"
    assert find(groups, who=ALICE, name="m1").client_name == "m1"


def test_a_client_that_is_called_other_is_not_the_shared_record():
    """A name cannot lead into the record of those beyond."""
    groups = Groups()
    named = groups.find("x", "modern", "r", ("other", ""), "")
    for number in range(OPEN):
        find(groups, who="x", name=f"n{number}")
    assert find(groups, who="x", name="late").session_id != named.session_id


def test_an_idle_record_gives_its_place_back():
    """A place is free again when its record was without a request for the idle time."""
    clock = Clock()
    groups = Groups(clock=clock)
    for number in range(OPEN):
        find(groups, name=f"n{number}")
    clock.now += IDLE / 2
    find(groups, name="n0")
    clock.now += IDLE / 2 + 1
    assert find(groups, name="late").client_name == "late"
    assert find(groups, name="n0").client_name == "n0"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "local"),
        (None, "local"),
        ("@", "local"),
    ],
)
def test_an_address_counts_as_its_network(address, network):
    """A /24 or a /64 is one caller; what has no address is this machine."""
    assert bucket(address) == network


@pytest.mark.parametrize(
    ("info", "agent", "expected"),
    [
        ({"name": " Claude\x00 \ud800Code ", "version": "2.10.3"}, "x/9", ("Claude Code", "2")),
        ({"name": "n" * 300, "version": "v" * 300}, None, ("n" * 200, "v" * 50)),
        ({}, "x/9", ("Unknown", "")),
        (None, "curl/8.5.0 (linux)", ("curl", "8")),
        (None, None, ("Unknown", "")),
        ("nonsense", "", ("Unknown", "")),
    ],
)
def test_a_client_is_called_by_its_name_and_major_version(info, agent, expected):
    """Cleaned and cut; who does not introduce itself goes by its User-Agent."""
    assert client(info, agent) == expected


@pytest.mark.parametrize(
    ("meta", "header"),
    [
        ({CONVERSATION: "one"}, "session.id=two"),
        ({"baggage": "user=x, session.id = one ;secret=1,session.id=two"}, None),
        ({"baggage": "user=x"}, "session.id=one"),
        ({CONVERSATION: 7}, "session.id=one"),
        (None, "a=b,session.id=one"),
    ],
)
def test_a_conversation_is_named_in_meta_or_in_baggage(meta, header):
    """Our key first, then baggage in `_meta`, then the header; only a hash of it goes on."""
    named = conversation(meta, header)
    assert named == conversation({CONVERSATION: "one"}, None)
    assert "one" not in named


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3),
)


@given(
    st.dictionaries(st.sampled_from([CONVERSATION, "baggage", "name", "version"]), json_values) | json_values,
    st.none() | st.text(st.characters()),
)
def test_nothing_that_a_client_says_is_too_strange(said, header):
    """Any value in any of the places makes a record, with texts that fit their columns."""
    record = Groups().find(
        bucket(header), "modern", "2026-07-28", client(said, header), conversation(said, header)
    )
    assert len(record.client_name) <= 200 and record.client_name.isprintable()
    assert len(record.client_version) <= 50 and record.client_version.isprintable()
