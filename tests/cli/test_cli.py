"""The command line: its output, files and exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command_line import run
from typer.testing import CliRunner

from laion_dask import cli
from laion_dask.options import get_option

COMMANDS = (
    "inspect",
    "embed",
    "score",
    "search",
    "index",
    "export",
    "verify",
    "gc",
    "models",
    "demo",
)


def counts(text: str) -> dict[str, int]:
    """Parse a line such as ``5 read = 3 kept + 2 dropped + …`` and check that it adds up."""
    line = next(part for part in text.splitlines() if " dropped " in part)
    counted = {name: int(n.replace(",", "")) for n, name in re.findall(r"([\d,]+) ([a-z]+)", line)}
    assert counted["read"] == sum(n for name, n in counted.items() if name != "read")
    return counted


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command):
    printed = CliRunner().invoke(cli.app, [command, "--help"]).output
    assert f"Example: laion-dask {command}" in " ".join(printed.split())


def test_workers_of_a_client_that_is_already_open(monkeypatch, capsys):
    cluster = SimpleNamespace(workers={0: None, 1: None})
    client = SimpleNamespace(cluster=cluster, dashboard_link="http://127.0.0.1:8787/status")
    monkeypatch.setattr("laion_dask.cluster.start_cluster", lambda: client)
    code, _, err = run(monkeypatch, capsys, "--workers", "models")
    assert code == 0 and "2 CPU workers; dashboard at http://127.0.0.1:8787/status" in err


def test_inspect_says_dialect_columns_and_counts(monkeypatch, capsys, laion_shards):
    folder = laion_shards(30, 20)[0].rsplit("/", 1)[0]
    code, out, _ = run(monkeypatch, capsys, "inspect", folder, "--where", "width >= 110")
    assert code == 0
    assert out.startswith("laion-5b: ") and "2 shards, 50 rows" in out
    assert re.search(r"url +string .*stored as URL", out)
    assert counts(out)["kept"] == 40


def test_export_writes_what_where_keeps(monkeypatch, capsys, laion_shards, tmp_path):
    source, out = laion_shards(30)[0], tmp_path / "out"
    words = ("export", source, out, "--where", "text.contains('bird') and width < 120")
    code, printed, _ = run(monkeypatch, capsys, *words)
    assert code == 0 and counts(printed)["kept"] == 10
    recipe = json.loads((out / "_recipe.json").read_text())
    parts = [pq.read_table(out / "shards" / part["file"]) for part in recipe["parts"]]
    assert [row for part in parts for row in part["row"].to_pylist()] == list(range(1, 20, 2))


def test_export_writes_parts_of_the_requested_size(monkeypatch, capsys, laion_shards, tmp_path):
    words = ["export", laion_shards(5, 6)[0], tmp_path / "out", "--rows-per-part"]
    code, out, _ = run(monkeypatch, capsys, *words, "2")
    assert code == 0 and "3 parts" in out
    code, _, err = run(monkeypatch, capsys, *words, "0")
    assert code == 2 and "--rows-per-part" in err


def test_export_reports_whom_where_leaves_out(monkeypatch, capsys, laion_shards, tmp_path):
    source, page = laion_shards(60)[0], tmp_path / "page.html"
    words = ["export", source, tmp_path / "out", "--where", "width < 120", "--report", page]
    code, printed, _ = run(monkeypatch, capsys, *words, "--by", "text")
    assert code == 0 and f"with an audit of the filters, is {page}" in printed
    assert "By text" in page.read_text() and "width &lt; 120" in page.read_text()
    code, _, errors = run(monkeypatch, capsys, *words, "--by", "txet")
    assert code == 2 and "Did you mean 'text'" in errors
    code, _, errors = run(monkeypatch, capsys, *words[:-2], "--by", "text")
    assert code == 2 and "--report page.html" in errors


def test_invalid_text_is_refused_or_rejected_as_asked(monkeypatch, capsys, tmp_path):
    text = pa.array([b"fine", b"\xff", b"bird"]).view(pa.string())
    pq.write_table(pa.table({"URL": ["a", "b", "c"], "TEXT": text}), tmp_path / "a.parquet")
    words = ("export", tmp_path / "a.parquet", tmp_path / "out")
    code, _, errors = run(monkeypatch, capsys, *words)
    assert code == 1 and "--invalid-text reject" in errors
    code, printed, _ = run(monkeypatch, capsys, "--invalid-text", "reject", *words)
    assert code == 0 and counts(printed) == {
        "read": 3, "kept": 2, "dropped": 0, "unscored": 0, "rejected": 1,
    }  # fmt: skip
    assert get_option("invalid_text") == "raise"
    assert run(monkeypatch, capsys, "--invalid-text", "drop", *words)[0] == 2


def test_score_adds_similarity_and_heads(monkeypatch, capsys, demo_folder, tmp_path):
    words = ["score", demo_folder / "embedded/metadata", tmp_path / "out"]
    words += ["--embeddings", demo_folder / "embedded/img_emb", "--model", "demo"]
    words += ["--head", "demo_safety", "--text", "a photo of a red star"]
    words += ["--where", "query_similarity > 0.4"]
    code, printed, _ = run(monkeypatch, capsys, *words)
    assert code == 0 and 0 < counts(printed)["kept"] < 200
    recipe = json.loads((tmp_path / "out/_recipe.json").read_text())
    assert {"punsafe_demo", "query_similarity"} <= {c["name"] for c in recipe["schema"]}
    assert any("sha256" in model for model in recipe["models"])


def test_models_lists_weight_files_and_fetches_those_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("LAION_DASK_WEIGHTS", raising=False)
    code, out, _ = run(monkeypatch, capsys, "models")
    assert code == 0 and re.search(r"sa_0_4_vit_l_14_linear.pth +4,071 bytes  missing", out)
    monkeypatch.setattr("laion_dask.models.weights.download", lambda name: tmp_path / name)
    arguments = ("models", "--download", "h14_nsfw.pth", "--download", "other.pth")
    code, out, _ = run(monkeypatch, capsys, *arguments)
    assert (code, out) == (0, f"{tmp_path}/h14_nsfw.pth\n{tmp_path}/other.pth\n")
    code, out, _ = run(monkeypatch, capsys, "models", "--download", "all")
    assert code == 0 and len(out.splitlines()) == 8 and "sac+logos+ava1" in out
    monkeypatch.undo()
    assert run(monkeypatch, capsys, "models", "--download", "h41_nsfw.pth")[0] == 1


def test_embed_says_what_it_read_and_rejected(monkeypatch, capsys, demo_folder, tmp_path):
    code, out, _ = run(monkeypatch, capsys, "embed", demo_folder / "images", tmp_path / "out")
    assert code == 0 and re.search(r"800 read = 796 kept \+ 4 rejected", out)
    again = run(monkeypatch, capsys, "embed", demo_folder / "images", tmp_path / "out")
    assert again[:2] == (0, out)


def test_index_says_its_counts_and_recall(monkeypatch, capsys, demo_folder, tmp_path):
    words = ("index", demo_folder / "embedded/img_emb", tmp_path / "out", "--model", "demo")
    code, out, _ = run(monkeypatch, capsys, *words)
    assert code == 0 and "796 read = 796 indexed + 0 unscored" in out
    assert re.search(r"recall@100 of 99 rows against exact search", out)
    assert run(monkeypatch, capsys, *words)[:2] == (0, out)
    assert run(monkeypatch, capsys, *words, "--seed", "1")[0] == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("export", "{shard}", "{out}", "--where", "widht > 3"), 2, "Did you mean 'width'"),
        (
            ("export", "{shard}", "{out}", "--where", "open('x')"),
            2,
            "is a call, which is not supported",
        ),
        (("inspect", "{out}/nothing.parquet"), 1, "Check the path"),
        (("inspect", "{broken}"), 1, "is not Parquet"),
        (("export", "{shard}", "{out}", "--format", "parket"), 2, "Did you mean 'parquet'"),
        (("export", "{shard}", "{full}"), 1, "not empty"),
        (("export",), 2, "Missing argument"),
        (("verify", "{full}"), 1, "no manifest of an export"),
        (("exprot",), 2, "No such command"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    monkeypatch, capsys, laion_shards, tmp_path, words, code, message
):
    (tmp_path / "broken.parquet").write_bytes(b"<html>404</html>")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    names = {"shard": laion_shards(5)[0], "out": tmp_path / "out"}
    names |= {"broken": tmp_path / "broken.parquet", "full": tmp_path / "full"}
    ended = run(monkeypatch, capsys, *(w.format(**names) for w in words))
    assert ended[0] == code
    assert message in " ".join(ended[2].split()) and "Traceback" not in ended[2]
    assert not (tmp_path / "out").exists()


def test_cancelling_ends_with_130(monkeypatch, capsys, laion_shards, tmp_path):
    def cancel(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("laion_dask.runtime.graph.compute", cancel)
    code, _, _ = run(monkeypatch, capsys, "export", laion_shards(5)[0], tmp_path / "out")
    assert code == 130
    left = [p.name for p in (tmp_path / "out").rglob("*") if p.suffix == ".parquet"]
    assert left == []


def test_cancelling_while_the_command_is_imported_is_one_line():
    code = """
