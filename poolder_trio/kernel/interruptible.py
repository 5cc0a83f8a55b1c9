"""User code that is called from what Ctrl-C does not interrupt: it is interruptible itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from types import TracebackType

    from typing_extensions import ParamSpec

    P = ParamSpec("P")

T = TypeVar("T")

# Each of these has one line: an interrupt comes before user code, or in it, and not between its
# end and the return to what notes it.


@trio.lowlevel.disable_ki_protection
def call(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Return ``fn(*args, **kwargs)``."""
    return fn(*args, **kwargs)


@trio.lowlevel.disable_ki_protection
async def wait(fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Return ``await fn(*args, **kwargs)``."""
    return await fn(*args, **kwargs)


class _Context(Generic[T]):
    """A context manager."""

    def __init__(self, cm: AbstractContextManager[T, bool | None]) -> None:
        self._cm = cm

    def __enter__(self) -> T:
        return call(type(self._cm).__enter__, self._cm)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return call(type(self._cm).__exit__, self._cm, exc_type, exc, traceback)


class _AsyncContext(Generic[T]):
    """An async context manager."""

    def __init__(self, cm: AbstractAsyncContextManager[T, bool | None]) -> None:
        self._cm = cm

    async def __aenter__(self) -> T:
        return await wait(type(self._cm).__aenter__, self._cm)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await wait(type(self._cm).__aexit__, self._cm, exc_type, exc, traceback)


def context(cm: AbstractContextManager[T, bool | None]) -> AbstractContextManager[T, bool | None]:
    """Return a context manager that is as ``cm``."""
    known = hasattr(type(cm), "__enter__") and hasattr(type(cm), "__exit__")
    return _Context(cm) if known and not _sees_to_itself(cm) else cm


def async_context(
    cm: AbstractAsyncContextManager[T, bool | None],
) -> AbstractAsyncContextManager[T, bool | None]:
    """Return an async context manager that is as ``cm``."""
    known = hasattr(type(cm), "__aenter__") and hasattr(type(cm), "__aexit__")
    return _AsyncContext(cm) if known and not _sees_to_itself(cm) else cm


def _sees_to_itself(cm: Any) -> bool:  # noqa: ANN401  # whatever was entered
    """Tell whether Ctrl-C must not come just before it begins: a nursery that is not left."""
    return type(cm).__module__.partition(".")[0] in ("trio", "poolder_trio")
