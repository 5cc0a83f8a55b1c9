"""What is installed: the face, the version and the marker for type checkers."""

import ast
from importlib import metadata, resources
from pathlib import Path

import poolder_trio

FACE = ast.parse(Path(poolder_trio.__file__).read_text(encoding="utf-8"))


def constants_classes_rest(name: str) -> tuple[bool, bool, str]:
    """The order that ruff keeps `__all__` in."""
    return (not name.isupper(), not name[0].isupper(), name)


def test_all_is_sorted() -> None:
    assert poolder_trio.__all__ == sorted(poolder_trio.__all__, key=constants_classes_rest)


def test_all_names_what_the_face_imports_and_nothing_else() -> None:
    imported = [
        alias.asname or alias.name
        for node in FACE.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert sorted(imported) == sorted(poolder_trio.__all__)


def test_every_name_in_all_can_be_imported() -> None:
    assert [name for name in poolder_trio.__all__ if not hasattr(poolder_trio, name)] == []


def test_the_face_holds_a_docstring_imports_and_all() -> None:
    docstring, *imports, names = FACE.body
    assert isinstance(docstring, ast.Expr)
    assert all(isinstance(node, ast.ImportFrom) for node in imports)
    assert isinstance(names, ast.Assign)


def test_the_version_is_the_installed_one() -> None:
    assert poolder_trio.__version__ == metadata.version("poolder-trio")


def test_type_checkers_find_the_marker() -> None:
    assert resources.files(poolder_trio).joinpath("py.typed").is_file()