import builtins, sys
from laion_dask.__main__ import main
imported = builtins.__import__
def canceled(name, *rest):
    if name == "typer":
        raise KeyboardInterrupt
    return imported(name, *rest)
builtins.__import__ = canceled
main()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "laion-dask: canceled\n")


def test_python_dash_m_is_the_command():
    words = [sys.executable, "-m", "laion_dask", "--help"]
    process = subprocess.run(words, capture_output=True, text=True, timeout=250, check=True)
    assert all(command in process.stdout for command in COMMANDS)


def test_embed_with_heads_in_a_precision(monkeypatch, capsys, demo_folder, tmp_path):
    words = ["embed", demo_folder / "images", tmp_path / "out", "--precision", "float32"]
    code, _, _ = run(monkeypatch, capsys, *words, "--head", "demo_safety")
    counted = pq.read_schema(next((tmp_path / "out" / "metadata").glob("*.parquet"))).names
    assert code == 0 and {"clip_score", "punsafe_demo"} <= set(counted)
    code, _, err = run(monkeypatch, capsys, *words, "--head", "watermark")
    assert code == 1 and "watermark_model_v1.pt" in err
    code, _, err = run(monkeypatch, capsys, *words, "--head", "watermarks")
    assert code == 2 and "watermark=FILE" in err
    code, _, err = run(monkeypatch, capsys, *words[:3], "--precision", "half")
    assert code == 2 and "float32" in err


