"""The README and the pages: their Python runs, links resolve, and commands exist."""

from __future__ import annotations

import re
import shlex
import shutil

import pytest
import typer
from support.paths import ROOT

from laion_dask import cli

README = (ROOT / "README.md").read_text(encoding="utf-8")
#: Hand-written pages.
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs/how-to").glob("*.md")])
COMMANDS = (ROOT / "docs/how-to/command.md").read_text(encoding="utf-8")


def blocks(text: str) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", text, re.S)


BLOCKS = blocks(README)


def block(words: str) -> str:
    """The README's Python block that contains these words."""
    (matching,) = (text for text in BLOCKS if words in text)
    return matching


def how_to(page: str, words: str) -> str:
    """The Python block of a how-to page that contains these words."""
    text = (ROOT / f"docs/how-to/{page}.md").read_text(encoding="utf-8")
    (matching,) = (code for code in blocks(text) if words in code)
    return matching


@pytest.fixture
def folder(demo_folder, tmp_path, monkeypatch):
    """A working folder with the demo corpus, also under the name of LAION's folder."""
    shutil.copytree(demo_folder, tmp_path / "demo-corpus")
    (tmp_path / "laion2B-en").symlink_to("demo-corpus/embedded")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(text: str, names: dict) -> None:
    exec(compile(text, "README.md", "exec"), names)


def test_your_own_folder(folder, capsys):
    text = block("laion2B-en").replace("ViT-L-14:openai", "demo")
    run(text, {})
    assert len(re.findall(r"\d+ read = \d+ kept \+ \d+ dropped", capsys.readouterr().out)) == 2


def test_the_ten_lines_and_the_how_to_pages_run(folder, capsys):
    names: dict = {}
    ten = block("demo_corpus(")
    run(ten, names)
    assert re.search(r"\d+ read = \d+ kept \+ \d+ dropped", capsys.readouterr().out)
    assert (folder / "my-subset/_recipe.json").exists()
    assert len([line for line in ten.splitlines() if line.strip()]) <= 11
    names["shards"] = names["frame"]
    run(how_to("statistics", "ld.cooccurrence("), names)
    assert "punsafe > 0.5" in capsys.readouterr().out
    run(how_to("filter", ".funnel()"), names)
    assert "similarity > 0.3" in capsys.readouterr().out
    plan = how_to("scale", "ld.plan(")
    run(plan.replace('ld.heads.aesthetic("ViT-L-14:openai")', "ld.heads.demo_safety()"), names)
    assert "search, 1,000 queries" in capsys.readouterr().out


def test_every_block_of_python_is_tested():
    assert len(BLOCKS) == 2
    for page in PAGES:
        for text in blocks(page.read_text(encoding="utf-8")):
            compile(text, page.name, "exec")


def test_links_lead_to_files():
    links = re.findall(r"\]\((?!http)([^)]+)\)", README)
    assert links and not [link for link in links if not (ROOT / link).exists()]


def test_commands_are_those_of_the_makefile_and_the_cli():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`?make ([a-z]+)", README)) <= targets
    named = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert set(re.findall(r"`laion-dask ([a-z]+)", README)) <= named
    assert set(re.findall(r"`laion-dask ([a-z]+)", COMMANDS)) == named


def test_every_command_that_is_printed_is_one_that_the_command_line_takes():
    """Their options and arguments parse; the files that they name need not exist."""
    group = typer.main.get_command(cli.app)
    texts = [README, *(command.epilog or "" for command in group.commands.values())]
    for path in [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("benchmarks/**/*.md"), *PAGES]:
        texts.append(path.read_text(encoding="utf-8"))
    lines = [line for text in texts for line in printed_commands(text)]
    assert len(lines) > 25
    for line in lines:
        name, *words = shlex.split(line)
        words = words[: words.index(">")] if ">" in words else words  # output to a file
        context = group.commands[name].make_context(name, words)
        assert context.params, line


def printed_commands(text: str) -> list[str]:
    """The text after ``laion-dask``: within backticks, or on an ``Example:`` line."""
    matching = re.findall(r"`laion-dask ([a-z][^`]* [^`]*)`", text)
    return [
        line.replace('\\"', '"')
        for line in matching + re.findall("^Example: laion-dask (.*)", text)
    ]
