"""Docstring examples of public names run on the demo corpus, and every public name has one."""

from __future__ import annotations

import doctest
import inspect
import shutil

import pytest

import laion_dask as ld
from laion_dask.verbs import VERBS

#: Names without their own example: results, shown by the functions that return them, and what
#: plots, starts workers, trains or needs files that are not here, shown in the notebooks and
#: README.
SHOWN_ELSEWHERE = {
    *("DemoCorpus", "Distribution", "EmbeddingSpace", "Export", "Images", "Index", "Mix", "Plan"),
    *("Embeddings", "LaionDaskError", "Rows", "Summary", "Vectors"),
    *("association", "connect", "histogram", "open_index", "scaling_plot", "score_plot", "show"),
    *("start_cluster", "threshold_plot", "write_term_list"),
}


def public():
    for owner in (ld, ld.heads, ld.stats):
        for name in owner.__all__:
            value = getattr(owner, name)
            if callable(value) and inspect.getdoc(value):
                yield pytest.param(value, id=f"{owner.__name__}.{name}")


@pytest.fixture(scope="module")
def corpus(demo_folder, tmp_path_factory):
    """A working folder with the demo corpus, as the examples expect it."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(demo_folder, folder / "demo-corpus")
    return folder


@pytest.mark.parametrize("value", list(public()))
def test_examples_run(value, corpus, monkeypatch):
    monkeypatch.chdir(corpus)
    tests = doctest.DocTestFinder(recurse=False).find(value, globs={})
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    output: list[str] = []
    for test in tests:
        runner.run(test, out=output.append)
    assert not runner.failures, "".join(output)


def test_public_functions_have_an_example():
    lacking = {
        name
        for name in ld.__all__
        if callable(getattr(ld, name)) and ">>>" not in inspect.getdoc(getattr(ld, name))
    }
    assert lacking <= SHOWN_ELSEWHERE


def test_every_verb_has_an_example_that_runs():
    """At least one of its statements runs; ``+SKIP`` is for what cannot run in documentation."""
    parser = doctest.DocTestParser()
    for name, verb in VERBS.items():
        examples = parser.get_examples(inspect.getdoc(verb.load()))
        assert not all(doctest.SKIP in example.options for example in examples), name
