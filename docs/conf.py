"""How Sphinx builds these pages."""

from __future__ import annotations

import inspect
import math
import re
from typing import TYPE_CHECKING

import attrs
from sphinx.pycode import ModuleAnalyzer

import poolder_trio
from poolder_trio.kernel.options import Options

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "poolder_trio"
copyright = "the poolder_trio developers"
version = release = poolder_trio.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 2
napoleon_custom_sections = [
    ("Options", "params_style"),
    ("Args that all methods share", "params_style"),
    ("Errors that all methods share", "params_style"),
]
napoleon_attr_annotations = False
napoleon_numpy_docstring = False
exclude_patterns = ["_build"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wide.css"]

# Seconds. Whoever asks for fewer requests is not waited for: links.py lists that link.
linkcheck_timeout = 10
linkcheck_rate_limit_timeout = 1.0

# What stands between single backticks in docstrings is a name, and a link if it is on some page.
default_role = "py:obj"
# Users import from `poolder_trio`, wherever something is defined.
add_module_names = False
toc_object_entries_show_parents = "hide"

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autoclass_content = "both"
python_display_short_literal_types = True
autodoc_default_options = {
    # What the kernel asks of a component is public inside of this library alone.
    "exclude-members": (
        "OPTIONS, HOOKS, LIMITS, KIND, BOUNDED, declared, take, employ, crew_changed, rests, "
        "route_again, family, forget, title, before_task_step"
    ),
}

#: Users get instances of these, and make none.
GIVEN = {
    "ApplicationReport",
    "BatchStream",
    "Call",
    "Codec",
    "Completion",
    "Dispatch",
    "ErrorVerdict",
    "Executor",
    "GenPoolWorker",
    "Job",
    "Outlet",
    "Ref",
    "Request",
    "RestartLimitExceeded",
    "Room",
    "Run",
    "ScheduleStatistics",
    "Service",
    "ShutdownReport",
    "StateBackend",
    "StateSource",
    "Statistics",
    "Timer",
    "TooManyRequests",
    "Trigger",
    "Waiting",
    "WorkerInfo",
    "WorkerRef",
}
OPTION = re.compile(r"    (\w+): (.*)")


def setup(app: Sphinx) -> None:
    """Make what is generated from docstrings and annotations easy to read."""
    app.connect("autodoc-process-signature", shorten_signature)
    # Before napoleon takes the sections apart.
    app.connect("autodoc-process-docstring", complete_docstring, priority=400)
    app.connect("autodoc-process-bases", name_bases)


def shorten_signature(
    app: Sphinx, what: str, name: str, obj: object, _: object, args: str | None, __: str | None
) -> tuple[str, str] | None:
    """Show one signature: names, defaults as one writes them, and what is returned."""
    notes = app.env.current_document.autodoc_annotations.get(name, {})
    overloads = overloads_of(what, obj)
    if overloads:
        # The plainest says most: the others are of options that make the result another.
        notes["return"] = min((str(each.return_annotation) for each in overloads), key=len)
    for each, note in notes.items():
        notes[each] = plain(note)
    for each in [each for each, note in notes.items() if "Unpack[" in note]:
        del notes[each]
    returned = notes.pop("return", None)
    if args is None:
        return None
    if what in {"class", "exception"}:
        return ("", "") if name.rpartition(".")[2] in GIVEN else (plain(args), "")
    if what in {"function", "method"}:
        return plain(args), "" if returned in {None, "None"} else str(returned)
    return None


def overloads_of(what: str, obj: object) -> list[inspect.Signature]:
    """Return the overloads of a function, or of a class's construction, and hide them."""
    if not hasattr(obj, "__qualname__"):
        return []
    found = []
    for kind in inspect.getmro(obj) if isinstance(obj, type) else [obj]:
        if not getattr(kind, "__module__", "").startswith("poolder_trio"):
            continue
        analyzer = ModuleAnalyzer.for_module(kind.__module__)
        analyzer.analyze()
        suffix = ".__init__" if what in {"class", "exception"} else ""
        found += HIDDEN.setdefault(kind, analyzer.overloads.pop(f"{kind.__qualname__}{suffix}", []))
    return found


HIDDEN: dict[object, list[inspect.Signature]] = {}


def plain(text: str) -> str:
    """Return a signature, or an annotation, without what only type checkers want to know."""
    # What is made to an async context manager tells how it is written, and not what it is.
    text = re.sub(r"\bAsyncGenerator\[(\w+)\]", r"AbstractAsyncContextManager[\1]", text)
    text = text.replace("Manager[Opened]", "Manager[StateBackend]")
    text = re.sub(r"~?\bpoolder_trio\.(?:\w+\.)*(?=_?[A-Z])", "", text)
    text = text.replace("Mapped[S, T]", "AbstractAsyncContextManager[ReceiveChannel[T]]")
    text = text.replace("ErrorTypes", "type[Exception] | tuple[type[Exception], ...]")
    text = re.sub(r" \| [^|]*_Same\.SAME\]?", "", text)
    text = re.sub(r"\b([A-Z])_co\b", r"\1", text)
    text = text.replace("[[Unpack[Ts]], ", "[..., ").replace("<class 'Exception'>", "Exception")
    text = re.sub(r"=inf\b", "=math.inf", text)
    return re.sub(r"=(NOTHING|_Same\.SAME|<[^>]*>)", "=...", text)


def complete_docstring(
    _: Sphinx, what: str, name: str, obj: object, __: object, lines: list[str]
) -> None:
    """Give options their types and defaults, and constants what is said where they are made."""
    if what == "data":
        found = ModuleAnalyzer.for_module("poolder_trio.verdicts").find_attr_docs()
        lines[:] = found.get(("", name.rpartition(".")[2]), lines)
    if what in {"attribute", "property"} and lines:
        # Else napoleon takes what stands before the first colon for its type.
        lines[0] = f": {lines[0]}"
    if what != "class":
        return
    lines[:] = [line for line in lines if not line.startswith("Method generated by attrs")]
    if isinstance(obj, type) and issubclass(obj, Options):
        for number, line in enumerate(lines):
            option = OPTION.fullmatch(line)
            if option and option[1] in obj.OPTIONS and option[2] != "see the class.":
                lines[number] = f"    {option[1]} ({type_and_default(obj, option[1])}): {option[2]}"


def type_and_default(kind: type[Options], name: str) -> str:
    """Return what an option may be, and what it is if nothing is said."""
    known = (inspect.get_annotations(each) for each in kind.__mro__)
    text = f"``{next(notes[name] for notes in known if name in notes)}``"
    return f"{text}, default ``{shown(kind.declared(name))}``" if hasattr(kind, name) else text


def shown(value: object) -> str:
    """Return a default as one would write it."""
    if value == math.inf:
        return "math.inf"
    if not attrs.has(type(value)):
        return repr(value)
    said = [
        f"{field.name}={getattr(value, field.name)!r}"
        for field in attrs.fields(type(value))
        if field.init and getattr(value, field.name) != field.default
    ]
    return f"{type(value).__name__}({', '.join(said)})"


def name_bases(_: Sphinx, __: str, ___: object, ____: object, bases: list[object]) -> None:
    """Show the bases that users know; those of Trio with where they are from."""
    bases[:] = [
        f"`trio.{base.__name__}`" if getattr(base, "__module__", "") == "trio" else base
        for base in bases
        if "Generic" not in str(base) and "Protocol" not in str(base)
    ]
