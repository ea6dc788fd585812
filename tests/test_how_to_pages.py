"""The how-to pages run from top to bottom, and print what they show."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shutil

import pytest
from support.paths import ROOT

from laion_dask.curation.recipes.steps import STEPS
from laion_dask.errors import LaionDaskError

FOLDER = ROOT / "docs/how-to"
#: The pages whose every block runs on the demo corpus.
PAGES = [
    "read",
    "explore",
    "carve",
    "duplicates",
    "filter-networks",
    "balance",
    "join",
    "search",
    "audit",
    "export",
    "train",
    "embed",
]
pytestmark = pytest.mark.usefixtures("combined_shards")
#: Characters that fit the column of a page in a window of 1,280 pixels.
WIDTH = 67
#: Code, and the text block directly after it, which is its output or its error.
STEP = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.S | re.M)


def steps(page: str) -> list[tuple[str, str]]:
    """The Python blocks of a page, each with the output that the page shows."""
    return STEP.findall((FOLDER / f"{page}.md").read_text(encoding="utf-8"))


@pytest.fixture
def names(demo_folder, tmp_path, monkeypatch) -> dict:
    """The names that every page starts with, in a folder with the demo corpus."""
    shutil.copytree(demo_folder, tmp_path / "demo-corpus")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    ((setup, _),) = steps("index")
    assert printed(setup, names) == ""
    return names


def printed(code: str, names: dict) -> str:
    """What a block prints, with paths relative to the working folder; errors as Python shows them.

    Output lines have no trailing spaces, so that editors may remove them.
    """
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(code, "how-to page", "exec"), names)
        except LaionDaskError as error:
            print(f"{type(error).__name__}: {error}")
    text = out.getvalue().replace(f"{os.getcwd()}/", "")
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def rewrapped(output: str) -> str:
    """An error as one line: pages wrap the messages. Other output is unchanged."""
    return " ".join(output.split()) if re.match(r"\w+Error: ", output) else output


@pytest.mark.parametrize("guide", PAGES)  # pytest-playwright has a fixture "page"
def test_the_page_prints_what_it_shows(guide, names):
    for code, shown in steps(guide):
        assert rewrapped(printed(code, names)) == rewrapped(shown), code


def test_every_output_directly_follows_its_code():
    for path in FOLDER.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert text.count("```text\n") == sum(bool(shown) for _, shown in steps(path.stem)), path


@pytest.mark.parametrize("guide", PAGES)
def test_code_and_output_fit_the_column(guide):
    lines = [line for block in steps(guide) for text in block for line in text.splitlines()]
    assert [line for line in lines if len(line) > WIDTH] == []


def test_the_page_of_recipes_names_every_step():
    page = (FOLDER / "carve.md").read_text(encoding="utf-8")
    assert [name for name in STEPS if f"`{name}`" not in page] == []


def test_the_table_of_recipes_lists_what_ships():
    """If not, run docs/recipe_table.py."""
    spec = importlib.util.spec_from_file_location("recipe_table", ROOT / "docs/recipe_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.PAGE.read_text(encoding="utf-8")
    assert module.updated(page) == page
