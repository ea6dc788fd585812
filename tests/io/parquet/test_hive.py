"""Columns encoded in folder names (Hive partitioning)."""

from __future__ import annotations

import dask.dataframe as dd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from laion_dask.errors import ExportError, SchemaError
from laion_dask.io.parquet import duckdb_connection
from laion_dask.io.parquet.hive import folder_columns
from laion_dask.io.parquet.read_shards import read_shards

pytestmark = pytest.mark.usefixtures("partitioning")

ROWS = {"URL": ["u", "v", "w"], "TEXT": ["a", "b", "c"], "similarity": [0.1, 0.2, 0.3]}
HERE = {"scheduler": "sync"}


def test_every_way_to_name_the_files_gives_the_column(tmp_path):
    table = pa.table({**ROWS, "LANGUAGE": ["en", "de", None]})
    by = ds.partitioning(pa.schema([("LANGUAGE", pa.string())]), flavor="hive")
    ds.write_dataset(table, tmp_path / "d", format="parquet", partitioning=by)
    root, right = tmp_path / "d", {"u": "en", "v": "de"}
    for source in (root, f"{root}/*", f"{root}/**/*.parquet", sorted(root.glob("*/*.parquet"))):
        read = read_shards(source).compute(**HERE)
        result = dict(zip(read["url"], read["language"], strict=True))
        assert {k: result[k] for k in right} == right and result["w"] != result["w"]
    assert str(read["language"].dtype) == "str"
    for where, urls in (
        ("language == 'en'", ["u"]),
        ("language in ('de', 'fr') and similarity > 0.1", ["v"]),
        ("language is None", ["w"]),
        ("not language == 'en'", ["v"]),
        ("language.startswith('e')", ["u"]),
    ):
        frame = read_shards(root, where=where)
        assert sorted(frame.compute(**HERE)["url"]) == urls, where
        later = read_shards(root).laion.where(where)
        assert sorted(later.compute(**HERE)["url"]) == urls, where
    rows = read_shards(root, where="language == 'en'").laion.rows()
    assert (rows.read, rows.kept, rows.dropped, rows.unscored) == (3, 1, 1, 1)
    assert read_shards(root, columns=["language"]).compute(**HERE).shape == (3, 3)
    assert "language" not in read_shards(root, hive_partitioning=False).columns
    recipe = read_shards(root).laion.export(tmp_path / "out").manifest
    assert recipe["renamed"]["LANGUAGE"] == "language"


def test_types(write, tmp_path):
    write("d/year=2023/key=007/punsafe=0/0.parquet", ROWS)
    write("d/year=2024/key=8/punsafe=0.25/0.parquet", ROWS)
    frame = read_shards(tmp_path / "d", where="year > 2023 and punsafe < 0.3 and key == '8'")
    read = frame.compute(**HERE)
    assert {n: str(read[n].dtype) for n in ("year", "key", "punsafe")} == {
        "year": "Int64", "key": "str", "punsafe": "float64"
    }  # fmt: skip
    assert read[["year", "key", "punsafe"]].iloc[0].tolist() == [2024, "8", 0.25]
    assert len(read) == 3
    write("e/width=512.5/0.parquet", ROWS)
    with pytest.raises(
        SchemaError, match=r"'width' the value '512\.5', which int32 cannot represent"
    ):
        read_shards(tmp_path / "e")


def test_the_careful_reader_has_them_too(write, tmp_path):
    write("d/lang=fr/0.parquet", {**ROWS, "TEXT": pa.array([b"a", b"b", b"c"])})
    read = read_shards(tmp_path / "d", where="lang == 'fr' and text != 'b'").compute(**HERE)
    assert read["lang"].tolist() == ["fr", "fr"] and read["text"].tolist() == ["a", "c"]


def test_dask_agrees(tmp_path):
    table = pa.table({"a": [1, 2, 3], "b c": ["x/y", "%", "é="]})
    pq.write_to_dataset(table, tmp_path / "d", partition_cols=["b c"])
    read = read_shards(tmp_path / "d").compute(**HERE).sort_values("a")
    peer = dd.read_parquet(tmp_path / "d").compute(**HERE).sort_values("a")
    assert read["b c"].tolist() == peer["b c"].tolist() == ["x/y", "%", "é="]


