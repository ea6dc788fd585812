"""What stands beside an export: Croissant, the datasheet, the audit, and counts of licenses."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.carved_exports import carve, kept_by_hand
from support.command_line import run
from support.paths import ROOT
from support.shards import write_shard

import laion_dask as ld
from laion_dask.errors import ExportError, OptionError, ShardError
from laion_dask.exports import formats

#: mlcroissant uses what rdflib has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

#: What the specification requires of a data set; mlcroissant does not check all of it.
REQUIRED = ("@context", "@type", "conformsTo", "name", "description", "license", "url", "creator")
REQUIRED += ("datePublished",)


def croissant_of(out):
    return json.loads((out / "_croissant.json").read_text())


@pytest.mark.parametrize("format", ["parquet", "csv", "huggingface", "urls", "img2dataset"])
@pytest.mark.parametrize("where", ["width > 900", "width > 99999"])
def test_croissant_is_valid_and_complete(source, out, format, where):
    mlc = pytest.importorskip("mlcroissant")
    ld.read_shards(source, where=where).laion.export(out, format=format, rows_per_part=9)
    found = mlc.Dataset(jsonld=str(out / "_croissant.json"))
    issues = found.metadata.ctx.issues
    assert not issues.errors and not issues.warnings
    document = croissant_of(out)
    assert all(document[name] for name in REQUIRED)
    assert document["license"] == document["url"] == document["creator"]["name"] == "unknown"
    assert document["conformsTo"] == [
        "http://mlcommons.org/croissant/1.1",
        "http://mlcommons.org/croissant/RAI/1.0",
    ]
    steps = json.loads(document["prov:wasGeneratedBy"]["sc:description"])
    assert steps["where"] == [where] and len(document["prov:wasDerivedFrom"]) == 4
    for file in document["distribution"]:
        assert file["@type"] == "cr:FileSet" or (out / file["contentUrl"]).exists()


@pytest.mark.parametrize("format", ["parquet", "huggingface"])
def test_mlcroissant_reads_the_rows(source, out, format):
    mlc = pytest.importorskip("mlcroissant")
    carve(source).laion.export(out, format=format, rows_per_part=9)
    records = list(mlc.Dataset(jsonld=str(out / "_croissant.json")).records("rows"))
    assert len(records) == len(kept_by_hand(source)) and "rows/url" in records[0]


def test_the_card_is_in_croissant_and_the_datasheet(source, out):
    card = {"name": "Birds", "creator": "A. Person", "license": "CC-BY-4.0", "url": "https://e/x"}
    card |= {"date_published": "2026-01-31", "cite_as": "@misc{x}", "description": "Of <birds>."}
    carve(source).laion.export(out, card={**card, "language": ["en", "de"]})
    document = croissant_of(out)
    assert document["creator"]["name"] == "A. Person" and document["citeAs"] == "@misc{x}"
    assert document["datePublished"] == "2026-01-31" and document["inLanguage"] == ["en", "de"]
    sheet = (out / "_datasheet.md").read_text()
    assert "# Datasheet of Birds" in sheet and "By A. Person." in sheet


def test_the_day_of_the_export_can_be_set(source, out, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    carve(source).laion.export(out)
    assert croissant_of(out)["datePublished"] == "1970-01-02"


def test_licenses_are_counted_and_the_unknown_first(tmp_path, out):
    licenses = ["?", None, "", "CC BY", "CC BY", "CC0", "Unknown"]
    columns = {"LICENSE": licenses, "opt_out": [True, None, False] * 2 + [None]}
    for i in range(2):
        write_shard(tmp_path / "in" / f"a_{i}.parquet", pa.table({**columns, "n": [i] * 7}))
    done = ld.read_shards(str(tmp_path / "in")).laion.export(out, rows_per_part=3)
    rights = done.manifest["rights"]
    assert rights["LICENSE"] == {"unknown": 8, "CC BY": 4, "CC0": 2}
    assert list(rights["LICENSE"]) == ["unknown", "CC BY", "CC0"]
    assert rights["opt_out"] == {"unknown": 6, "false": 4, "true": 4} and "consent" not in rights
    assert "unknown 8, CC BY 4, CC0 2" in (out / "_datasheet.md").read_text()


def test_without_such_columns_all_is_unknown(source, out):
    rights = carve(source).laion.export(out).manifest["rights"]
    kept = len(kept_by_hand(source))
    assert rights == {"consent": {"unknown": kept}, "license": {"unknown": kept}}


def test_the_audit_is_written_if_asked_for(source, out):
    carve(source).laion.export(out)
    assert not (out / "_audit.csv").exists()
    done = carve(source).laion.export(out, audit="language")
    assert (out / "_audit.csv").read_text().startswith(",".join(done.audit("language").columns))
    carve(source).laion.export(out)
    assert not (out / "_audit.csv").exists()


@pytest.mark.parametrize("name", ["_croissant.json", "_datasheet.md", "README.md"])
def test_documents_are_verified_and_the_users_own_are_kept(source, out, name):
    carve(source).laion.export(out, format="huggingface")
    text = (out / name).read_text()
    (out / name).write_text(text + " ")
    assert len(ld.read_shards(out))  # rows do not need them
    with pytest.raises(ShardError, match=f"{name} has sha256"):
        ld.verify(out)
    (out / name).unlink()
    with pytest.raises(ShardError, match=f"{name} does not exist"):
        ld.verify(out)
    carve(source).laion.export(out)
    (out / "README.md").write_text("mine")
    with pytest.raises(ExportError, match=r"README\.md, which export did not write"):
        carve(source).laion.export(out, format="huggingface")
    assert (out / "README.md").read_text() == "mine"


def test_every_format_has_its_section_in_the_guide():
    text = (ROOT / "docs" / "how-to" / "export.md").read_text()
    assert [name for name in formats.names() if f"`{name}`" not in text] == []


def test_a_plan_knows_the_format(source, out):
    frame = ld.read_shards(source)
    assert "without the bytes of the images" in str(ld.plan(frame, ("export", "webdataset")))
    with pytest.raises(OptionError, match="Did you mean 'csv'"):
        ld.plan(frame, ("export", "csvs"))


def test_the_command_takes_formats_options_and_the_card(source, out, monkeypatch, capsys):
    export = ["export", source, str(out)]
    words = ["--option", "names=laion", "--card", "license=CC0"]
    assert run(monkeypatch, capsys, *export, *words)[0] == 0
    (path,) = (out / "shards").glob("*.parquet")
    assert "URL" in pq.read_schema(path).names and croissant_of(out)["license"] == "CC0"
    for words, expected in (
        (["--option", "names"], "NAME=VALUE"),
        (["--option", "rows_per_part=3"], "no option"),
        (["--format", "csv", "--option", "names=laion"], "parquet"),
        (["--card", "licence=CC0"], "Did you mean 'license'"),
    ):
        status, _, shown = run(monkeypatch, capsys, *export, *words)
        assert status and expected in " ".join(shown.replace("\u2502", " ").split())


@pytest.mark.parametrize("format", ["parquet", "csv", "huggingface", "img2dataset"])
def test_any_name_and_type_of_a_column(tmp_path, out, format):
    mlc = pytest.importorskip("mlcroissant")
    columns = {name: ["a"] for name in ("url", "a\nb|c\"'`$(exit 1)", " ", "\u00dc", "rows/url")}
    columns["map"] = pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))
    columns["ns"] = pa.array([1], pa.duration("ns"))
    write_shard(tmp_path / "in" / "a.parquet", pa.table(columns))
    ld.read_shards(str(tmp_path / "in")).laion.export(out, format=format)
    issues = mlc.Dataset(jsonld=str(out / "_croissant.json")).metadata.ctx.issues
    assert not issues.errors and not issues.warnings
    if format == "huggingface":
        datasets = pytest.importorskip("datasets")
        loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
        assert loaded["train"][0]["map"] == [{"key": "k", "value": 1}]


def test_the_datasheet_reads_as_text(tmp_path, out):
    columns = {"a_b": [[1.5]], "_c_": ["x"], "<i>|": ["y"], "d`": [1]}
    write_shard(tmp_path / "metadata" / "a.parquet", pa.table(columns))
    frame = ld.read_shards(str(tmp_path / "metadata"))
    frame[frame["d`"] == 1].laion.export(out, format="parquet")
    sheet = (out / "_datasheet.md").read_text()
    assert sheet.startswith(f"# Datasheet of Subset of the shards in {tmp_path.name}\n")
    assert "1 of 1 rows of 1 shard," in sheet and "Format parquet: 1 part, " in sheet
    assert "| a_b | list&lt;element: double&gt; |" in sheet and "| \\_c\\_ |" in sheet
    assert "| &lt;i&gt;\\| |" in sheet and "| d\\` |" in sheet
    assert "- `` pandas mask: (d` == 1) ``" in sheet and " kB." in sheet


def test_no_cell_of_the_audit_is_a_formula(tmp_path, out):
    columns = {"language": ["=1+1"] * 40 + ["en"] * 40, "width": [1, 2] * 40}
    write_shard(tmp_path / "in" / "a.parquet", pa.table(columns))
    frame = ld.read_shards(str(tmp_path / "in"), where="width > 1")
    frame.laion.export(out, audit="language")
    assert ",'=1+1," in (out / "_audit.csv").read_text()
