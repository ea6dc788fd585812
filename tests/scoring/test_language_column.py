"""A column with the language of each caption: lazy, pandas or cuDF, and named by exports."""

import json
import pickle
from importlib.metadata import version

import pandas as pd
import pyarrow as pa
import pytest
from support.frames import both
from support.multilingual_captions import CAPTIONS, SENTENCES, named

import laion_dask as ld
from laion_dask.errors import ColumnError, OptionError
from laion_dask.io.parquet import duckdb_connection
from laion_dask.scoring.language import language
from laion_dask.text import language_detection as kernels


@pytest.fixture
def paths(write):
    texts = [*CAPTIONS]
    return [
        write(
            f"{i}.parquet",
            {"URL": pa.array(["u"] * len(part)), "TEXT": pa.array(part, pa.string())},
        )
        for i, part in enumerate((texts, texts[:0], texts[::-1]))
    ]


@both
def test_a_column_beside_each_caption(paths):
    frame = ld.read_shards(paths)
    detected = language(frame)
    assert (
        detected.columns[-1] == "language" and detected.dtypes["language"] == frame.dtypes["text"]
    )
    found = detected.compute()
    codes = [None if pd.isna(c) else c for c in found["language"]]
    assert codes == named(CAPTIONS) + named(CAPTIONS)[::-1]
    again = language(frame.repartition(npartitions=1)).compute()
    assert (
        again["language"].tolist()[: len(CAPTIONS)] == found["language"].tolist()[: len(CAPTIONS)]
    )
    german = detected[detected["language"] == "de"].compute()
    assert set(german["text"]) == {SENTENCES["de"]}


@both
def test_a_published_language_stays(write):
    path = write("a.parquet", {"TEXT": [SENTENCES["de"]] * 2, "LANGUAGE": ["en", "de"]})
    frame = ld.read_shards(path)
    found = language(frame).compute()
    assert found["language"].tolist() == ["en", "de"]
    assert found["detected_language"].tolist() == ["de", "de"]
    assert "spoken" in language(frame, to="spoken").columns
    with pytest.raises(OptionError, match="already has a column 'language'"):
        language(frame, to="language")
    with pytest.raises(OptionError, match="already has a column 'detected_language'"):
        language(language(frame))


def test_it_is_lazy_and_reads_captions_alone(paths, no_compute, monkeypatch):
    monkeypatch.setattr(kernels, "model", lambda: pytest.fail("the model was loaded"))
    queries, plain_query = [], duckdb_connection.query
    monkeypatch.setattr(
        duckdb_connection, "query", lambda *a: queries.append(a[0]) or plain_query(*a)
    )
    detected = language(ld.read_shards(paths))[["language", "row"]]
    pickle.loads(pickle.dumps(detected))
    assert queries == []
    monkeypatch.undo()
    monkeypatch.setattr(
        duckdb_connection, "query", lambda *a: queries.append(a[0]) or plain_query(*a)
    )
    detected.compute(scheduler="sync")
    assert len(queries) == 3 and all('"TEXT"' in sql and '"URL"' not in sql for sql in queries)


def test_what_it_refuses(paths):
    frame = ld.read_shards(paths)
    for options, kind, said in [
        ({"column": "txet"}, ColumnError, "Did you mean 'text'"),
        ({"column": "row"}, OptionError, "holds int64"),
        ({"to": "url"}, OptionError, "already has a column 'url'"),
        ({"to": 3}, OptionError, "the new column's name"),
        ({"min_letters": -1}, OptionError, "min_letters is -1"),
        ({"min_letters": 2.5}, OptionError, "min_letters is 2.5"),
        ({"min_letters": True}, OptionError, "min_letters is True"),
        ({"min_confidence": 50}, OptionError, r"min_confidence is 50\. Expected a probability"),
        ({"min_confidence": float("nan")}, OptionError, "min_confidence is nan"),
        ({"min_confidence": "high"}, OptionError, "min_confidence is 'high'"),
    ]:
        with pytest.raises(kind, match=said):
            language(frame, **options)
    with pytest.raises(OptionError, match="a Dask DataFrame"):
        language(frame.compute())


def test_an_export_names_the_detector(paths, tmp_path):
    detected = language(ld.read_shards(paths), min_confidence=0.6)
    detected.laion.export(tmp_path / "out")
    (entry,) = json.loads((tmp_path / "out/_recipe.json").read_text())["models"]
    assert entry["detector"] == {"py3langid": version("py3langid")}
    assert (entry["name"], entry["of"], entry["min_letters"]) == ("language", "text", 4)
    assert entry["min_confidence"] == 0.6