@pytest.mark.parametrize("statistics", [True, False])
def test_a_column_that_the_file_has_too(tmp_path, statistics):
    def write(folder, language):
        (tmp_path / folder).mkdir(parents=True)
        table = pa.table({**ROWS, "language": language})
        pq.write_table(table, tmp_path / folder / "0.parquet", write_statistics=statistics)

    write("d/LANGUAGE=en", ["en"] * 3)
    assert read_shards(tmp_path / "d").compute(**HERE)["language"].tolist() == ["en"] * 3
    write("e/LANGUAGE=en", ["en", "de", None])
    with pytest.raises(SchemaError, match=r"with the value 'de'.*says 'en'"):
        read_shards(tmp_path / "e")
    read = read_shards(tmp_path / "e", hive_partitioning=False).compute(**HERE)
    assert read["language"].tolist()[:2] == ["en", "de"]


def test_a_struct_of_the_name_of_a_folder_is_refused(tmp_path):
    (tmp_path / "language=en").mkdir()
    table = pa.table({**ROWS, "language": pa.array([{"code": "en"}] * 3)})
    pq.write_table(table, tmp_path / "language=en" / "0.parquet")
    with pytest.raises(SchemaError, match="says 'en'"):
        read_shards(tmp_path)
    result = read_shards(tmp_path, hive_partitioning=False, columns=["url"])
    assert len(result.compute(**HERE)) == 3


def test_only_the_unbroken_run_above_the_file_counts():
    assert folder_columns("/runs=5/data/a=1/b=x%2Fy/0.parquet") == {"a": "1", "b": "x/y"}
    assert folder_columns("a=__HIVE_DEFAULT_PARTITION__/0.parquet") == {"a": None}
    assert folder_columns("a=1/data/0.parquet") == folder_columns("=1/x=.parquet") == {}


def test_shards_of_other_folders_are_not_read(write, tmp_path, monkeypatch):
    for language in ("en", "de"):
        write(f"d/LANGUAGE={language}/0.parquet", ROWS)
    read = []
    query = duckdb_connection.query
    monkeypatch.setattr(
        duckdb_connection, "query", lambda *args: read.extend(args[1]) or query(*args)
    )
    assert len(read_shards(tmp_path / "d", where="language == 'en'").compute(**HERE)) == 3
    assert [path.split("/")[-2] for path in read] == ["LANGUAGE=en"]


def test_an_export_into_its_own_source_is_refused(write, tmp_path):
    write("d/0.parquet", ROWS)
    for source in (tmp_path / "d", f"{tmp_path}/d/", f"{tmp_path}/*"):
        with pytest.raises(ExportError, match=r"is in .*Name a folder outside"):
            read_shards(source).laion.export(tmp_path / "d" / "carved")
    assert not (tmp_path / "d" / "carved").exists()
    read_shards(f"{tmp_path}/d/*.parquet").laion.export(tmp_path / "d" / "carved")


@pytest.mark.parametrize(
    "columns",
    [
        "url text similarity hash",
        "url text image_phash clip_similarity_vitb32",
        "uid url text clip_b32_similarity_score",
        "url alt_txt",
    ],
)
def test_the_language_of_a_folder_has_its_canonical_name_in_every_dialect(tmp_path, columns):
    for language in ("en", "de"):
        folder = tmp_path / f"LANGUAGE={language}"
        folder.mkdir()
        numbers = {"similarity", "hash", "clip_similarity_vitb32", "clip_b32_similarity_score"}
        table = {n: [1] if n in numbers else [language] for n in columns.split()}
        pq.write_table(pa.table(table), folder / "0.parquet")
    read = read_shards(tmp_path, where="language == 'de'").compute(**HERE)
    assert read[["url", "language"]].to_numpy().tolist() == [["de", "de"]]
