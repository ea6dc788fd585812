"""Commands that print tables: several sources, read options, JSON, files, standard output."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command_line import run

import laion_dask as ld
from laion_dask.cli.output import plain
from laion_dask.formatting import printable, spreadsheet_text
from laion_dask.reports.hit_list import write_table

N = 120


@pytest.fixture
def paths(tmp_path):
    """Two shards with terminal escapes or spreadsheet formulas in captions and a column name."""
    for number in range(2):
        captions = ["a woman", "a man \x1b[31m", '=HYPERLINK("x")', "@sum"] * (N // 8)
        columns = {
            "URL": [f"https://example.org/{number}/{row}.jpg" for row in range(N // 2)],
            "TEXT": captions,
            "WIDTH": np.arange(N // 2, dtype=np.int32),
            "HEIGHT": np.full(N // 2, 7, np.int32),
            "similarity": np.linspace(0, 1, N // 2),
            "nsfw_score": np.linspace(0, 1, N // 2),
            "\x1b[1mbold": ["x"] * (N // 2),
        }
        pq.write_table(pa.table(columns), tmp_path / f"part-{number}.parquet")
    return sorted(tmp_path.glob("*.parquet"))


def test_short_help_and_completion(monkeypatch, capsys):
    assert "Example: laion-dask inspect" in run(monkeypatch, capsys, "inspect", "-h")[1]
    environment = {"_LAION_DASK_COMPLETE": "complete_bash", "COMP_WORDS": "laion-dask ins"}
    environment |= {"COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "laion-dask ins"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(monkeypatch, capsys)[1].split() == ["inspect"]


def test_several_sources_are_one_data_set(monkeypatch, capsys, paths, tmp_path):
    code, out, _ = run(monkeypatch, capsys, "inspect", *paths, "--json")
    output = json.loads(out)
    assert code == 0 and output["rows"] == N and output["shards"] == 2
    assert output["summary"]["rows"]["kept"] == N
    code, out, _ = run(monkeypatch, capsys, "export", *paths, tmp_path / "out")
    assert code == 0 and out.startswith(f"{N} read = {N} kept")
    code, _, _ = run(
        monkeypatch, capsys, "datasheet", *paths, tmp_path / "page.html", "--columns", "width"
    )
    assert code == 0 and (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_a_forgotten_page_overwrites_no_shard(monkeypatch, capsys, paths, tmp_path):
    before = [path.read_bytes() for path in paths]
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(monkeypatch, capsys, "datasheet", *paths, "--columns", "width")
    assert code == 0 and "datasheet.html" in out and (tmp_path / "datasheet.html").exists()
    assert [path.read_bytes() for path in paths] == before
    code, _, err = run(monkeypatch, capsys, "export", *paths)
    assert code == 1 and paths[-1].name in err
    assert [path.read_bytes() for path in paths] == before


def test_nothing_is_written_where_the_command_reads(monkeypatch, capsys, paths, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    before = [path.read_bytes() for path in paths]
    folder, shard, new_table = paths[0].parent, paths[-1], paths[0].parent / "stats.parquet"
    link = other / "link.csv"
    link.symlink_to(shard)
    for words in (
        ("statistics", folder, "--by", "width", "--out", shard),
        ("statistics", *paths, "--by", "width", "--out", shard),
        ("statistics", folder, "--by", "width", "--out", new_table),
        ("statistics", folder, "--by", "width", "--out", link),
        ("audit", folder, "--where", "width > 5", "--by", "width", "--out", shard),
        ("search", folder, "--embeddings", "x", "--model", "demo", "--text", "x", "--out", shard),
        ("export", folder, other / "out", "--report", shard),
    ):
        code, _, err = run(monkeypatch, capsys, *words)
        assert code == 1 and str(words[-1]) in err and "Name a" in err, words
        assert [path.read_bytes() for path in paths] == before and not new_table.exists()
    assert not (other / "out").exists()
    frame = ld.read_shards(folder)
    with pytest.raises(ld.LaionDaskError, match="is a shard that this frame reads"):
        frame.laion.datasheet(shard)
    exported = frame.laion.where("width > 5").laion.export(other / "out")
    with pytest.raises(ld.LaionDaskError, match="is a shard that this frame reads"):
        ld.write_report(exported, shard)
    assert [path.read_bytes() for path in paths] == before
    code, _, _ = run(monkeypatch, capsys, "statistics", *paths, "--by", "width", "--out", new_table)
    assert code == 0 and new_table.exists()  # only the named shards are inputs, not the folder


def test_a_page_on_the_standard_output(monkeypatch, capsys, paths):
    code, out, _ = run(
        monkeypatch, capsys, "datasheet", paths[0], "-", "--title", "Mine", "--columns", "width"
    )
    assert code == 0 and out.startswith("<!doctype html>") and "<h1>Mine</h1>" in out
    code, _, err = run(monkeypatch, capsys, "datasheet", "-")
    assert code == 2 and "SOURCE" in err
    code, _, err = run(monkeypatch, capsys, "export", paths[0], "-")
    assert code == 2 and "folder" in err


def test_the_options_of_reading(monkeypatch, capsys, paths):
    words = ("inspect", paths[0], "--json", "--rename", "nsfw_score=punsafe")
    words += ("--columns", "punsafe,width", "--columns", "height", "--swap-width-height")
    code, out, _ = run(monkeypatch, capsys, *words)
    output = json.loads(out)["summary"]
    assert {row["column"] for row in output["nulls"]} == {"punsafe", "width", "height"}
    assert {row["column"]: row["mean"] for row in output["quantiles"]}["width"] == 7
    code, _, err = run(monkeypatch, capsys, "inspect", paths[0], "--rename", "nsfw_score")
    assert code == 2 and "OLD=NEW" in err
    code, _, err = run(monkeypatch, capsys, "inspect", paths[0], "--dialect", "coyo")
    assert code == 2 and "--dialect is 'coyo'" in err
    code, _, err = run(monkeypatch, capsys, "inspect", paths[0], "--dialect", "coyo-700m")
    assert code == 1 and "--dialect auto" in err


def test_stats_are_those_of_python(monkeypatch, capsys, paths):
    words = ("statistics", *paths, "--rate", "similarity > 0.5", "--by", "gender", "--json")
    code, out, _ = run(monkeypatch, capsys, *words, "--min-n", "0")
    assert code == 0
    frame = ld.read_shards(paths)
    table = ld.statistics(frame, ld.rates("similarity > 0.5", by=ld.terms("gender")), min_n=0)
    assert json.loads(out)["results"] == plain(table)
    assert json.loads(out)["rows"]["read"] == N
    code, out, _ = run(monkeypatch, capsys, "statistics", *paths, "--by", "gender", "--out", "-")
    shown = pd.read_csv(io.StringIO(out))
    assert code == 0 and shown["k"].tolist()[:3] == [N, N // 4, N // 4]
    code, _, err = run(monkeypatch, capsys, "statistics", *paths, "--json", "--out", "-")
    assert code == 2 and "--json prints" in err
    code, out, _ = run(monkeypatch, capsys, "statistics", *paths, "--by", "domain", "--json")
    by_domain = ld.statistics(frame, ld.rates(None, by=ld.domains()))
    assert code == 0 and json.loads(out)["results"] == plain(by_domain)
    code, _, err = run(monkeypatch, capsys, "statistics", *paths, "--by", "gendre")
    assert code == 2 and "gendre" in err


def test_stats_without_options_tell_all_that_the_columns_allow(
    monkeypatch, capsys, paths, tmp_path
):
    words = ("statistics", *paths, "--out", tmp_path / "stats.parquet", "--min-n", "0")
    assert run(monkeypatch, capsys, *words)[0] == 0
    statistics = set(pd.read_parquet(tmp_path / "stats.parquet")["statistic"])
    assert {"describe", "concentration", "rates", "cooccurrence"} <= statistics


def test_audit_is_that_of_python(monkeypatch, capsys, paths):
    words = ("audit", *paths, "--where", "similarity > 0.5", "--by", "gender", "--min-n", "0")
    code, out, _ = run(monkeypatch, capsys, *words, "--json")
    expected = ld.audit(ld.read_shards(paths), "similarity > 0.5", ld.terms("gender"), min_n=0)
    assert code == 0 and json.loads(out)["results"] == plain(expected)
    assert "(no term)" in run(monkeypatch, capsys, *words)[1]
    words = ("audit", *paths, "--where", "width > 5", "--columns", "width")
    code, _, err = run(monkeypatch, capsys, *words)
    assert code == 2 and "--by" in err


def test_plan_reads_footers_alone(monkeypatch, capsys, paths):
    words = ("plan", *paths, "--step", "where:similarity > 0.3", "--step", "distributions:width")
    code, out, _ = run(monkeypatch, capsys, *words, "--rows", 10**9, "--cores", 64, "--json")
    output = json.loads(out)
    assert code == 0 and output["rows"] == 10**9
    assert [step["step"].split()[0] for step in output["results"]] == ["where", "distributions"]
    assert run(monkeypatch, capsys, *words)[1].startswith(f"{N} rows in 2 partitions")
    code, _, err = run(monkeypatch, capsys, "plan", *paths)
    assert code == 2 and "--step" in err
    code, _, err = run(monkeypatch, capsys, "plan", *paths, "--step", "search:10")
    assert code == 2 and "embeddings" in err


def test_models_as_json(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "models", "--json")
    assert code == 0 and {"name", "licence", "state"} <= set(json.loads(out)["results"][0])


def test_search_as_json_and_on_the_standard_output(monkeypatch, capsys, demo_folder):
    embedded = demo_folder / "embedded"
    words = ["search", embedded / "metadata", "--embeddings", embedded / "img_emb"]
    words += ["--model", "demo", "-k", 3, "--text", "a red bird", "--to", "score"]
    code, out, _ = run(monkeypatch, capsys, *words, "--json")
    output = json.loads(out)
    assert code == 0 and [hit["rank"] for hit in output["results"]] == [1, 2, 3]
    assert output["queries"] == ["a red bird"] and output["rows"]["kept"] == output["rows"]["read"]
    code, out, err = run(monkeypatch, capsys, *words, "--out", "-")
    shown = pd.read_csv(io.StringIO(out))
    assert code == 0 and shown["score"].tolist() == pytest.approx(
        [hit["score"] for hit in output["results"]]
    )
    assert " read = " in err


def test_nothing_that_is_printed_steers_a_terminal(monkeypatch, capsys, paths, tmp_path):
    evil = tmp_path / "\x1b]0;title\x07.parquet"
    paths[0].rename(evil)
    pq.write_table(pa.table({"\x1b[2J": [1]}), tmp_path / "other.parquet")
    for words in (
        ("inspect", evil),
        ("statistics", evil, "--by", "\x1b[1mbold", "--min-n", "0"),
        ("audit", evil, "--where", "width > 3", "--by", "\x1b[1mbold"),
        ("inspect", tmp_path / "other.parquet", "--columns", "\x1b[3J"),
        ("inspect", tmp_path / "\x1b[31mnot there"),
        ("inspect", evil, "--where", "`\x1b[5m` > 1"),
        ("export", evil, tmp_path / "\x1b[1mout"),
        ("inspect", evil, "--\x1b[1mred"),
        ("\x1b[1mred",),
    ):
        _, out, err = run(monkeypatch, capsys, *words)
        assert not [c for c in out + err if ord(c) < 32 and c != "\n"], words
        assert "\\u001b" in out + err or "\\x1b" in err


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("a caption", "a caption"),
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@sum", "'@sum"),
        ("\t=1", "' =1"),
        ("\r\n", "'  "),
        ("\x00=1", "'=1"),
        ("\x1b[31mred", "[31mred"),
        ("a\nb", "a b"),
        ("\uff1d1", "'\uff1d1"),
        ("", ""),
        ("\u05d0 \U0001f469\u200d\U0001f680", "\u05d0 \U0001f469\u200d\U0001f680"),
    ],
)
def test_cells_of_a_csv_are_no_formulas(text, cell):
    assert spreadsheet_text(text) == cell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\u001b[2J"),
        ("a\u202eb\u200b", "a\\u202eb\\u200b"),
        (
            "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc",
            "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc",
        ),
        ("\U0001f469\u200d\U0001f680", "\U0001f469\u200d\U0001f680"),
    ],
)
def test_text_is_shown_whole_and_steers_nothing(text, shown):
    assert printable(text) == shown


def test_numbers_of_a_csv_stay_numbers(tmp_path):
    frame = pd.DataFrame(
        {"=x": [-1, 2], "y": [-0.5, np.nan], "t": ["-1", None], "o": [-3, True], "b": [True, False]}
    )
    write_table(frame, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "'=x,y,t,o,b\n-1,-0.5,'-1,-3,True\n2,,,True,False\n"


def test_groups_are_columns_term_lists_and_levels_of_addresses(monkeypatch, capsys, paths):
    folder = paths[0].parent
    words = ("statistics", folder, "--rate", "width > 5", "--by", "tld", "--by", "gender", "--json")
    code, out, _ = run(monkeypatch, capsys, *words)
    axes = {row["axis"] for row in json.loads(out)["results"]}
    assert code == 0 and {"tld", "gender"} <= axes
    code, _, err = run(monkeypatch, capsys, "statistics", folder, "--by", "gendre")
    assert code == 2 and "--by is 'gendre'. Did you mean 'gender'?" in err
    code, _, err = run(
        monkeypatch, capsys, "statistics", folder, "--columns", "width", "--by", "tld"
    )
    assert code == 2 and "--by is 'tld'" in err
