"""What a run of a recipe prints about whom its steps excluded, and the file of its audit."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest
from support.shards import write_shard

import laion_dask as ld


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("result")
    table = pa.table(
        {
            "URL": [f"https://a.example/{i}" for i in range(400)],
            "LANGUAGE": ["en"] * 300 + ["de"] * 60 + ["fr"] * 40,
            "WIDTH": pa.array([500] * 250 + [100] * 50 + [500] * 30 + [100] * 30 + [500] * 40),
        }
    )
    write_shard(folder / "part_0.parquet", table)
    return folder


def run(folder, out, rule):
    return ld.Recipe("x").where(rule).run(folder, out)


def test_the_verdicts_are_printed(folder, tmp_path):
    carve = run(folder, tmp_path / "out", "width > 200")
    lines = str(carve).splitlines()
    at = lines.index("Share of rows excluded in 3 groups, the furthest from that of all rows first")
    assert lines[at + 1].split("  ")[-1].strip() == "verdict"
    words = {line.split()[1]: " ".join(line.split()[2:]) for line in lines[at + 2 : at + 5]}
    assert words["de"] == "60 50.0 % 37.7 to 62.3 % 2.50 amplified"
    assert words["fr"] == "40 0.0 % 0.0 to 8.8 % 0.00 excluded less"
    assert words["en"].endswith("excluded less")
    assert lines[at + 5] == "3 groups: 1 amplified, 2 excluded less."
    assert lines[at + 6].startswith("Verdict, at a false discovery rate of 5 %: amplified, if")
    assert "inconclusive" not in lines[at + 6]  # no group has this verdict
    assert lines[at + 7] == f"The whole audit is _audit.csv in {tmp_path / 'out'}."
    page = carve._repr_html_()
    assert all(word in page for word in ("amplified", "95 % interval", "_audit.csv in"))


def test_the_whole_audit_is_a_file(folder, tmp_path):
    carve = run(folder, tmp_path / "out", "width > 200")
    stored = pd.read_csv(tmp_path / "out" / "_audit.csv")
    assert list(stored) == list(carve.audit) and len(stored) == len(carve.audit)
    assert stored["verdict"].tolist()[1:4] == carve.audit["verdict"].tolist()[1:4]
    assert ld.verify(tmp_path / "out").rows == carve.rows.kept
    recipe = ld.Recipe("x", export={"audit": ["width"]}).where("width > 200")
    asked = recipe.run(folder, tmp_path / "asked").audit
    assert (
        {*asked["axis"]} == {*pd.read_csv(tmp_path / "asked" / "_audit.csv")["axis"]} == {"width"}
    )


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("width > 0", "No row was excluded."),
        ("width > 900", "Every row was excluded, of each group."),
    ],
)
def test_a_run_that_excludes_no_row_or_every_row_says_so(folder, tmp_path, rule, said):
    carve = run(folder, tmp_path / "out", rule)
    assert str(carve).splitlines()[-1] == said
    assert f"<p>{said}</p>" in carve._repr_html_()


def test_groups_that_are_too_small_are_named_as_that(tmp_path):
    table = pa.table({"URL": list("abc"), "LANGUAGE": ["en"] * 3, "WIDTH": [1, 2, 3]})
    write_shard(tmp_path / "in" / "part_0.parquet", table)
    carve = run(tmp_path / "in", tmp_path / "out", "width > 2")
    assert str(carve).splitlines()[-1] == "The audit has no group of 30 rows or more."


def test_verdicts_that_occur_are_explained(folder, tmp_path):
    lines = str(run(folder, tmp_path / "out", "url.len() > 19"))
    assert "inconclusive, if its difference from the rest may be due to chance" in lines
    assert "amplified, if" not in lines


def test_steps_without_a_clause_are_named(folder, tmp_path):
    recipe = ld.Recipe("x").where("width > 200").mix({"width": 1.0}, to="w").where("w > 300")
    printed = str(recipe.run(folder, tmp_path / "out"))
    assert "Step 2 is not listed: it excludes no row by itself." in printed
