"""A program: components that are opened in order, found by name, and closed in reverse."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, TypedDict, TypeVar, cast, overload

import attrs
import trio

from poolder_trio import configuration
from poolder_trio.errors import DuplicateName
from poolder_trio.job_pool import JobPool
from poolder_trio.kernel.accounts import ShutdownReport, Tally
from poolder_trio.kernel.family import Family
from poolder_trio.kernel.service import Service, Stage
from poolder_trio.policies import checks
from poolder_trio.policies.unstarted import close_unstarted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AsyncExitStack
    from types import TracebackType
    from typing import Literal

    from typing_extensions import Self, Unpack

C = TypeVar("C")


class ApplicationOptions(TypedDict, total=False):
    """What `Application` takes by keyword."""

    children: Sequence[Service | type[Service]]
    default_pool: str | Literal[False]
    pool_size: int
    extra_pools: Sequence[str]
    options: Mapping[str, Mapping[str, object]]
    name: str | None
    grace: float


@attrs.frozen(kw_only=True)
class ApplicationReport(ShutdownReport[object]):
    """What became of the jobs of all children together, and of each."""

    #: The report of each child that was opened, by its name, in the order of opening.
    children: Mapping[str, ShutdownReport[object]]
    #: Whether jobs were cancelled, or abandoned, since the application began to stop.
    cut: bool


def _is_component(value: object) -> bool:
    return isinstance(value, Service) or (isinstance(value, type) and issubclass(value, Service))


def _are_children(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(map(_is_component, value))


def _are_names(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value)


def _differ(names: object) -> bool:
    listed = list(cast("Iterable[str]", names))
    return len(set(listed)) == len(listed) and all(listed)


def _are_options(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(its, Mapping) for name, its in value.items()
    )


class Application(Service):
    """Opens components in order, each inside of the one before, and closes them in reverse.

    ::

        app = Application(
            MyPool,
            MyBatcher,
            Tasker(name="mytasker", limit=5),
            MyPeriodicJobs,
            extra_pools=["email"],
        )
        poolder_trio.run(app)           # until app.close(), or a signal

        async with app:                 # or as a block, which is left like any component's
            await app[MyPool].cast(message)
            await app["mytasker"].execute(fetch, url)
            await perform("job", send, user)

    A child is found by its name, or by its class; one without a name goes by that of its class.
    The default `JobPool` and the extra ones are opened first, so that all children may use them.
    A child may use those before it for as long as it runs: closing, and leaving the block, let the
    last child finish before the one before it closes.

    If a child cannot be opened, those that are open are cancelled, the last one first, and the
    error that leaves says which child it was. What fails a child later leaves the block likewise.

    Children are passed, or declared in a subclass as ``children = [MyPool, ...]``; so are options.

    Options:
        default_pool: the name of the default pool; ``False`` for none.
        pool_size: how many functions the default pool and each extra pool run at once.
        extra_pools: names of further `JobPool` components.
        options: dicts of options for the pools above, and for children that are passed as
            classes, by their names: ``{"email": {"pool_size": 2}}``.
        name: by which `whereis` finds the application.
        grace: seconds that leaving the block waits for all children together before it cancels
            what is left.
    """

    OPTIONS: ClassVar[Mapping[str, checks.Check]] = {
        **Service.OPTIONS,
        "children": checks.Check(
            "a list or tuple of components, such as a Pool, or of classes of them", _are_children
        ),
        "default_pool": checks.Check(
            "a str, or False for none",
            lambda v: v is False or isinstance(v, str),
            lambda v: v is False or bool(v),
        ),
        "pool_size": checks.COUNT,
        "extra_pools": checks.Check("a list or tuple of different names", _are_names, _differ),
        "options": checks.Check("a dict of dicts of options, by name", _are_options),
    }

    children: Sequence[Service | type[Service]] = ()
    default_pool: str | Literal[False] = "job"
    pool_size: int = 5
    extra_pools: Sequence[str] = ()
    options: Mapping[str, Mapping[str, object]] = {}

    _members: Mapping[str, Service]
    _family: Family | None = None

    def __init__(
        self, *components: Service | type[Service], **options: Unpack[ApplicationOptions]
    ) -> None:
        """Describe an application; entering it with ``async with`` opens it.

        Args:
            components: the children, or classes of them that need no argument, in order.
            options: see the class.

        Raises:
            TypeError, ValueError: an option is unknown or wrong, or a child is no component.
            DuplicateName: two children have the same name, or would be open under one.
        """
        where = type(self).__name__
        passed: dict[str, object] = dict(options)
        if components:
            if "children" in passed:
                raise TypeError(f"children are given twice: by position, and by name ({where})")
            passed["children"] = components
        listed = passed.get("children")
        for child in listed if isinstance(listed, (list, tuple)) else ():
            if not _is_component(child):
                close_unstarted(child)
                raise TypeError(
                    f"children must be components, such as a Pool, or classes of them, "
                    f"got {child!r} ({where})"
                )
        self.take(passed)
        self._members = self._make_members(where)
        _refuse_doubles(self, where)

    @classmethod
    def from_toml(
        cls, path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None
    ) -> Self:
        """Make the application that a TOML file describes.

        The table is ``[tool.poolder-trio]``, or the whole of a file of its own. Its keys are the
        options, and ``children``: an array of ``"module:attribute"``, or of tables with that under
        ``use`` and the child's options beside it. ``queue``, ``rate``, ``restart`` and ``retry``
        are tables of their arguments. An environment variable ``POOLDER_TRIO_DEFAULT_POOL``,
        ``..._POOL_SIZE``, ``..._EXTRA_POOLS`` (with commas), ``..._GRACE`` or ``..._NAME``
        overrides the file.

        Args:
            path: of the file.
            environ: what stands for the environment; by default, that of the process.

        Raises:
            OSError: the file cannot be read.
            TypeError, ValueError, ImportError: the file, a variable or a child is wrong.
        """
        options = configuration.read(path)
        environ = os.environ if environ is None else environ
        for variable, (name, value) in configuration.overrides(environ).items():
            cls.OPTIONS[name](variable, value, "the environment")
            options[name] = value
        try:
            return cls(**cast("ApplicationOptions", options))
        except (TypeError, ValueError) as error:
            raise configuration.located(error, os.fspath(path)) from error

    def __repr__(self) -> str:
        return f"<{self._title}, {len(self._members)} children, {self._stage.name.lower()}>"

    # -- children

    @overload
    def __getitem__(self, key: type[C]) -> C: ...
    @overload
    def __getitem__(self, key: str) -> Service: ...
    def __getitem__(self, key: str | type[C]) -> Service | C:
        """Return a child by its name, or the one child of a class, or else of its subclasses.

        Raises:
            LookupError: there is none, or more than one of the class.
        """
        if isinstance(key, str):
            if key in self._members:
                return self._members[key]
            there = configuration.hint(key, self._members)
            raise LookupError(f"{self._title} has no child {key!r}{there}")
        found = {name: child for name, child in self._members.items() if type(child) is key} or {
            name: child for name, child in self._members.items() if isinstance(child, key)
        }
        if len(found) != 1:
            which = ", ".join(map(repr, found)) or "none"
            raise LookupError(
                f"{self._title} must have one child of {key.__name__} to be found by its class; "
                f"there is {which}"
            )
        return cast("C", next(iter(found.values())))

    def __contains__(self, key: object) -> bool:
        """Tell whether a child has this name, or class, or is this object."""
        if isinstance(key, str):
            return key in self._members
        return any(
            child is key or (isinstance(key, type) and isinstance(child, key)) for child in self
        )

    def __iter__(self) -> Iterator[Service]:
        """Return all children, in the order of opening, the default and extra pools first."""
        return iter(self._members.values())

    def __len__(self) -> int:
        """Return how many children there are."""
        return len(self._members)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the children, in the order of opening."""
        return tuple(self._members)

    def _make_members(self, where: str) -> Mapping[str, Service]:
        members: dict[str, Service] = {}
        options = {name: dict(its) for name, its in self.options.items()}
        pools = [*([self.default_pool] if self.default_pool else []), *self.extra_pools]

        def add(child: Service) -> None:
            name = _name_of(child)
            if name in members:
                raise DuplicateName(
                    f"two children would be found as {name!r}: "
                    f"give one of them a name= of its own ({where})"
                )
            members[name] = child

        for pool in pools:
            its = {"pool_size": self.pool_size, **options.pop(pool, {})}
            if its.setdefault("name", pool) != pool:
                raise ValueError(f"options for {pool!r} must not name it otherwise ({where})")
            add(_made(JobPool, its, pool, where))
        for child in self.children:
            name = _name_of(child)
            if isinstance(child, type):
                add(_made(child, options.pop(name, {}), name, where))
                continue
            add(child)
            if name in options:
                raise TypeError(
                    f"options for {name!r} come too late, for it is an instance: "
                    f"pass them where it is made, or pass its class ({where})"
                )
        for name in options:
            raise ValueError(
                f"options for {name!r}, and no such child{configuration.hint(name, members)} "
                f"({where})"
            )
        return members

    # -- what the kernel asks of a component

    async def _prepare(self, stack: AsyncExitStack) -> None:
        log = logging.getLogger("poolder_trio.application")
        self._engine = self._family = Family(
            self._title, log, self._refuse_own_wait, self._opening_of
        )
        members = tuple(self._members.items())
        await self._family.open(members, stack, lambda: self._closes_early)

    async def _start(self, nursery: trio.Nursery) -> Family:  # noqa: ARG002  # children have theirs
        await trio.lowlevel.checkpoint()
        assert self._family is not None
        return self._family

    async def _leave(
        self,
        exc_type: type[BaseException] | None,  # noqa: ARG002
        exc: BaseException | None,
        traceback: TracebackType | None,  # noqa: ARG002
    ) -> None:
        # The children's own blocks are left next, the last one first: each waits for what was
        # accepted, or is cancelled if there is an error.
        assert self._family is not None
        if exc is None:
            self._is_left = True
            self.resume()
            self._family.leave(self.grace)
        self._stage = Stage.CLOSING
        await trio.lowlevel.cancel_shielded_checkpoint()

    @staticmethod
    def _opening_of(child: Service) -> object:
        return child._stage, child._engine  # noqa: SLF001  # a component asks another of its kind

    def _refuse_own_wait(self, what: str) -> None:
        for child in self:
            if child._engine is not None:  # noqa: SLF001  # a component asks another of its kind
                child._engine.refuse_own_wait(what)  # noqa: SLF001  # as above

    # -- for users

    async def run(self, *, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED) -> None:
        """Be open until it is closed, then leave the block, within ``grace``.

        ``app = await nursery.start(Application(...).run)``, which returns when all children are
        open; `poolder_trio.run` is this with signals.

        Args:
            task_status: what ``nursery.start`` passes.
        """
        async with self:
            task_status.started(self)
            assert self._family is not None
            await self._family.told.wait()

    @property
    def report(self) -> ApplicationReport:
        """What became of the jobs of this opening, or of the last one."""
        family = self._family
        total = attrs.asdict(
            (Tally() if family is None else family.total()).report(), recurse=False
        )
        return ApplicationReport(
            **total,
            children={} if family is None else family.reports(),
            cut=family is not None and family.has_cut(),
        )


