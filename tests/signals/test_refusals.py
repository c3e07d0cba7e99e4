"""Refusals in memory: told apart by what matters, bounded, and never miscounted."""

from archon_transport.signals.refusals import KEYS, WAITING, Refusals


class Clock:
    seconds = 1200.0

    def __call__(self) -> float:
        return self.seconds


def test_equal_refusals_are_one_row_with_a_count():
    """Minute, rule, network and client tell refusals apart; the first one's words are the example."""
    clock = Clock()
    refusals = Refusals(clock=clock)
    for client, example in (("curl", "first"), ("curl", "second"), ("cursor", "third")):
        refusals.add("host", "10.0.0.0/24", client, 421, example)
    clock.seconds += 60
    refusals.add("host", "10.0.0.0/24", "curl", 421, "fourth")
    assert len(refusals) == 4
    found = {(taken.minute, taken.client): (taken.count, taken.example) for taken in refusals.take()}
    assert found == {(20, "curl"): (2, "first"), (20, "cursor"): (1, "third"), (21, "curl"): (1, "fourth")}
    assert len(refusals) == 0


def test_a_flood_is_a_thousand_rows_a_minute():
    """However many kinds come and however often they are written, a minute has so many rows and a true count."""
    clock = Clock()
    refusals = Refusals(clock=clock)
    for number in range(3 * KEYS):
        refusals.add("host", "local", f"client {number}", 421, "no")
        if number == KEYS // 2:
            first = refusals.take()
    refusals.add("host", "local", "client 0", 421, "a known one is still told apart")
    rest = refusals.take()
    assert len({taken.client for taken in (*first, *rest)}) == KEYS + 1
    (other,) = [taken for taken in rest if taken.rule == "other"]
    assert other.count == 2 * KEYS
    clock.seconds += 60
    refusals.add("host", "local", "another minute", 421, "no")
    assert [taken.rule for taken in refusals.take()] == ["host"]


def test_a_long_outage_is_bounded_too():
    """What waits of all minutes is bounded; past it only the minutes are told apart."""
    clock = Clock()
    refusals = Refusals(clock=clock)
    minutes = 2 * WAITING // KEYS
    for number in range(minutes * KEYS):
        clock.seconds = 60.0 * (number // KEYS)
        refusals.add("host", "local", f"client {number}", 421, "no")
    assert len(refusals) == minutes * KEYS
    assert len(refusals.take()) <= WAITING + minutes


def test_what_no_store_took_is_counted_on():
    """Counts that come back are added to those that came meanwhile."""
    refusals = Refusals(clock=Clock())
    refusals.add("host", "local", "curl", 421, "no")
    taken = refusals.take()
    refusals.add("host", "local", "curl", 421, "no")
    refusals.put(taken)
    assert [taken.count for taken in refusals.take()] == [2]
