"""The waiting room of a server, and who of its idle workers is served first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from poolder_trio.policies import checks
from poolder_trio.policies.codel import Control
from poolder_trio.policies.queues import Queue
from poolder_trio.policies.shared_room import Common, Part

if TYPE_CHECKING:
    from poolder_trio.policies.queues import Room


@attrs.frozen(kw_only=True)
class Broker(Queue):
    """Describes where the requests of a `GenPool` wait, and in which order idle workers get them.

    It is a `Queue` with other defaults: no bound, five seconds, and whoever comes too much is
    refused. It holds nothing: each opening of a server builds its own.

    Args:
        max: how many may wait; ``math.inf`` for no bound.
        order: as of a `Queue`.
        overflow: as of a `Queue`; ``"reject"``: calls and casts raise `TooManyRequests`.
        timeout: seconds after which a request that still waits is dropped.
        min: while no more than these wait, no request is dropped for its age.
        codel: a `CoDel`, or ``None``.
        workers: ``"lifo"``: of idle workers, the one that was busy last is served first, so that
            the others can rest; ``"fifo"``: the one that has been idle longest.

    Raises:
        TypeError, ValueError: one of them is wrong.
    """

    max: float = attrs.field(default=math.inf, validator=checks.COUNT_FROM_0_OR_INF.field)
    overflow: str = attrs.field(
        default="reject",
        validator=checks.one_of("wait", "reject", "drop_oldest", "drop_newest").field,
    )
    timeout: float = attrs.field(default=5.0, validator=checks.SECONDS.field)
    workers: str = attrs.field(default="lifo", validator=checks.one_of("lifo", "fifo").field)

    def shared(self) -> Broker:
        """Return a broker for several servers, whose requests wait in one room.

        ``max``, ``min``, ``timeout`` and ``codel`` are then about all that wait there, whoever it
        is for; the oldest of all is dropped first. Each request is served by the server that it
        was sent to, whose own requests are in the broker's ``order``. Each call makes another room.
        """
        control = None if self.codel is None else Control(self.codel)
        fields = {field.name: getattr(self, field.name) for field in attrs.fields(Broker)}
        return _SharedBroker(**fields, common=Common(self.max, control))


@attrs.frozen(kw_only=True)
class _SharedBroker(Broker):
    """Describes a part of a room. What the parts have in common is the one thing it holds."""

    common: Common = attrs.field(repr=False)

    @property
    def ages(self) -> bool:
        """Whether jobs may be dropped for their age. Others may drop them, so they are watched."""
        return True

    def build(self, limit_per_key: int | None = None) -> Room[object]:
        """Return an empty part of the room."""
        plain = Queue(max=math.inf, order=self.order)
        return Part(
            self.common,
            plain.build(limit_per_key),  # type: ignore[arg-type]  # it is for entries only
            self.timeout,
            self.min,
            forgives=self.order != "lifo",
            overflow=self.overflow,
        )
