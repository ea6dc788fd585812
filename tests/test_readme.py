"""What the README says is so: its Python runs, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from laion_dask import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def test_the_ten_lines_run(demo_folder, tmp_path, monkeypatch, capsys):
    shutil.copytree(demo_folder, tmp_path / "demo-corpus")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(BLOCKS[0], "README.md", "exec"), names)
    assert re.search(r"\d+ read = \d+ kept \+ \d+ dropped", capsys.readouterr().out)
    assert (tmp_path / "my-subset/_recipe.json").exists()
    assert len([line for line in BLOCKS[0].splitlines() if line.strip()]) <= 11
    exec(compile(BLOCKS[2], "README.md", "exec"), names)
    assert "a blue star" in capsys.readouterr().out
    assert len(names["some"]) == 9 and names["hits"]["punsafe"].max() < 0.5
    exec(compile(BLOCKS[3], "README.md", "exec"), names)
    said = capsys.readouterr().out
    assert "punsafe > 0.5" in said and "exclusion" in said and "datasheet.html" in said
    exec(compile(BLOCKS[4], "README.md", "exec"), names)
    assert "search, 1,000 queries" in capsys.readouterr().out


def test_the_other_block_is_python_and_its_filter_parses():
    from laion_dask.predicate import parse

    compile(BLOCKS[1], "README.md", "exec")
    kinds = {"similarity": "float64", "width": "integer", "language": "string", "text": "string"}
    parse(re.search(r'where="(.*)"', BLOCKS[1]).group(1), kinds)


def test_links_lead_to_files():
    links = re.findall(r"\]\((?!http)([^)]+)\)", README)
    assert links and not [link for link in links if not (ROOT / link).exists()]


def test_commands_are_those_of_the_makefile_and_the_cli():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`?make ([a-z]+)", README)) <= targets
    named = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert set(re.findall(r"`laion-dask ([a-z]+)", README)) == named


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
