"""The floors of the package: an import goes down, or stays in its room without going in circles.

Within a room, an import for types only may close a circle: modules that are loaded in some order
may still speak of one another. To another floor it goes down like any other.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

import poolder_trio

# The rooms of each floor, from the ground up. A name is a file or a folder of the package.
HOUSE = [
    ["_version abc errors verdicts"],
    ["policies"],
    ["kernel"],
    ["worker", "executors", "backends", "telemetry"],
    ["pool", "tasker", "batcher", "scheduler"],
    ["factory_pool", "gen_pool", "job_pool named", "async_pool"],
    ["application configuration running"],
    ["testing", "cli overview __main__"],
    ["__init__"],
]
PLACE = {
    name: (floor, room)
    for floor, rooms in enumerate(HOUSE)
    for room in rooms
    for name in room.split()
}
# A policy is given the time and never waits. The standard library's datetime is arithmetic.
NOT_FOR_POLICIES = {"asyncio", "time", "trio", "trio_util"}


def modules(package: Path) -> dict[str, Path]:
    """Every module of a package by its full name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def is_for_types(node: ast.AST) -> bool:
    """Whether it is the block that only type checkers read."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(module: str, path: Path, known: dict[str, Path], *, types: bool) -> Iterator[str]:
    """The full name of whatever a module imports, wherever in the file it does.

    With ``types=False``, without what it imports for types only.
    """
    home = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = [] if types else [node for node in ast.walk(tree) if is_for_types(node)]
    hidden = {id(inner) for node in skipped for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), home)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if inner in known else source


def name_in_house(module: str) -> str:
    """The file or folder of the package that a module is, or is in."""
    return [*module.split("."), "__init__"][1]


def arrows(package: Path, *, types: bool = True) -> dict[str, set[str]]:
    """What each module of a package imports."""
    known = modules(package)
    return {
        module: set(imports(module, path, known, types=types)) for module, path in known.items()
    }


def faults(package: Path) -> list[str]:
    """A sentence for each import that is not allowed."""
    graph = arrows(package)
    if homeless := [m for m in graph if name_in_house(m) not in PLACE]:
        return [f"{module} is on no floor" for module in homeless]
    found: list[str] = []
    loaded = arrows(package, types=False)
    within: dict[str, set[str]] = {}
    for module, targets in graph.items():
        floor, room = PLACE[name_in_house(module)]
        for target in sorted(targets):
            if room == "policies" and target.split(".")[0] in NOT_FOR_POLICIES:
                found.append(f"{module} imports {target}, and policies may not")
            if target.split(".")[0] != package.name:
                continue
            its_floor, its_room = PLACE[name_in_house(target)]
            if its_room == room:
                within.setdefault(module, set()).update({target} & loaded[module])
            elif its_floor >= floor:
                found.append(f"{module} imports {target}, not on a floor below")
    try:
        TopologicalSorter(within).prepare()
    except CycleError as error:
        found.append(f"a circle: {' <- '.join(error.args[1])}")
    return found


HERE = Path(poolder_trio.__file__).parent


def test_imports_go_down_only() -> None:
    assert faults(HERE) == []


def test_the_walk_reaches_the_whole_package() -> None:
    graph = arrows(HERE)
    assert {"poolder_trio.errors", "poolder_trio.kernel", "poolder_trio.policies"} <= graph.keys()
    assert "poolder_trio.errors" in graph["poolder_trio"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {"worker.py": "from toy.pool import Pool", "pool.py": ""},
            ["toy.worker imports toy.pool, not on a floor below"],
            id="up",
        ),
        pytest.param(
            {"kernel/job.py": "from .. import worker", "worker.py": ""},
            ["toy.kernel.job imports toy.worker, not on a floor below"],
            id="up, by a relative import of a module",
        ),
        pytest.param(
            {"kernel/job.py": "from ..worker import Worker", "worker.py": ""},
            ["toy.kernel.job imports toy.worker, not on a floor below"],
            id="up, by a relative import from a module",
        ),
        pytest.param(
            {"policies/__init__.py": "from ..kernel import job", "kernel/job.py": ""},
            ["toy.policies imports toy.kernel.job, not on a floor below"],
            id="up, from the init of a folder",
        ),
        pytest.param(
            {"errors.py": "def late():\n    import toy.worker", "worker.py": ""},
            ["toy.errors imports toy.worker, not on a floor below"],
            id="up, hidden in a function",
        ),
        pytest.param(
            {
                "errors.py": "from typing import TYPE_CHECKING\n"
                "if TYPE_CHECKING:\n    from .worker import Worker",
                "worker.py": "",
            },
            ["toy.errors imports toy.worker, not on a floor below"],
            id="up, for types only",
        ),
        pytest.param(
            {"testing.py": "from . import Pool"},
            ["toy.testing imports toy, not on a floor below"],
            id="up, to the face",
        ),
        pytest.param(
            {"pool.py": "from .tasker import Tasker", "tasker.py": ""},
            ["toy.pool imports toy.tasker, not on a floor below"],
            id="sideways",
        ),
        pytest.param(
            {"backends/redis.py": "import toy.executors.dask", "executors/dask.py": ""},
            ["toy.backends.redis imports toy.executors.dask, not on a floor below"],
            id="sideways, between folders",
        ),
        pytest.param(
            {"kernel/a.py": "from .b import x", "kernel/b.py": "def f():\n    from . import a"},
            ["a circle: toy.kernel.a <- toy.kernel.b <- toy.kernel.a"],
            id="in a circle",
        ),
        pytest.param(
            {
                "kernel/a.py": "from .b import x",
                "kernel/b.py": "from typing import TYPE_CHECKING\n"
                "if TYPE_CHECKING:\n    from .a import y",
            },
            [],
            id="in a circle for types only",
        ),
        pytest.param(
            {"policies/rate.py": "import trio.lowlevel\nfrom time import monotonic"},
            [
                "toy.policies.rate imports time, and policies may not",
                "toy.policies.rate imports trio.lowlevel, and policies may not",
            ],
            id="trio and clocks in a policy",
        ),
        pytest.param({"attic.py": ""}, ["toy.attic is on no floor"], id="a file on no floor"),
        pytest.param(
            {
                "__init__.py": "from .application import run",
                "application.py": "import trio\nfrom . import job_pool",
                "job_pool.py": "from .kernel.job import Job",
                "kernel/job.py": "from .mailbox import Mailbox\nfrom ..policies import retry",
                "kernel/mailbox.py": "from .. import abc",
                "abc.py": "",
                "policies/retry.py": "from ..verdicts import RETRY",
                "verdicts.py": "from .errors import PoolderError",
            },
            [],
            id="down, and within a room",
        ),
    ],
)
def test_the_walk_catches_an_import_that_goes(
    files: dict[str, str], expected: list[str], tmp_path: Path
) -> None:
    for name, text in files.items():
        path = tmp_path / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert faults(tmp_path / "toy") == expected
