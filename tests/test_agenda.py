"""One heap and one alarm for any number of things to be done by a clock."""

import math

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from poolder_trio.kernel.agenda import Agenda
from poolder_trio.kernel.timers import Timers


class Entry:
    def __init__(self, name, period=math.inf):
        self.name = name
        self.period = period
        self.ticket = 0


class Book:
    """An agenda, and what it rang."""

    def __init__(self, nursery, now=trio.current_time, trusted=float, set_back=None):
        self.timers = Timers(nursery)
        self.rung = []
        self.agenda = Agenda(self.timers, now, trusted, self.ring, set_back)

    def ring(self, entry, due, now):
        assert due <= now
        self.rung.append((trio.current_time(), entry.name))
        return due + entry.period


async def test_entries_ring_at_their_times_whatever_the_order_of_putting(autojump_clock):
    async with trio.open_nursery() as nursery:
        book = Book(nursery)
        for due in (5, 1, 3, 9, 7):
            book.agenda.put(Entry(due), due)
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    assert book.rung == [(due, due) for due in (1, 3, 5, 7, 9)]


async def test_one_that_says_when_it_is_due_next_rings_again(autojump_clock):
    async with trio.open_nursery() as nursery:
        book = Book(nursery)
        book.agenda.put(Entry("a", 10), 5)
        await trio.sleep(40)
        nursery.cancel_scope.cancel()
    assert book.rung == [(due, "a") for due in (5, 15, 25, 35)]


async def test_one_that_is_moved_rings_at_its_new_time_alone(autojump_clock):
    async with trio.open_nursery() as nursery:
        book = Book(nursery)
        sooner, later = Entry("sooner"), Entry("later")
        book.agenda.put(sooner, 10)
        book.agenda.put(sooner, 2)
        book.agenda.put(later, 3)
        book.agenda.put(later, 8)
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    assert book.rung == [(2, "sooner"), (8, "later")]


async def test_one_that_moved_to_another_agenda_rings_there_alone(autojump_clock):
    async with trio.open_nursery() as nursery:
        one, other = Book(nursery), Book(nursery)
        entry = Entry("a")
        one.agenda.put(entry, 5)
        one.agenda.drop(entry)
        other.agenda.put(entry, 7)
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    assert one.rung == []
    assert other.rung == [(7, "a")]


async def test_what_rings_may_drop_and_put(autojump_clock):
    async with trio.open_nursery() as nursery:
        book = Book(nursery)
        entries = [Entry(n, 10) for n in range(3)]

        def ring(entry, due, now):
            book.rung.append((now, entry.name))
            for other in entries:
                book.agenda.drop(other)
            if now < 8:
                book.agenda.put(entries[2], 8)
            return due + 10

        book.agenda._ring = ring
        for entry in entries:
            book.agenda.put(entry, 5)
        await trio.sleep(9)
        nursery.cancel_scope.cancel()
    assert book.rung == [(5, 0), (8, 2)]


async def test_after_stop_nothing_rings(autojump_clock):
    async with trio.open_nursery() as nursery:
        book = Book(nursery)
        entry = Entry("a")
        book.agenda.put(entry, 5)
        book.agenda.stop()
        assert not entry.ticket
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    assert book.rung == []


async def test_many_that_are_due_together_leave_the_loop_to_others(autojump_clock):
    async with trio.open_nursery() as nursery:
        book = Book(nursery)
        passes = 0

        async def others():
            nonlocal passes
            await trio.sleep_until(5)
            while len(book.rung) < 20_000:
                passes += 1
                await trio.lowlevel.checkpoint()

        nursery.start_soon(others)
        for n in range(20_000):
            book.agenda.put(Entry(n), 5)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert len(book.rung) == 20_000
    assert passes > 5


async def test_a_clock_that_is_not_trusted_is_looked_at_in_between(autojump_clock):
    shown = [1000.0]
    async with trio.open_nursery() as nursery:
        book = Book(nursery, lambda: shown[0] + trio.current_time(), lambda s: min(s, 60.0))
        book.agenda.put(Entry("a"), 1000 + 7200)
        await trio.sleep(130)
        shown[0] += 7200  # it is set forward: the next look finds it due
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert book.rung == [(180, "a")]


async def test_it_is_told_when_its_clock_is_set_back(autojump_clock):
    shown = [1000.0]
    told = []
    async with trio.open_nursery() as nursery:
        book = Book(
            nursery,
            lambda: shown[0] + trio.current_time(),
            lambda s: min(s, 60.0),
            lambda now, by: told.append((now, by)),
        )
        book.agenda.put(Entry("a"), 9999)
        await trio.sleep(70)
        shown[0] += 500  # forward: nobody is told
        await trio.sleep(60)
        shown[0] -= 100
        await trio.sleep(60)
        shown[0] -= 0.5  # as clocks are corrected
        await trio.sleep(300)
        nursery.cancel_scope.cancel()
    assert told == [(1580.0, 100.0)]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 50), st.sampled_from(["put", "drop"])),
        max_size=60,
    )
)
def test_it_rings_as_a_dict_of_due_times_says(steps) -> None:
    async def main():
        due = {}
        async with trio.open_nursery() as nursery:
            book = Book(nursery)
            entries = [Entry(n) for n in range(10)]
            for number, at, what in steps:
                if what == "put":
                    book.agenda.put(entries[number], at)
                    due[number] = at
                else:
                    book.agenda.drop(entries[number])
                    due.pop(number, None)
            await trio.sleep(100)
            nursery.cancel_scope.cancel()
        assert sorted(book.rung) == sorted((at, number) for number, at in due.items())
        assert [at for at, _ in book.rung] == sorted(due.values())
        assert not book.agenda._heap

    trio.run(main, clock=MockClock(autojump_threshold=0))