def _name_of(child: Service | type[Service]) -> str:
    kind = child if isinstance(child, type) else type(child)
    name = child.declared("name") if isinstance(child, type) else child.name
    return name if isinstance(name, str) else kind.__name__


def _tree(app: Application, path: str) -> Iterator[tuple[str, Service]]:
    for name, child in zip(app.names, app, strict=True):
        yield f"{path}{name}", child
        if isinstance(child, Application):
            yield from _tree(child, f"{path}{name}.")


def _refuse_doubles(app: Application, where: str) -> None:
    """Raise `DuplicateName` if the components could not all be open at the same time."""
    taken = {} if app.name is None else {app.name: "the application itself"}
    paths: dict[int, str] = {}
    for path, child in _tree(app, ""):
        if id(child) in paths:
            raise DuplicateName(
                f"{path!r} and {paths[id(child)]!r} are the same component, which cannot be open "
                f"twice: make a second one ({where})"
            )
        paths[id(child)] = path
        if child.name is None:
            continue
        if child.name in taken:
            raise DuplicateName(
                f"{path!r} and {taken[child.name]} would both be open under the name "
                f"{child.name!r}: give one of them another ({where})"
            )
        taken[child.name] = repr(path)


def _made(kind: type[Service], options: Mapping[str, object], name: str, where: str) -> Service:
    try:
        return cast("Callable[..., Service]", kind)(**options)
    except (TypeError, ValueError) as error:
        raise configuration.located(error, f"child {name!r} of {where}") from error
