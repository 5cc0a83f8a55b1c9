"""Contexts are alike if they hold the same objects, and alike ones are copied once."""

from contextvars import Context, ContextVar, copy_context

import pytest

from poolder_trio import Tasker, await_many
from poolder_trio.kernel import contexts, runner
from poolder_trio.kernel.contexts import Snapshots, alike, refers_to

COLOUR: ContextVar[object] = ContextVar("colour")
SIZE: ContextVar[object] = ContextVar("size")


def holding(**values: object) -> Context:
    context = Context()
    for variable in (COLOUR, SIZE):
        if variable.name in values:
            context.run(variable.set, values[variable.name])
    return context


def test_a_copy_shows_at_once_that_it_is_alike_until_a_variable_is_set():
    context = holding(colour=object())
    copy = context.copy()
    assert refers_to(copy)[-1] is refers_to(context)[-1]
    assert copy.run(lambda: refers_to(copy)[-1]) is refers_to(context)[-1], "while it is entered"
    copy.run(SIZE.set, 1)
    assert refers_to(copy)[-1] is not refers_to(context)[-1]


def test_alike_are_those_that_hold_the_same_objects_in_the_same_variables():
    colour = [1]
    assert alike(Context(), Context())
    assert alike(holding(colour=colour), holding(colour=colour))
    assert not alike(holding(colour=[1]), holding(colour=[1])), "equal is not the same"
    assert not alike(holding(colour=colour), holding(size=colour))
    assert not alike(holding(colour=colour), holding(colour=colour, size=1))


def test_nothing_that_a_context_holds_is_compared():
    class Touchy:
        def __eq__(self, other: object) -> bool:
            raise AssertionError

        __hash__ = object.__hash__

    assert not alike(holding(colour=Touchy()), holding(colour=Touchy()))


def test_snapshots_that_are_alike_are_one():
    snapshots = Snapshots()

    def look() -> None:
        first = snapshots.take()
        assert snapshots.take() is first
        token = COLOUR.set("red")
        red = snapshots.take()
        assert red is not first
        assert snapshots.last is red
        COLOUR.set("blue")
        COLOUR.set("red")
        assert snapshots.take() is red, "another map, and the same in it"
        COLOUR.reset(token)
        assert snapshots.take() is not red

    copy_context().run(look)


@pytest.mark.parametrize("knows", [True, False], ids=["CPython", "elsewhere"])
async def test_no_function_sees_what_another_has_set(monkeypatch, knows, autojump_clock):
    if not knows:
        for module in (contexts, runner):
            monkeypatch.setattr(module, "refers_to", contexts._unknown)

    async def paint(colour: str, then: str) -> tuple[object, object]:
        before = COLOUR.get(None), SIZE.get(None)
        token = COLOUR.set(colour)
        if then == "undo":
            COLOUR.reset(token)
        return before

    seen = []
    sizes = [None, 1, 1, 2]
    async with Tasker(limit=1) as tasker:
        for size in sizes:
            SIZE.set(size)
            # At once: a worker that has rested in between would go on in a context of its own.
            jobs = [tasker.submit_nowait(paint, "red", t) for t in ("undo", "leave", "undo")]
            seen += await await_many(jobs)
    assert seen == [(None, size) for size in sizes for _ in range(3)]
