"""The Trio run that a component is open in: who is elsewhere is told before anything changes."""

from __future__ import annotations

import trio


class Home:
    """Where a component is open. Made there.

    Args:
        name: what messages call the component.
    """

    __slots__ = ("_name", "_token")

    def __init__(self, name: str) -> None:
        self._name = name
        self._token = trio.lowlevel.current_trio_token()

    def require(self) -> None:
        """Raise ``RuntimeError`` unless this is called in that Trio run; to be asked first."""
        try:
            token = trio.lowlevel.current_trio_token()
        except RuntimeError:
            token = None
        if token is not self._token:
            message = (
                f"{self._name} was used from outside of the Trio run that it is open in: from "
                f"another thread, use trio.from_thread.run_sync(fn, *args, trio_token=...)"
            )
            raise RuntimeError(message)
