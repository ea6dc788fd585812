"""Messages: every argument that one names is an option of the command, and is named as such."""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import pytest

from laion_dask import errors
from laion_dask.cli.app import option_names
from laion_dask.errors import LaionDaskError, argument, one_of, parameter

PACKAGE = Path(errors.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
ERRORS = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, LaionDaskError)]


def calls(tree: ast.AST, names: set[str]):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in names:
            yield node


def test_every_argument_that_a_message_marks_is_an_option():
    options = option_names()
    marked = {
        node.args[0].value
        for path in FILES
        for node in calls(ast.parse(path.read_text()), {"argument", "parameter"})
        if node.args and isinstance(node.args[0], ast.Constant)
    }
    assert {"columns", "dialect", "backend", "device"} <= marked
    assert marked <= set(options)
    assert {"columns", "dialect", "rename", "swap_width_height"} <= set(options)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_message_names_an_option_as_python_does(path):
    """Where an argument that is an option too is named in a message, `argument` names it."""
    names = "|".join(name for name in option_names() if name.isidentifier() and len(name) > 1)
    written = re.compile(rf"(?<![\w.\"'(])(?:{names})=")
    tree = ast.parse(path.read_text())
    raised = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    raised += calls(tree, {"warn", "warn_caller", *(kind.__name__ for kind in ERRORS)})
    texts = [
        node.value
        for statement in raised
        for node in ast.walk(statement)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    calls_shown = re.compile(r"[\w.]+\([^()]*(\([^()]*\)[^()]*)*\)?")
    assert not [text for text in texts if written.search(calls_shown.sub("", text))]


@pytest.mark.parametrize("kind", ERRORS)
def test_a_message_is_worded_for_either_door_wherever_it_was_raised(kind):
    error = kind(f"Leave it out with {argument('columns', ['url', 'text'])}: \x1b[31m")
    for same in (error, pickle.loads(pickle.dumps(error))):
        assert str(same) == "Leave it out with columns=['url', 'text']: \\u001b[31m"
        assert same.worded({"columns": "--columns"}.get) == (
            "Leave it out with --columns url,text: \\u001b[31m"
        )
        assert same.worded({}.get) == str(same)


def test_values_are_worded():
    error = LaionDaskError(
        f"{parameter('pq_m')}, {parameter('the weight')}; {argument('swap_width_height', True)} "
        f"{argument('weights')} {argument('k', 5)}"
    )
    assert str(error) == "pq_m, the weight; swap_width_height=True weights= k=5"
    assert error.worded(option_names().get) == (
        "--pq-m, the weight; --swap-width-height --head NAME=FILE -k 5"
    )
    assert one_of("dialect", "x", ["y"]).worded(option_names().get).startswith("--dialect is 'x'.")


def test_an_error_without_a_message():
    assert str(LaionDaskError()) == "" and LaionDaskError("a", 2).args == ("a", 2)
