"""The commands recipes, carve and replay."""

from __future__ import annotations

import json

import pytest
from support.command_line import run
from support.shards import collection

from laion_dask.curation.recipes import library


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return collection(tmp_path_factory.mktemp("carve") / "c", (40, 20), odd=False)


def test_recipes_are_listed_and_printed(monkeypatch, capsys, tmp_path):
    code, out, _ = run(monkeypatch, capsys, "recipes")
    assert code == 0
    assert all(name in out for name in library.names()) and "arXiv:2304.14108" in out
    code, out, _ = run(monkeypatch, capsys, "recipes", "--json")
    assert [one["name"] for one in json.loads(out)] == library.names()
    code, out, _ = run(monkeypatch, capsys, "recipes", "laion-5b")
    assert code == 0 and out == library.text_of("laion-5b")[0]
    code, _, err = run(monkeypatch, capsys, "recipes", "laion-5c")
    assert code == 1 and "Did you mean 'laion-5b'" in err


def test_a_carve_prints_its_funnel_and_is_replayed(monkeypatch, capsys, data, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nparameters:\n  low: {default: 0.2}\n"
        "steps:\n- similarity: {query: text, to: clip}\n- where: clip > 0 and similarity > $low\n"
    )
    vectors = [f"--embeddings={data.img_emb}", f"--embeddings=text={data.text_emb}"]
    line = ["carve", path, data.metadata, tmp_path / "out", *vectors, "--model", data.model.arch]
    report = ["--report", tmp_path / "page.html", "--set", "low=0.25", "--rows-per-part", 5]
    code, out, err = run(monkeypatch, capsys, *line, *report)
    assert code == 0, err
    assert "similarity > 0.25" in out and "60 read = " in out and "audit" in out
    assert (tmp_path / "page.html").exists()
    code, out, err = run(monkeypatch, capsys, "replay", tmp_path / "out", "--to", tmp_path / "two")
    assert code == 0 and "The same bytes in" in out, err
    code, out, _ = run(monkeypatch, capsys, *line, "--plan")
    assert code == 0 and "image" in out
    assert not (tmp_path / "three").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "sid=3"], "Did you mean 'side'"),
        (["--set", "side"], "Expected NAME=VALUE"),
        (["--set", "side=wide"], "Expected a number"),
        (["--embeddings", "x"], "--embeddings needs --model"),
        (["--report", "no/such/page.html"], "there is no folder"),
    ],
)
def test_wrong_options_are_one_line(monkeypatch, capsys, data, tmp_path, words, said):
    line = ["carve", "laion-high-resolution", data.metadata, tmp_path / "out", *words]
    code, _, err = run(monkeypatch, capsys, *line)
    assert code in (1, 2) and said in err and "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_what_is_no_export_is_not_replayed(monkeypatch, capsys, tmp_path):
    code, _, err = run(monkeypatch, capsys, "replay", tmp_path)
    assert code == 1 and "is not an export" in err
