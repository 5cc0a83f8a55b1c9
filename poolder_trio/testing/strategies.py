"""Strategies for Hypothesis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolder_trio.policies.dispatch import MODES

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["jobs", "modes"]


def modes() -> SearchStrategy[str]:
    """Return a Hypothesis strategy for the names of a pool's modes."""
    from hypothesis import strategies  # noqa: PLC0415  # only tests have it

    return strategies.sampled_from(MODES)


def jobs() -> SearchStrategy[object]:
    """Return a Hypothesis strategy for messages that every mode can route."""
    from hypothesis import strategies as st  # noqa: PLC0415  # only tests have it

    keys = st.one_of(st.integers(), st.text(max_size=5), st.booleans(), st.none(), st.binary())
    return st.one_of(keys, st.tuples(keys, keys))
