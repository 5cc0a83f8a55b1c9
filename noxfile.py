"""The sessions: `python -m nox -s tests` runs the tests on every installed Python from 3.10 on."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"  # comes with nox
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "typing", "tests"]

PYPROJECT = nox.project.load_toml("pyproject.toml")


def output(*command: str | Path) -> str:
    """Run a command and return what it prints: nothing, if it fails."""
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


def candidates() -> Iterator[Path]:
    """Folders where Pythons may be: pyenv's, whether or not it has activated them, then PATH."""
    root = os.environ.get("PYENV_ROOT")
    if root is None and (pyenv := shutil.which("pyenv")):
        root = output(pyenv, "root")
    yield from sorted(Path(root or Path.home() / ".pyenv").glob("versions/*/bin"))
    yield from map(Path, os.get_exec_path())


def runs(python: Path, version: str) -> bool:
    """Whether it is a released CPython of that version: a shim on PATH may lead nowhere."""
    code = "import sys; print(sys.implementation.name, *sys.version_info[:2], sys.version_info[3])"
    return output(python, "-c", code).split() == ["cpython", *version.split("."), "final"]


def installed() -> dict[str, Path]:
    """Every version from 3.10 on and its folder, oldest first; the Python that runs nox is one."""
    here = "{}.{}".format(*sys.version_info)
    found = {here: Path(sys.executable).parent}
    for folder in candidates():
        for python in folder.glob("python3.*"):
            name = re.fullmatch(r"python(3\.\d\d+)", python.name)
            if name and name[1] not in found and runs(python, name[1]):
                found[name[1]] = folder
    return dict(sorted(found.items()))


INSTALLED = installed()
OLDEST, NEWEST = min(INSTALLED), max(INSTALLED)
# nox looks on PATH, where pyenv's shims of versions that are not active would come first.
os.environ["PATH"] = os.pathsep.join([*map(str, INSTALLED.values()), os.environ["PATH"]])


def install(session: nox.Session, group: str, *packages: str) -> None:
    """Install a dependency group, and packages beside it."""
    session.install(*packages, *nox.project.dependency_groups(PYPROJECT, group))


@nox.session(python=[*INSTALLED])
def tests(session: nox.Session) -> None:
    """Run the tests on every Python; arguments after -- go to pytest."""
    install(session, "test", ".")
    chosen = [] if session.python == NEWEST else ["-m", "not once"]
    session.run("pytest", "-n", "auto", *chosen, *session.posargs)


@nox.session(python=OLDEST)
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest release of each dependency that the project allows."""
    bounds = [bound.replace(">=", "==") for bound in PYPROJECT["project"]["dependencies"]]
    install(session, "test", ".", *bounds)
    session.run("pytest", *session.posargs)


@nox.session(python=NEWEST)
def coverage(session: nox.Session) -> None:
    """Run the tests once more and report the lines and branches that none of them took."""
    install(session, "test", ".")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "report")


@nox.session(python=NEWEST)
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session(python=[*dict.fromkeys([OLDEST, NEWEST])])
def typing(session: nox.Session) -> None:
    """Check types with mypy and pyright, as the oldest and the newest Python see them."""
    install(session, "typing", ".")
    session.run("mypy")
    session.run("pyright")


@nox.session(python=NEWEST)
def demo(session: nox.Session) -> None:
    """Run the example that archives a site; arguments after -- go to it."""
    install(session, "examples", ".")
    session.run("python", "examples/archive_site.py", *session.posargs)


@nox.session(python=NEWEST)
def bench(session: nox.Session) -> None:
    """Measure against peers in one run and print the ratios; arguments after -- go to it."""
    install(session, "bench", ".")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session(python=NEWEST)
def docs(session: nox.Session) -> None:
    """Build the documentation into docs/_build/html; a warning or a broken link fails it."""
    install(session, "docs", ".")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    found = "docs/_build/linkcheck"
    # It fails without a network, too: links.py tells what is broken from what is not known.
    session.run("sphinx-build", "-q", "-b", "linkcheck", "docs", found, success_codes=[0, 1])
    session.run("python", "docs/links.py", f"{found}/output.json")


@nox.session(python=NEWEST)
def build(session: nox.Session) -> None:
    """Build the wheel and the sdist, and run the README's example from the installed wheel."""
    install(session, "build")
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist))
    session.run("twine", "check", "--strict", *map(str, dist.iterdir()))
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    allowed = ("poolder_trio/", wheel.name.partition("-py3")[0] + ".dist-info/")
    strangers = [name for name in names if not name.startswith(allowed)]
    if strangers or "poolder_trio/py.typed" not in names:
        session.error(f"expected poolder_trio/ with py.typed and nothing else, got {strangers}")
    fresh = dist.parent / "fresh"
    session.run("python", "-m", "venv", "--clear", str(fresh))
    python = fresh.absolute() / ("Scripts" if os.name == "nt" else "bin") / "python"
    session.run(str(python), "-m", "pip", "install", "--quiet", str(wheel), external=True)
    readme = Path("README.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    # From an empty folder: what is imported is what was installed.
    with session.chdir(fresh):
        session.run(str(python), "-W", "error", "-c", found[1], external=True)