def test_search_by_an_index(monkeypatch, capsys, demo_folder, tmp_path):
    embedded = demo_folder / "embedded"
    words = ["search", embedded / "metadata", "--embeddings", embedded / "img_emb"]
    words += ["--model", "demo", "-k", 3, "--text", "a red bird", "--text", "a blue car"]
    _, exact, _ = run(monkeypatch, capsys, *words)
    made = ("index", embedded / "img_emb", tmp_path / "index", "--model", "demo")
    assert run(monkeypatch, capsys, *made)[0] == 0
    code, out, _ = run(monkeypatch, capsys, *words, "--index", tmp_path / "index")
    assert code == 0 and out.splitlines()[:-1] == exact.splitlines()[:-1]
    last = out.splitlines()[-1]
    assert (
        last == f"searched the index {tmp_path / 'index'}; 0 of 2 queries have fewer than 3 results"
    )
    few = ("--index", tmp_path / "index", "--where", "width > 100000")
    assert "; 2 of 2 queries have fewer than 3" in run(monkeypatch, capsys, *words, *few)[1]
    code, _, error = run(monkeypatch, capsys, *words, "--index", tmp_path / "nothing")
    assert code == 1 and str(tmp_path / "nothing") in error


def test_search_prints_or_writes_what_is_nearest(monkeypatch, capsys, demo_folder, tmp_path):
    embedded = demo_folder / "embedded"
    words = ["search", embedded / "metadata", "--embeddings", embedded / "img_emb"]
    words += ["--model", "demo", "-k", 3]
    code, out, _ = run(monkeypatch, capsys, *words, "--text", "a red bird", "--text", "a blue car")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "a red bird" and lines[4] == "a blue car" and len(lines) == 9
    ranks = [line.split()[0] for line in lines if line.startswith(" ")]
    assert ranks == ["1", "2", "3"] * 2
    assert counts(out)["dropped"] == 0
    for name, read in (("hits.csv", pd.read_csv), ("hits.parquet", pd.read_parquet)):
        options = ("--text", "a red bird", "--where", "width > 1", "--out", tmp_path / name)
        code, out, _ = run(monkeypatch, capsys, *words, *options)
        assert code == 0 and out.startswith("3 rows in ")
        counted = read(tmp_path / name)
        assert counted["rank"].tolist() == [1, 2, 3] and "url" in counted
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hits.csv", "hits.parquet"]
    code, _, error = run(monkeypatch, capsys, *words)
    assert code == 2 and "--text or --image" in error
    code, _, error = run(monkeypatch, capsys, *words, "--text", "a", "--out", tmp_path / "a.txt")
    assert code == 2 and ".parquet" in error
    code, _, error = run(monkeypatch, capsys, *words, "--text", "a", "--out", tmp_path / "no/a.csv")
    assert code == 1 and "could not be written" in error
