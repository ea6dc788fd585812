"""What the README says is so: its Python runs, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
import shlex
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from support.paths import ROOT

import laion_dask as ld
from laion_dask import cli

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def block(words: str) -> str:
    """The Python of the README that has these words."""
    (found,) = (text for text in BLOCKS if words in text)
    return found


@pytest.fixture
def folder(demo_folder, tmp_path, monkeypatch):
    """A working folder with the demo corpus, which is LAION's folder as well."""
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


def test_the_ten_lines_run(folder, capsys):
    names: dict = {}
    ten = block("demo_corpus(")
    run(ten, names)
    assert re.search(r"\d+ read = \d+ kept \+ \d+ dropped", capsys.readouterr().out)
    assert (folder / "my-subset/_recipe.json").exists()
    assert len([line for line in ten.splitlines() if line.strip()]) <= 11
    run(block("to_batches"), names)
    url, caption = names["pairs"][0]
    assert url.startswith("http") and isinstance(caption, str)
    run(block("ld.mix("), names)
    assert "a blue star" in capsys.readouterr().out
    assert len(names["some"]) == 9 and names["hits"]["punsafe"].max() < 0.5
    run(block("ld.cooccurrence("), names)
    said = capsys.readouterr().out
    assert "punsafe > 0.5" in said and "exclusion" in said and "datasheet.html" in said
    run(block("ld.plan("), names)
    assert "search, 1,000 queries" in capsys.readouterr().out


def test_scores_of_others_are_joined(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, columns in (
        ("meta", {"URL": ["a", "b"], "TEXT": ["c", "d"], "hash": [1, 2]}),
        ("punsafe", {"hash": [2, 3], "punsafe": [0.1, 0.2]}),
    ):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table(columns), tmp_path / name / "0.parquet")
    run(block(".join("), {"shards": ld.read_shards("meta")})
    assert "2 read = 1 kept + 0 dropped + 1 unscored" in capsys.readouterr().out


def test_every_block_of_python_is_tested():
    assert len(BLOCKS) == 7
    for text in BLOCKS:
        compile(text, "README.md", "exec")


def test_links_lead_to_files():
    links = re.findall(r"\]\((?!http)([^)]+)\)", README)
    assert links and not [link for link in links if not (ROOT / link).exists()]


def test_commands_are_those_of_the_makefile_and_the_cli():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`?make ([a-z]+)", README)) <= targets
    named = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert set(re.findall(r"`laion-dask ([a-z]+)", README)) == named


def test_every_command_that_is_printed_is_one_that_the_command_line_takes():
    """Options and arguments of each; what they name need not be there."""
    group = typer.main.get_command(cli.app)
    texts = [README, *(command.epilog or "" for command in group.commands.values())]
    for path in [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("benchmarks/**/*.md")]:
        texts.append(path.read_text(encoding="utf-8"))
    lines = [line for text in texts for line in printed_commands(text)]
    assert len(lines) > 25
    for line in lines:
        name, *words = shlex.split(line)
        context = group.commands[name].make_context(name, words)
        assert context.params, line


def printed_commands(text: str) -> list[str]:
    """What stands behind ``laion-dask`` in a text: in back-ticks, or behind ``Example:``."""
    found = re.findall(r"`laion-dask ([a-z][^`]* [^`]*)`", text)
    return [
        line.replace('\\"', '"') for line in found + re.findall("^Example: laion-dask (.*)", text)
    ]


@pytest.mark.parametrize(
    "room",
    [
        "predicate",
        "stats",
        "measures",
        "text",
        "models",
        "kernels",
        "io",
        "verbs",
        "explore",
        "demo",
    ],
)
def test_the_map_names_every_room(room):
    assert f"`{room}/`" in README
