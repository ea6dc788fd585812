"""Pages: no code runs, nothing is fetched, text stays text, plots are well formed."""

from __future__ import annotations

import ast
import math
import pickle
import re
import tomllib
from html.parser import HTMLParser

import dask
import pandas as pd
import pyarrow as pa
import pytest
from jinja2 import UndefinedError
from support.paths import PACKAGE, ROOT
from support.shards import laion_table, refuse, write_shard

import laion_dask as ld
from laion_dask.errors import ColumnError, OptionError, ShardError
from laion_dask.exports.export import export
from laion_dask.formatting import share_text
from laion_dask.plots.description import Mark, Point, PointPanel
from laion_dask.reports.datasheet_sections import section_markup
from laion_dask.reports.environment import environment, render
from laion_dask.reports.page import write_page
from laion_dask.reports.page_plots import picture
from laion_dask.reports.page_tables import Cell, Fact, PageTable, result_table
from laion_dask.stats.table import suppressed, table

HOSTILE = "<script>alert('1')</script>\u202e\0 \"&'\ud800"
inf, nan = math.inf, math.nan


class Tags(HTMLParser):
    """Collect every tag with its attributes, in order."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def check_harmless(text: str):
    tags = Tags(text)
    names = {tag for tag, _ in tags.found}
    assert not names & {"script", "img", "iframe", "link", "object", "embed", "form", "base"}
    assert not any(a.startswith("on") for _, attrs in tags.found for a in attrs)
    assert not any(set(attrs) & {"src", "href", "xlink:href"} for _, attrs in tags.found)
    assert not re.search(r"url\(|@import|https?://(?![\w./-]*w3)", text.replace("\n", ""))


@pytest.fixture
def macros():
    return environment().get_template("macros.html.j2").module


def grid(table_: PageTable) -> str:
    return str(environment().get_template("macros.html.j2").module.grid(table_))


def test_hostile_text_stays_text_everywhere(tmp_path, macros):
    text = HOSTILE[:-1]  # a table contains no lone surrogate
    result = table([{"axis": text, "group": text, "n": 3, "k": 1, "rate": 0.5, text: text}])
    panel = PointPanel(HOSTILE, (Point(HOSTILE, 0.5, 0.4, 0.6),), line=Mark(0.5, HOSTILE))
    cells = tuple(Cell(HOSTILE, kind) for kind in ("number", "text", "code"))
    written = write_page(
        tmp_path / "a.html",
        "datasheet",
        title=HOSTILE,
        counts={HOSTILE: 1},
        left_out=HOSTILE,
        origin=[Fact(HOSTILE, (HOSTILE, HOSTILE), is_code=code) for code in (True, False)],
        sections=[
            HOSTILE,
            section_markup("of no template", result.rename(columns={"n": f"{HOSTILE[:-1]} n"})),
            macros.grid(PageTable((HOSTILE,), (cells,), notes=(HOSTILE,))),
            macros.plots([picture(panel)]),
        ],
        level=HOSTILE,
        methods=[[HOSTILE]],
        lists=[HOSTILE],
        caveats=[HOSTILE],
    )
    text = written.read_text(encoding="utf-8")
    check_harmless(text)
    assert "default-src 'none'" in text and "\u202e" not in text and "\0" not in text
    assert text.count("&lt;script&gt;") >= 24
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


def test_what_a_template_lacks_is_an_error():
    with pytest.raises(UndefinedError):
        render("page", title="no version")


def test_templates_are_installed_with_the_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "**/*.j2" in settings["package-data"]["laion_dask"]
    for room in ("reports", "plots"):
        files = [path for path in (PACKAGE / room / "templates").rglob("*") if path.is_file()]
        assert {path.suffix for path in files} == {".j2"}


def test_pages_are_templates():
    """No string of the code is a whole page."""
    written = {
        path.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.lower().startswith(("<!doctype", "<html"))
    }
    assert written == set()


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "a.html").mkdir()
    with pytest.raises(OSError):
        write_page(tmp_path / "a.html", "page", title="title")
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


def test_results_pair_intervals_and_tell_shares():
    rows = [
        {"group": "a", "n": 1200, "k": 30, "rate": 0.025, "lo": 0.0175, "hi": 0.0355, "odd": True},
        {"group": "b", "n": 10, "value": 1234.5, "lo": -inf, "hi": inf, "odd": False},
    ]
    rows[0] |= {"ratio": 2.0, "ratio_lo": 1.5, "ratio_hi": 2.5, "q": 1e-9}
    text = grid(result_table(suppressed(table(rows), 5), marked="odd", named={"k": "found"}))
    heads = re.findall(r"<th(?: class=\"left\")?>(.*?)</th>", text)
    assert heads == ["group", "n", "found", "rate", "interval", "value", "odd", "ratio",
                     "interval", "q"]  # fmt: skip
    cells = re.findall(r"<td(?: class=\"left\")?>(.*?)</td>", text)
    assert cells[:5] == ["<bdi>a</bdi>", "1,200", "30", "2.5 %", "1.75 % … 3.55 %"]
    assert cells[5:10] == ["-", "yes", "2", "1.5 … 2.5", "&lt; 0.001"]
    assert cells[13:16] == ["-", "-∞ … ∞", "1,234"] and text.count('class="marked"') == 1
    few = suppressed(table([{"group": "a", "n": 1}, {"group": "b", "n": 9}]), 5)
    assert "1 result based on fewer than 5 rows" in grid(result_table(few))
    assert "7 more rows are not shown" in grid(result_table(table([{"group": "a"}] * 9), limit=2))
    assert share_text(0.99996) == "99.996 %" and share_text(1) == "100 %"


@pytest.fixture
def folder(tmp_path):
    for i, n in enumerate((400, 0, 310)):
        data = laion_table(n, i).to_pydict()
        data["LANGUAGE"] = [
            "<b onclick=x>" if language == "fr" else language for language in data["LANGUAGE"]
        ]
        data["punsafe"] = [0.9 if g == "<b onclick=x>" else 0.1 for g in data["LANGUAGE"]]
        write_shard(tmp_path / "in" / f"part_{i}.parquet", pa.table(data))
    return tmp_path / "in"


def test_the_report_of_an_export_audits_its_filters(folder, tmp_path):
    frame = ld.read_shards(folder).laion.where("width > 100").assign(x=1)
    exported = export(frame.laion.where("punsafe < 0.5 and similarity > 0.15"), tmp_path / "out")
    path = ld.write_report(exported, tmp_path / "page.html", by="language", title="A <title>")
    text = path.read_text(encoding="utf-8")
    check_harmless(text)
    boxes = re.findall(r"<b>([\d,]+)</b>(\w+)</div>", text)
    counts = {name: int(n.replace(",", "")) for n, name in boxes}
    assert counts == vars(exported.rows)
    assert "width &gt; 100" in text and "punsafe &lt; 0.5 and similarity &gt; 0.15" in text
    audited = exported.audit("language")
    assert audited.attrs["rows_before"]["kept"] == 710  # before every filter
    assert audited.attrs["rows"]["kept"] == exported.rows.kept
    assert "<b onclick=x>" in set(audited["group"])
    assert text.count("<svg") == 2 and "&lt;b onclick=x&gt;" in text
    assert "Hong" in text and "Katz" in text and "they do not say who is in an" in text


def test_what_no_filter_left_out_is_told(folder, tmp_path):
    frame = ld.read_shards(folder)
    first_rows = pd.DataFrame({"row": range(200)})
    merged = frame.merge(first_rows, on="row", how="inner").laion.where("width > 500")
    exported = pickle.loads(pickle.dumps(export(merged, tmp_path / "out")))
    text = ld.write_report(exported, tmp_path / "page.html", by="language").read_text(
        encoding="utf-8"
    )
    before = exported.audit("language").attrs["rows_before"]
    assert (before["kept"], before["dropped"]) == (400, 310)
    assert "310 rows were dropped by a step other than a filter" in text


def test_the_audit_of_an_export_reads_again_what_is_there(folder, tmp_path):
    exported = export(ld.read_shards(folder, where="width > 100"), tmp_path / "out")
    with dask.config.set(scheduler=refuse), pytest.raises(ColumnError):
        ld.write_report(exported, tmp_path / "page.html", by="langauge")
    write_shard(folder / "part_0.parquet", laion_table(5))
    with pytest.raises(ShardError):
        exported.audit("language")
    assert not (tmp_path / "page.html").exists()


def test_a_report_with_nothing_to_group_by(tmp_path):
    source = pa.table({"URL": ["u"] * 40, "WIDTH": range(40)})
    frame = ld.read_shards(write_shard(tmp_path / "part_0.parquet", source))
    exported = export(frame.laion.where("width > 10"), tmp_path / "out")
    text = ld.write_report(exported, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "no language or caption column" in text and "<svg" not in text
    with pytest.raises(OptionError):
        exported.audit()
    for wrong in (frame, "out", None):
        with pytest.raises(OptionError, match=r"summary\(\.\.\.\) or export"):
            ld.write_report(wrong, tmp_path / "other.html")


def test_an_export_without_a_filter_excludes_nobody(folder, tmp_path):
    exported = export(ld.read_shards(folder), tmp_path / "out")
    text = ld.write_report(exported, tmp_path / "page.html", by="language").read_text(
        encoding="utf-8"
    )
    assert "none by an expression" in text and "No group was under-represented" in text
    assert text.count("<svg") == 1  # a ratio needs two groups
    assert isinstance(exported.audit("language"), pd.DataFrame)


def test_a_page_follows_the_readers_scheme():
    assert "prefers-color-scheme:dark" in render("page", title="", version="")


def test_the_interval_of_a_value_stands_beside_it_where_no_rate_is_shown():
    table = pd.DataFrame({"term": ["a"], "rate": [nan], "value": [1.5], "lo": [1.0], "hi": [2.0]})
    assert "<td>1 … 2</td>" in grid(result_table(table, columns=["term", "value"]))
