"""The reference covers every public name, and the check of built pages finds broken links."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest
from support.paths import ROOT

import laion_dask as ld


def load(name: str) -> ModuleType:
    """Load a module of ``docs/``."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    load("reference_pages").write(folder)
    return {path.stem: path.read_text() for path in folder.glob("*.rst")}


def test_every_public_name_has_a_page(reference):
    listed = {line.strip() for text in reference.values() for line in text.splitlines()}
    modules = {name for name in ld.__all__ if name in ld._SUBMODULES}
    assert set(ld.__all__) - modules <= listed


def test_every_error_is_listed(reference):
    assert "``MissingExtraError``" in reference["errors"]
    assert "``ImportError``" in reference["errors"]


def test_links_that_lead_nowhere_are_found(tmp_path):
    (tmp_path / "b.html").write_text('<p id="here">')
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">1</a><a href="b.html#gone">2</a><a href="c.html">3</a>'
        '<script src="https://cdn.example/x.js"></script><a href="https://web.example">4</a>'
    )
    found = load("check_pages").problems(tmp_path)
    assert len(found) == 3 and {line.split()[1] for line in found} == {"loads", "links"}
