"""The report: one page that needs no network and executes nothing from the data."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld


class Tags(HTMLParser):
    """Collect every tag with its attributes, in order."""

    def __init__(self):
        super().__init__()
        self.found: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def page(tmp_path) -> str:
    table = pa.table(
        {
            "URL": ["https://a.example/1.jpg", "https://b.example/2.jpg", None],
            "TEXT": ["one", "<script>alert(1)</script>", None],
            "WIDTH": pa.array([300, 600, None], pa.int32()),
            "HEIGHT": pa.array([300, 200, 10], pa.int32()),
            "LANGUAGE": ["en", "<b onmouseover=alert(1)>", "de"],
            "similarity": [0.3, float("nan"), 0.4],
            "punsafe": [0.9, 0.1, None],
        }
    )
    pq.write_table(table, tmp_path / "part_0.parquet")
    frame = ld.read_shards(tmp_path / "part_0.parquet").laion.where("similarity > 0.1")
    path = ld.write_report(frame.laion.summary(), tmp_path / "report.html", title="A <title>")
    assert [p.name for p in tmp_path.glob("*report*")] == ["report.html"]
    return path.read_text(encoding="utf-8")


def test_it_runs_and_fetches_nothing(page):
    tags = Tags()
    tags.feed(page)
    names = {tag for tag, _ in tags.found}
    assert not names & {"script", "img", "iframe", "link", "object", "embed", "form"}
    assert not any(a.startswith("on") for _, attrs in tags.found for a in attrs)
    assert not any(set(attrs) & {"src", "href"} for _, attrs in tags.found)
    assert "default-src 'none'" in page


def test_the_four_counts_are_there_and_add_up(page):
    boxes = re.findall(r"<b>([\d,]+)</b>(\w+)</div>", page)
    counts = {name: int(n.replace(",", "")) for n, name in boxes}
    assert counts == {"read": 3, "kept": 2, "dropped": 0, "unscored": 1, "rejected": 0}


def test_hostile_labels_stay_text(page):
    assert "A &lt;title&gt;" in page
    assert "<title>A &lt;" in page
