"""Captions, URLs, column names, file names, languages and names are text on every page."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.hostile import ATTACKS
from support.safe_markup import text_of_markdown, text_of_page

import laion_dask as ld
from laion_dask.frame.frame_overview import frame_overview
from laion_dask.stats.table import Table

IMG = "<img src=x onerror=alert(1)>"
RULE = f"language != '{IMG}' and similarity > 0.1"
BIG = 2**62 + 1


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    """Every attack as a caption, in an address, as a language, and as a column's name."""
    folder = tmp_path_factory.mktemp("hostile") / f"in {IMG}"
    folder.mkdir()
    texts = ATTACKS * 32
    at = np.arange(len(texts))
    columns = {
        "URL": [f"https://{i % 40}.example/{text}" for i, text in zip(at, texts, strict=True)],
        "TEXT": [f"a woman and a man {text}" for text in texts],
        "WIDTH": at % 500 + 1,
        "HEIGHT": at % 300 + 1,
        "similarity": at % 100 / 100,
        "LANGUAGE": texts,
        "hash": at + BIG,
        "punsafe": at % 10 / 10,
        "pwatermark": at % 7 / 7,
        **{attack: at % 2 for attack in ATTACKS[:-1]},
    }
    name = "a <b onmouseover=alert(1)>[x](javascript:alert(1)).parquet"
    pq.write_table(pa.table(columns), folder / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd column names
        yield ld.read_shards(str(folder))


STATISTICS = {
    "rates": lambda: ld.rates("punsafe > 0.5", by="language"),
    "terms": lambda: ld.rates("punsafe > 0.5", by=ld.terms({IMG: ["woman"]}, axis=ATTACKS[0])),
    "domains": lambda: ld.rates("punsafe > 0.5", by=ld.domains()),
    "column": lambda: ld.rates("punsafe > 0.5", by=IMG),
    "concentration": lambda: ld.concentration("language"),
    "cooccurrence": lambda: ld.cooccurrence(ld.terms("gender"), by="language"),
    "intersections": lambda: ld.intersections(ld.terms("gender"), "language"),
    "divergence": lambda: ld.divergence("language", by=ld.terms("gender")),
    "curve": lambda: ld.curve("punsafe", by="language", thresholds=(0.5,)),
    "describe": ld.describe,
}


def check_table(table: Table) -> None:
    static = table._repr_html_()
    shown = text_of_page(static)
    text_of_markdown(table.to_markdown())
    sorted_ = table._repr_mimebundle_()["text/html"]
    head, _, script = sorted_.partition('<script type="text/javascript">')
    assert script.count("<script") == 0 and script.count("</script>") == bool(script)
    assert text_of_page(f"{head}</div>") == shown, "the script is ours, and the rest is text"


@pytest.fixture(scope="module")
def statistics(frame):
    return ld.statistics(frame, *(build() for build in STATISTICS.values()), min_n=1)


def test_tables_of_statistics(statistics):
    for name in statistics["statistic"].unique():
        check_table(statistics.of(name))


def test_other_tables(frame):
    filtered = frame.laion.where(RULE)
    check_table(ld.audit(frame, filtered, by=["language", ld.terms("gender")]))
    check_table(Table(frame.laion.duplicates(by="language")))
    check_table(Table(filtered.laion.funnel()))
    rows = Table(frame.head(40))
    check_table(rows)
    assert f"{BIG + 3:,}" in text_of_page(rows._repr_html_()), "a hash has all its digits"


def test_objects_and_pages(frame, tmp_path):
    filtered, page = frame.laion.where(RULE), tmp_path / "page.html"
    summary = frame.laion.summary()
    shown = [
        frame_overview(frame).html(),
        frame.laion._repr_html_(),
        frame_overview(filtered).html(),
        filtered.laion._repr_html_(),
        summary._repr_html_(),
        ld.gallery(frame.head(40), facts=["language", "hash", IMG])._repr_html_(),
        ld.terms({IMG: ["word"]}, axis=ATTACKS[0])._repr_html_(),
        ld.Tags.of(frame, [[0, 1]], IMG)._repr_html_(),
    ]
    text = "".join(map(text_of_page, shown))
    assert IMG in text and f"hash {BIG + 3}" in text
    ld.write_report(summary, page)
    text_of_page(page.read_text("utf-8"))
    frame.laion.datasheet(page)
    text_of_page(page.read_text("utf-8"))


def test_exports_and_carves_and_their_documents(frame, tmp_path):
    said = {
        "name": IMG,
        "description": f"{ATTACKS[0]} {ATTACKS[6]}",
        "creator": ATTACKS[7],
        "license": ATTACKS[9],
        "url": "javascript:alert(1)",
    }
    recipe = ld.Recipe(
        ATTACKS[0],
        title=IMG,
        paper=ATTACKS[5],
        url="javascript:alert(1)",
        description=ATTACKS[7],
        warnings=(ATTACKS[8],),
    ).where(RULE)
    filtered = frame.laion.where(RULE)
    exported = filtered.laion.export(
        tmp_path / "hub <b>", format="huggingface", card=said, audit="language"
    )
    carved = recipe.run(frame, tmp_path / "carved", by="language")
    for shown, seen in ((exported, "hub <b>"), (recipe, IMG), (carved, IMG)):
        assert seen in text_of_page(shown._repr_html_())
    for export in (exported, carved.export):
        page = tmp_path / "page.html"
        ld.write_report(export, page, by="language")
        text_of_page(page.read_text("utf-8"))
    documents = [*tmp_path.rglob("*.md")]
    assert len(documents) == 3
    for path in documents:
        text_of_markdown(path.read_text("utf-8"))


def test_plots(statistics, tmp_path):
    parts = [statistics.of(name) for name in statistics["statistic"].unique()]
    for number, part in enumerate(parts):
        path = tmp_path / f"{number}.svg"
        ld.save_plot(part.plot(), path)
        text_of_page(path.read_text("utf-8"))
    page = ld.show(parts[0].plot()).html
    data = page[page.rindex("<script>") :]
    assert data.count("</script>") == 1 and "\u202e" not in page


def test_the_checks_see_what_is_wrong():
    for attack in ATTACKS:
        if attack.startswith(("<", "'>")) and "https" not in attack:
            with pytest.raises(AssertionError):
                text_of_page(f"<p>{attack}</p>")
    for attack in (ATTACKS[7], ATTACKS[9], "<b onclick=x>", "\u202e"):
        with pytest.raises(AssertionError):
            text_of_markdown(f"| a |\n|---|\n| {attack} |\n")
    assert text_of_page(pd.DataFrame({"a": [1]}).to_html(border=0)).split() == ["a", "0", "1"]
