"""The reference covers every public name, and the check of built pages finds broken links."""

from __future__ import annotations

import importlib.util
import re
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


def test_names_in_backticks_exist():
    """In the source and the pages; the changelog also has old names."""
    files = [*(ROOT / "laion_dask").rglob("*.py"), *(ROOT / "docs").glob("**/*.py")]
    files += [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    files += (ROOT / "docs/how-to").glob("*.md")
    quoted = re.compile(r"`((?:laion_dask|ld)(?:\.\w+)+)(?:\([^`]*\))?`")
    named = {name for path in files for name in quoted.findall(path.read_text(encoding="utf-8"))}
    assert len(named) > 30 and not [name for name in sorted(named) if not exists(name)]


def exists(name: str) -> bool:
    """Whether an object has this dotted name."""
    owner: object = ld
    for at, part in list(enumerate(name.split(".")))[1:]:
        try:
            owner = getattr(owner, part)
        except AttributeError:
            if not isinstance(owner, ModuleType):
                return False
            try:
                owner = importlib.import_module(".".join(name.split(".")[: at + 1]))
            except ImportError:
                return False
    return True


def test_links_of_copied_pages():
    """Files that are no pages become plain text; a link that leads nowhere fails the build."""
    pages = load("copied_pages")
    page = ROOT / "benchmarks/README.md"
    given = "[a](carve.py) [b](../CONTRIBUTING.md#tests) [c](../docs/methods.md) [d](https://e.org)"
    found = pages.with_links_to_pages(given, page)
    assert found == "a [b](/project/CONTRIBUTING.md#tests) [c](/methods.md) [d](https://e.org)"
    with pytest.raises(ValueError, match=r"README\.md links to nope\.md"):
        pages.with_links_to_pages("[x](nope.md)", page)
