"""Whose rows are looked at: a bounded number in each look, everybody in turn, and whoever was told at once."""

from archon_transport.store import MemoryStore
from archon_transport.transport.viewers import AT_A_LOOK, Viewer, Viewers


def crowd(number: int) -> tuple[Viewers, list[Viewer]]:
    """So many viewers of streams that do not run here."""
    viewers, store, crowd = Viewers(), MemoryStore(), []
    for n in range(number):
        crowd.append(
            Viewer((f"session {n}", "s1"), (1, n), store, local=None, ids=True, primes=True, retry=None)
        )
        viewers.add(crowd[-1])
    return viewers, crowd


def test_everybody_has_a_turn_and_no_look_is_larger():
    """The backstop costs the same however many listen; each stream has its turn before one has a second."""
    viewers, watching = crowd(2 * AT_A_LOOK + 1)
    turns = [viewers.places() for _ in range(3)]
    assert [len(turn) for turn in turns] == [AT_A_LOOK, AT_A_LOOK, 1]
    assert {place for turn in turns for place in turn} == {(v.key, *v.place) for v in watching}
    assert viewers.places() == turns[0]


def test_who_was_told_something_is_looked_at_at_once():
    """A wake-up is not made to wait for its turn, and is followed up once."""
    viewers, watching = crowd(AT_A_LOOK + 10)
    last = watching[-1]
    viewers.wake(last.key)
    told = (last.key, *last.place)
    assert told in viewers.places()
    assert viewers.places().count(told) == 1  # this is its turn
    assert told not in viewers.places()


def test_who_left_is_not_asked_for():
    """Between the making of a round and its turn a viewer may go, or another may take its place."""
    viewers, watching = crowd(AT_A_LOOK + 2)
    viewers.places()
    left, replaced = watching[-1], watching[-2]
    viewers.drop(left)
    newer = Viewer(replaced.key, (2, 7), replaced.store, local=None, ids=True, primes=True, retry=None)
    viewers.add(newer)
    assert viewers.places() == []
    assert (newer.key, 2, 7) in viewers.places() + viewers.places()
