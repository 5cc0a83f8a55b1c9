"""What tests of code that uses poolder_trio need."""

from __future__ import annotations

from poolder_trio.testing.cancel_at import CancelAt
from poolder_trio.testing.dates import wall_clock
from poolder_trio.testing.simulation import simulate
from poolder_trio.testing.strategies import jobs, modes

__all__ = ["CancelAt", "jobs", "modes", "simulate", "wall_clock"]
