"""Contexts of those who submit: whether two are alike, and one copy for all that are."""

from __future__ import annotations

from contextvars import Context, copy_context
from gc import get_referents
from typing import TYPE_CHECKING

from poolder_trio.kernel.terms import ALL, ONE, Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from poolder_trio.kernel.terms import Form

_MISSING = object()


def _unknown(context: Context) -> Sequence[object]:  # noqa: ARG001  # as the other one
    return [object()]


# A context of CPython is a pointer to an immutable map, which is the last thing that it refers to.
# Its copies have the same map until one of them sets a variable; nothing else shows without a look
# at each variable that two contexts are alike.
_is_cpython = type(get_referents(Context())[-1]).__name__ == "hamt"

#: ``refers_to(context)[-1]`` is the same object for two contexts only if they are alike. It may
#: differ all the same; elsewhere than in CPython it always does.
refers_to: Callable[[Context], Sequence[object]] = get_referents if _is_cpython else _unknown


def alike(one: Context, other: Context) -> bool:
    """Tell whether both hold the same objects.

    Comparing contexts would compare what they hold: objects that are equal are not the same, and
    to compare them is to run their code.
    """
    if refers_to(one)[-1] is refers_to(other)[-1]:
        return True
    if len(one) != len(other):
        return False
    for variable, value in one.items():  # noqa: SIM110  # all() would make a generator of it
        if other.get(variable, _MISSING) is not value:
            return False
    return True


class Snapshots:
    """Copies of the current context, of which those that are alike are one.

    A worker that goes on in the same one need not change over.

    Attributes:
        last: the copy that was taken last.
        one, others: the terms of awaited jobs that were submitted in it, with one argument or not.
        is_empty: whether it has no variables.
        variables: what it refers to last; as long as the current context does, it is alike.
    """

    __slots__ = ("is_empty", "last", "one", "others", "variables")

    def __init__(self) -> None:
        self._keep(Context())

    def _keep(self, context: Context) -> None:
        self.last = context
        self.variables = refers_to(context)[-1]
        self.one = Terms(True, ONE, context)  # noqa: FBT003
        self.others = Terms(True, ALL, context)  # noqa: FBT003
        self.is_empty = not context

    def forget(self) -> None:
        """Hold the last context no more; an empty one holds nothing."""
        if not self.is_empty:
            self._keep(Context())

    def terms(self, form: Form) -> Terms:
        """Return the terms of a job that somebody awaits and that is submitted in this context."""
        self.take()
        return self.one if form is ONE else self.others

    def take(self) -> Context:
        """Return a copy of the current context, or the last one, which is alike."""
        context = copy_context()
        variables = refers_to(context)[-1]
        if variables is not self.variables:
            if alike(context, self.last):
                self.variables = variables
            else:
                self._keep(context)
        return self.last
