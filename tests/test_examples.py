"""Docstring examples run on the demo corpus, and every public name has one."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import shutil
from types import ModuleType

import pytest
from support.source_code import FILES, module_of, tree
from support.weight_stand_ins import write_weight_stand_ins

import laion_dask as ld
from laion_dask.verbs import VERBS


def public(*owners: ModuleType):
    for owner in owners:
        for name in owner.__all__:
            value = getattr(owner, name)
            if callable(value) and inspect.getdoc(value):
                yield pytest.param(value, id=f"{owner.__name__}.{name}")


@pytest.fixture(scope="module")
def corpus(demo_folder, tmp_path_factory):
    """A working folder with the demo corpus and weight files, as the examples expect it."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(demo_folder, folder / "demo-corpus")
    write_weight_stand_ins(folder)
    return folder


@pytest.mark.parametrize("value", list(public(ld, ld.heads, ld.stats)))
def test_examples_run(value, corpus, monkeypatch):
    monkeypatch.chdir(corpus)
    tests = doctest.DocTestFinder(recurse=False).find(value, globs={})
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    output: list[str] = []
    for test in tests:
        runner.run(test, out=output.append, clear_globs=False)
        assert not runner.failures, "".join(output)
        if inspect.isclass(value) and test.examples:
            made = any(isinstance(one, value) for one in test.globs.values())
            assert made or value.__name__ in names_used(value)


def internal():
    """The other docstrings of the package that have examples; they use the module's own names."""
    tested = {inspect.getdoc(param.values[0]) for param in public(ld, ld.heads, ld.stats)}
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for path in FILES:
        for node in ast.walk(tree(path)):
            text = ast.get_docstring(node) if isinstance(node, documented) else None
            if text and ">>>" in text and text not in tested:
                name = getattr(node, "name", "module")
                yield pytest.param(module_of(path), text, id=f"{module_of(path)}.{name}")


@pytest.mark.parametrize("module, docstring", list(internal()))
def test_examples_of_internal_names_run(module, docstring, corpus, monkeypatch):
    monkeypatch.chdir(corpus)
    names = dict(vars(importlib.import_module(module)))
    test = doctest.DocTestParser().get_doctest(docstring, names, module, None, None)
    assert not all(doctest.SKIP in example.options for example in test.examples)
    output: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert not runner.run(test, out=output.append).failed, "".join(output)


def test_internal_examples_are_found():
    ids = {param.id for param in internal()}
    assert {
        "laion_dask.stats.jeffreys.jeffreys",
        "laion_dask.io.parquet.hive.folder_columns",
    } <= ids


def test_every_public_function_and_verb_is_called_by_its_example():
    """By a statement that runs; ``+SKIP`` is for what cannot run in documentation."""
    values = [param.values[0] for param in public(ld, ld.heads)]
    values += [verb.load() for verb in VERBS.values()]
    functions = [value for value in values if not inspect.isclass(value)]
    lacking = {f.__name__ for f in functions if f.__name__ not in names_used(f, only_calls=True)}
    assert len(functions) > 60 and not lacking


def test_every_public_class_has_an_example_that_runs():
    """`test_examples_run` checks that it uses the class, or that an instance results."""
    classes = [param.values[0] for param in public(ld, ld.heads)]
    lacking = {c.__name__ for c in classes if inspect.isclass(c) and not names_used(c)}
    assert not lacking


def names_used(value, only_calls: bool = False) -> set[str]:
    """The names and attributes that the example's statements, except skipped ones, use or call."""
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(value))
    running = [one.source for one in examples if doctest.SKIP not in one.options]
    nodes = [node for source in running for node in ast.walk(ast.parse(source))]
    if only_calls:
        nodes = [node.func for node in nodes if isinstance(node, ast.Call)]
    named = {node.id for node in nodes if isinstance(node, ast.Name)}
    return named | {node.attr for node in nodes if isinstance(node, ast.Attribute)}
