"""The datasheet: a page from a single pass, in which all data stays text."""

import re
from html.parser import HTMLParser
from importlib.metadata import version
from xml.etree import ElementTree

import dask
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.paths import SHARED
from support.shards import laion_table, refuse, write_shard
from typer.testing import CliRunner

import laion_dask as ld
from laion_dask.cli import app
from laion_dask.errors import ExportError, OptionError
from laion_dask.reports.datasheet import datasheet_page

HOSTILE = "<script>alert(1)</script> a woman doctor <img src=x onerror=alert(2)> \u202e"


class Tags(HTMLParser):
    """Collect the tags of a page with their attributes."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Captions that mention people, some of them hostile, and scores."""
    folder = tmp_path_factory.mktemp("corpus")
    draw = np.random.default_rng(0)
    words = ["a woman and her dog", "the man is a doctor", "a young girl", "a red car", HOSTILE]
    for i in range(3):
        table = laion_table(800, i)
        text = pa.array(draw.choice(words, 800, p=[0.25, 0.25, 0.1, 0.3, 0.1]))
        place = table.column_names.index("TEXT")
        write_shard(folder / f"part_{i}.parquet", table.set_column(place, "TEXT", text), 400)
    return str(folder)


@pytest.fixture(scope="module")
def page(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report.html"
    assert ld.read_shards(corpus).laion.datasheet(out, title="A <b>title</b>") == out
    assert [p.name for p in out.parent.iterdir()] == ["report.html"]
    return out.read_text(encoding="utf-8")


def test_the_page_says_what_it_promises(page):
    for heading in (
        "What was read",
        "Images and captions",
        "Where rows come from",
        "Languages",
        "Whom captions mention",
        "Rows with punsafe &gt; 0.5, by group",
        "Rate against threshold",
        "Mentioned together",
        "Intersections",
        "How to read this",
        "Caveats",
    ):
        assert f"<h2>{heading}</h2>" in page, heading
    for source in ("Wilson", "Katz", "Benjamini", "Bouma", "Valentini", "Efron", "Masson"):
        assert source in page
    assert "<b>2,400</b>read" in page
    assert "A &lt;b&gt;title&lt;/b&gt;" in page


def test_nothing_of_the_page_is_run_or_fetched(page):
    tags = Tags()
    tags.feed(page)
    names = {tag for tag, _ in tags.found}
    assert not names & {"script", "img", "link", "iframe", "object", "a", "form", "base"}
    for _, attributes in tags.found:
        assert not any(name.startswith("on") or name in ("href", "src") for name in attributes)
    assert "default-src 'none'" in page
    assert "\u202e" not in page


def test_its_pictures_are_well_formed(page):
    pictures = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(pictures) >= 8
    for picture in pictures:
        root = ElementTree.fromstring(picture.replace("<bdi>", "").replace("</bdi>", ""))
        numbers = re.findall(r"(?:nan|inf)", picture)
        assert root.tag == "svg" and not numbers


def test_its_numbers_are_those_of_the_pass(corpus, page):
    frame = ld.read_shards(corpus)
    result = frame.laion.statistics(*ld.standard_statistics(frame))
    rates = result.of("rates")
    woman = rates[(rates["term"] == "rows") & (rates["group"] == "woman")].iloc[0]
    assert f"{woman['k']:,}" in page and f"{100 * woman['rate']:.3g} %" in page
    text = frame[["text"]].compute()["text"]
    wanted = text.str.contains(r"(?i)\b(?:woman|her|girl)\b", na=False).sum()
    assert woman["k"] == wanted


def test_every_number_of_the_pass_is_the_same_whatever_the_partitions(corpus):
    frame = ld.read_shards(corpus)
    result = frame.laion.statistics(*ld.standard_statistics(frame))
    split = ld.read_shards(corpus, max_rows_per_partition=400)
    assert split.npartitions > frame.npartitions
    assert split.laion.statistics(*ld.standard_statistics(split)).equals(result)


@pytest.mark.parametrize("columns", [["url"], ["text"], ["language", "punsafe"], ["width"]])
def test_it_tells_what_the_columns_allow(corpus, tmp_path, columns):
    frame = ld.read_shards(corpus)[columns]
    page = frame.laion.datasheet(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<b>2,400</b>read" in page
    assert ("Where rows come from" in page) == ("url" in columns)
    assert ("Whom captions mention" in page) == ("text" in columns)


def test_a_frame_with_nothing_to_tell(tmp_path):
    write_shard(tmp_path / "a.parquet", laion_table(0))
    page = ld.read_shards(str(tmp_path)).laion.datasheet(tmp_path / "page.html")
    assert "<b>0</b>read" in page.read_text(encoding="utf-8")


def test_a_language_called_as_a_number_of_another_kind(tmp_path):
    languages = ["mean", "quantile 0.50", "(all)", "en"]
    table = laion_table(400, odd=False)
    place = table.column_names.index("LANGUAGE")
    table = table.set_column(place, "LANGUAGE", pa.array(languages * 100))
    write_shard(tmp_path / "a.parquet", table)
    page = ld.read_shards(str(tmp_path)).laion.datasheet(tmp_path / "page.html")
    quantiles = page.read_text(encoding="utf-8").partition("quantiles of")[2].partition("</table>")
    assert "similarity" in quantiles[0] and "language" not in quantiles[0]


def test_what_is_wrong_is_said_before_anything_is_read(corpus, tmp_path):
    frame = ld.read_shards(corpus)
    with dask.config.set(scheduler=refuse):
        for options in ({"level": 2}, {"min_n": -1}):
            with pytest.raises(OptionError):
                frame.laion.datasheet(tmp_path / "page.html", **options)
        ld.standard_statistics(frame)
    assert not list(tmp_path.iterdir())


def test_the_command(corpus, tmp_path):
    out = tmp_path / "page.html"
    completed = CliRunner().invoke(app, ["datasheet", corpus, str(out), "--where", "width > 300"])
    assert completed.exit_code == 0, completed.output
    assert str(out) in completed.output
    page = out.read_text(encoding="utf-8")
    assert "width &gt; 300" in page and "<b>2,400</b>read" in page


def test_real_captions(tmp_path):
    source = SHARED / "data" / "web_captions_10000.parquet"
    if not source.exists():
        pytest.skip("the real captions of ../shared are not beside this repository")
    page = ld.read_shards(str(source)).laion.datasheet(tmp_path / "page.html").read_text("utf-8")
    assert "<b>10,000</b>read" in page and "shopify.com" in page and "woman" in page


def test_a_frame_in_which_nobody_is_mentioned(tmp_path):
    """Without a group there is no rest to compare with, so the page has no ratios."""
    columns = {"URL": ["http://a.com/1"] * 60, "punsafe": np.linspace(0, 1, 60)}
    for text in ("a red star", "a man"):
        shard = tmp_path / f"{text}.parquet"
        write_shard(shard, pa.table({**columns, "TEXT": [text] * 60}))
        for min_n in (1, 30):
            out = ld.read_shards(str(shard)).laion.datasheet(tmp_path / "p.html", min_n=min_n)
            assert "Rows with punsafe" in out.read_text("utf-8")
        result = ld.read_shards(str(shard)).laion.statistics(
            ld.rates("punsafe > 0.5", by=ld.terms("age"))
        )
        assert result.of("rates")["ratio"].isna().all()


def test_it_names_its_term_lists_and_detector(corpus, tmp_path):
    frame = ld.read_shards(corpus)[["text"]].laion.language()
    page = frame.laion.datasheet(tmp_path / "p.html").read_text("utf-8")
    assert "gender, version 2: Zhao" in page and "occupations, version" in page
    assert "py3langid" in page


def test_a_place_where_no_page_can_be_is_refused_at_once(corpus, tmp_path):
    frame = ld.read_shards(corpus)
    with dask.config.set(scheduler=refuse):
        for place in (tmp_path, tmp_path / "none" / "page.html"):
            with pytest.raises(ExportError, match=r"Name a file|Create it first"):
                frame.laion.datasheet(place)
    completed = CliRunner().invoke(app, ["datasheet", corpus, str(tmp_path / "no" / "p.html")])
    assert completed.exit_code == 1


def test_other_statistics_are_told_too(corpus, tmp_path):
    result = ld.read_shards(corpus).laion.audit("punsafe < 0.5", by="language")
    page = datasheet_page(result, tmp_path / "p.html").read_text("utf-8")
    assert "<h2>exclusion</h2>" in page and "under-represented" in page


def test_languages_are_told_with_who_says_so(tmp_path):
    captions = ["A photo of a small dog in the grass", "Ein Foto von einem Hund im Gras", "x1"] * 60
    captions += ["\u0b0f\u0b39\u0b3e \u0b0f\u0b15 \u0b38\u0b41\u0b28\u0b4d\u0b26\u0b30", None] * 60
    languages = ["en", "de", None] * 60 + ["or", None] * 60
    pq.write_table(pa.table({"TEXT": captions, "LANGUAGE": languages}), tmp_path / "0.parquet")
    frame = ld.read_shards(str(tmp_path))
    published = ld.datasheet(frame, tmp_path / "a.html").read_text("utf-8")
    assert "As the column language of the data set has them" in published
    assert "py3langid" not in published
    bare = frame[["text"]]
    page = ld.datasheet(bare, tmp_path / "b.html").read_text("utf-8")
    unknown = "Detected in the captions for this page by py3langid " + version("py3langid")
    assert unknown in page and "40 % of rows are und" in page.replace("40.0 %", "40 %")
    result = bare.laion.statistics(*ld.standard_statistics(bare)).of("rates")
    result = result[(result["term"] == "rows") & (result["axis"] == "detected language")]
    assert dict(zip(result["group"], result["k"], strict=True)) == {
        "en": 60, "de": 60, "und": 120, "(null)": 60,
    }  # fmt: skip
    by_column = bare.laion.language()["language"].compute(scheduler="sync").value_counts()
    assert by_column.to_dict() == {"en": 60, "de": 60, "und": 120}


def test_sections_stand_in_the_order_of_their_statistics(page):
    headings = re.findall("<h2>(.*?)</h2>", page)
    firsts = ["Images and captions", "Where rows come from", "Addresses and captions that repeat"]
    assert headings[1:4] == firsts
    assert headings.index("Languages") < headings.index("Rate against threshold")
    assert headings.index("Mentioned together") < headings.index("Intersections")
