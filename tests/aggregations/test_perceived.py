"""Perceived attributes: counts match a loop for any partitioning; no row's label leaves a task."""

import math
import pickle
from collections import Counter
from types import SimpleNamespace

import dask
import numpy as np
import pandas as pd
import pytest
from support.frames import both
from support.shards import collection, cosine, laion_table, npy, refuse, write_shard

import laion_dask as ld
from laion_dask.aggregations import Partition
from laion_dask.aggregations import perceived_kernel as kernels
from laion_dask.aggregations.perceived import Perceived, perceived
from laion_dask.backend import frame_to_arrow
from laion_dask.caveats import CAVEATS
from laion_dask.errors import (
    ColumnError,
    ModelMismatchError,
    OptionError,
    PairingError,
    ProvenanceError,
)
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.parquet.scan import Scan
from laion_dask.models import ClipModel, Vectors
from laion_dask.reports.page_tables import result_table
from laion_dask.runtime import graph
from laion_dask.stats import Table, wilson

CAVEAT = CAVEATS["model-assigned"]
SIZES = (230, 0, 120, 1)


@pytest.fixture(scope="module", params=["float32", "float16"])
def data(request, tmp_path_factory):
    """Shards in which some embeddings have no direction, and prompts given as vectors."""
    folder = tmp_path_factory.mktemp("perceived")
    c = collection(folder, SIZES, dtype=request.param)
    c.images[0][3], c.images[0][5, 2], c.images[2][7, 0] = 0, np.nan, np.inf
    for i, image in enumerate(c.images):
        npy(folder / "img_emb" / f"img_emb_{i}.npy", image)
    draw = np.random.default_rng(5)
    # The prompts are close together, so many rows stay unassigned at a scale of 100.
    base = draw.normal(size=8)
    near = {label: base + 0.02 * draw.normal(size=8) for label in ("woman", "man", "somebody")}
    c.prompts = {"gender": near, "age": {"young": base, "old": base + 0.02 * draw.normal(size=8)}}
    c.frame = ld.read_shards(c.metadata, backend="pandas")
    c.embeddings = ld.open_embeddings(c.img_emb, model=c.model)
    return c


def by_the_book(images, labels, margin=0.2, scale=100.0):
    """A dict from (shard, row) to label, computed one row at a time."""
    units = {label: np.asarray(v) / np.linalg.norm(v) for label, v in labels.items()}
    result = {}
    for shard, rows in enumerate(images):
        for row, x in enumerate(rows):
            logits = {label: scale * cosine(x, v) for label, v in units.items()}
            if any(math.isnan(value) for value in logits.values()):
                result[shard, row] = "unscored"
                continue
            highest = max(logits.values())
            shares = {label: math.exp(value - highest) for label, value in logits.items()}
            ranked = sorted(shares, key=shares.get, reverse=True)
            total = sum(shares.values())
            ahead = (shares[ranked[0]] - shares[ranked[1]]) / total
            assert abs(ahead - margin) > 1e-7, "the margin is too close to decide in float32"
            result[shard, row] = ranked[0] if ahead > margin else "not assigned"
    return result


def check(result, expected: Counter, attribute, labels, axis=None, group=None):
    name = f"perceived {attribute} (model-assigned)"
    n = sum(expected[label] for label in (*labels, "not assigned"))
    for label in (*labels, "not assigned"):
        if axis is None:
            selected = result[(result["term"] == name) & (result["group"] == label)]
        else:
            selected = result[(result["term"] == f"{label}: {name}") & (result["group"] == group)]
            assert (selected["axis"] == axis).all()
        ((_, row),) = selected.iterrows()
        assert (row["n"], row["k"], row["unscored"]) == (n, expected[label], expected["unscored"])
        assert row["rate"] == expected[label] / n
        assert (row["lo"], row["hi"]) == wilson(expected[label], n)


def test_counts_against_a_loop(data):
    result = perceived(data.frame, data.embeddings, data.prompts)
    assert isinstance(result, Table) and len(result) == 4 + 3
    for attribute, labels in data.prompts.items():
        expected = Counter(by_the_book(data.images, labels).values())
        assert expected["unscored"] == 3 and expected["not assigned"] > 10
        check(result, expected, attribute, labels)
    assert result.attrs["rows"] == {
        "read": 351, "kept": 351, "dropped": 0, "unscored": 0, "rejected": 0,
    }  # fmt: skip
    assert result["axis"].isna().all()
    assert set(result["statistic"]) == {"perceived, model-assigned"}


def test_margins(data):
    labels = data.prompts["gender"]
    for margin in (0, 0.5, 0.9):
        result = perceived(data.frame, data.embeddings, {"gender": labels}, margin=margin)
        expected = Counter(by_the_book(data.images, labels, margin).values())
        check(result, expected, "gender", labels)
        assert (expected["not assigned"] == 0) == (margin == 0)


def test_two_labels_that_are_level_are_never_assigned(data):
    same = np.ones(8)
    result = perceived(data.frame, data.embeddings, {"a": {"one": same, "two": 3 * same}}, margin=0)
    assert result["k"].tolist() == [0, 0, 348]


def test_groups(data):
    plain = data.frame.compute()
    labels = data.prompts["gender"]
    assigned = by_the_book(data.images, labels)
    result = perceived(data.frame, data.embeddings, {"gender": labels}, by="language")
    groups = plain["language"].astype(object).where(plain["language"].notna(), "(null)")
    table = set(result["group"])
    for group in groups.unique():
        rows = plain[groups == group]
        expected = Counter(assigned[k] for k in zip(rows["shard"], rows["row"], strict=True))
        assert sum(expected.values()) >= 30 and group in table
        check(result, expected, "gender", labels, group=group, axis="language")
    assert table == set(groups.unique())
    assert result["n"].sum() / 4 + result.groupby("group")["unscored"].first().sum() == 351


def test_a_group_of_the_name_of_no_group_loses_no_row(tmp_path):
    table = laion_table(80, odd=False).to_pandas()
    table["LANGUAGE"] = ["(null)", None] * 40
    (tmp_path / "meta").mkdir()
    table.to_parquet(tmp_path / "meta" / "0.parquet")
    npy(tmp_path / "emb" / "0.npy", np.ones((80, 8), np.float32))
    model = collection(tmp_path / "other").model
    embeddings = ld.open_embeddings(tmp_path / "emb", model=model)
    prompts = {"one": np.ones(8), "two": -np.ones(8)}
    result = perceived(ld.read_shards(tmp_path / "meta"), embeddings, prompts, by="language")
    assert result["k"].tolist() == [80, 0, 0] and set(result["group"]) == {"(null)"}


def test_small_groups_are_left_out_and_counted(data):
    one = {"gender": data.prompts["gender"]}
    result = perceived(data.frame, data.embeddings, one, by="width")  # almost one group per row
    assert (result["n"] >= 30).all() and result.n_suppressed > 100
    few = data.frame[data.frame["row"] < 9]  # 9 + 9 + 1 rows
    result = perceived(few, data.embeddings, one)
    assert len(result) == 0 and result.n_suppressed == 4
    assert "4 results rest on fewer than 30 rows" in result.to_markdown()
    assert CAVEAT in result.to_markdown().replace("\\", "") and CAVEAT in repr(result)
    for min_n in (0, 1, 29, True, 30.5):
        with pytest.raises(OptionError):
            perceived(data.frame, data.embeddings, one, min_n=min_n)
    assert len(perceived(data.frame, data.embeddings, one, min_n=349)) == 0


@both
def test_any_partitioning_and_order_of_shards_and_workers(data):
    table = []
    for rows, scheduler in ((1000, "sync"), (17, "threads"), (1, "threads")):
        frame = ld.read_shards(data.metadata, max_rows_per_partition=rows)
        with dask.config.set(scheduler=scheduler):
            table.append(perceived(frame, data.embeddings, data.prompts, by="language"))
    frame = ld.read_shards(data.metadata)
    table.append(
        perceived(frame.repartition(npartitions=1), data.embeddings, data.prompts, by="language")
    )
    table.append(
        perceived(frame.partitions[[3, 0, 2, 1]], data.embeddings, data.prompts, by="language")
    )
    assert all(table[0].equals(other) for other in table[1:])


def test_blocks_do_not_matter(data, monkeypatch):
    result = perceived(data.frame, data.embeddings, data.prompts)
    for size in (1, 7, 64):
        monkeypatch.setattr("laion_dask.io.embeddings.row_ids.BLOCK", size)
        monkeypatch.setattr("laion_dask.aggregations.perceived_kernel._CACHED", size * 17)
        assert perceived(data.frame, data.embeddings, data.prompts).equals(result)


def test_each_row_is_decided_by_itself():
    draw = np.random.default_rng(0)
    for n_labels in (2, 3, 9, 17):
        cosine = draw.uniform(0.2, 0.3, (n_labels, 999))
        whole = kernels.nearest(cosine, 100.0, 0.1)
        for at in range(0, 999, 13):
            for stop in (at + 1, at + 5, at + 13):
                assert (kernels.nearest(cosine[:, at:stop], 100.0, 0.1) == whole[at:stop]).all()
        assert kernels.nearest(cosine[:, :0], 100.0, 0.1).shape == (0,)
        # Bit for bit: neighbouring rows do not affect the probabilities either.
        low = 100 * (cosine - cosine.max(axis=0))
        for at in range(1, 40):
            assert (np.exp(low[:, at:]) == np.exp(low)[:, at:]).all()


def test_filters_count(data):
    frame = data.frame.laion.where("punsafe < 0.9")
    result = perceived(frame, data.embeddings, {"gender": data.prompts["gender"]})
    assert result.attrs["rows"] == vars(ld.rows(frame))
    assigned = by_the_book(data.images, data.prompts["gender"])
    kept = frame[["shard", "row"]].compute()
    expected = Counter(assigned[k] for k in zip(kept["shard"], kept["row"], strict=True))
    check(result, expected, "gender", data.prompts["gender"])


def test_one_pass_that_reads_only_what_is_asked(data, monkeypatch):
    read, rows = [], []
    scan, vectors = Scan.__call__, EmbeddingFile.read

    def spy_scan(self, piece, columns=None, **rest):
        read.append(tuple(columns))
        return scan(self, piece, columns=columns, **rest)

    def spy_read(self, wanted):
        rows.extend(wanted)
        return vectors(self, wanted)

    monkeypatch.setattr(Scan, "__call__", spy_scan)
    monkeypatch.setattr(EmbeddingFile, "read", spy_read)
    with dask.config.set(scheduler="sync"):
        perceived(data.frame, data.embeddings, data.prompts, by="language")
    assert len(read) == len(SIZES) and {frozenset(r) for r in read} == {
        frozenset({"shard", "row", "language"})
    }
    assert len(rows) == sum(SIZES)


def test_no_label_of_a_row_is_anywhere(data, monkeypatch, tmp_path):
    """Only counts are computed and returned, and nothing that an export could contain."""
    computed, compute = [], graph.compute

    def spy(*collections, **rest):
        computed.extend(collections)
        return compute(*collections, **rest)

    monkeypatch.setattr(graph, "compute", spy)
    names = list(data.frame.columns)
    result = perceived(data.frame, data.embeddings, data.prompts)
    assert isinstance(result, pd.DataFrame) and list(data.frame.columns) == names
    assert not {"shard", "row", "url", "text", "key"} & set(result.columns)
    assert (result["n"] >= 30).all()
    for each in computed:
        assert list(each.columns) == ["states", "rows", "unscored", "rejected"]
    # A task returns one row per partition with one count per label, here for 230 rows.
    part = data.frame.partitions[0].compute()
    axis = kernels.Axis("gender", ("a", "b"), np.eye(8, dtype=np.float32)[:2])
    question = Perceived(data.embeddings, (axis,), 100.0, 0.2)
    (state,) = question.chunk(Partition(frame_to_arrow(part)))
    ((label, counts),) = state.items()
    assert label == "" and counts.shape == (4,) and counts.sum() == 230
    pickle.loads(pickle.dumps(question))
    monkeypatch.undo()
    data.frame.laion.export(str(tmp_path / "out"))
    exported = ld.read_shards(str(tmp_path / "out"))
    assert not [name for name in exported.columns if "perceived" in name or "gender" in name]
    with pytest.raises(OptionError):  # a Table cannot be exported
        ld.export(result, str(tmp_path / "other"))


def test_the_caveat_cannot_be_switched_off(data):
    result = perceived(data.frame, data.embeddings, data.prompts)
    other = ld.statistics(data.frame, ld.describe())
    assert CAVEAT not in repr(other) and other.caveats == ()
    without = result.copy()
    without.attrs.clear()
    for shown in (
        result,
        without,
        result[result["k"] > 10],
        result[["k", "rate"]],
        result[["term", "rate"]],
        result.head(1),
        result.sort_values("rate"),
        result.of("perceived, model-assigned"),
        pd.concat([other, result]),
        pd.concat([other, result])[["statistic", "rate"]],
        pickle.loads(pickle.dumps(result)),
    ):
        assert shown.caveats == (CAVEAT,), shown
        assert CAVEAT in repr(shown) and CAVEAT in str(shown)
        assert CAVEAT in shown._repr_html_() and CAVEAT in shown.to_markdown()
        assert CAVEAT in result_table(shown).notes  # as shown in reports
    assert all("(model-assigned)" in term for term in result["term"])
    # Columns of booleans, nulls or lists do not break the lookup of caveats.
    assert Table({"term": [None, 1, True, np.nan], "group": pd.NA}).caveats == ()
    assert Table({"term": [["a list"], {}]}).caveats == () == Table({}).caveats


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_caveat_is_beneath_a_plot(data):
    pytest.importorskip("holoviews")
    result = perceived(data.frame, data.embeddings, data.prompts)
    for shown in (result, result.head(1), result.iloc[:0]):
        words = str(list(shown.plot())[-1].data[2])
        assert words.replace("\n", " ") == CAVEAT


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    """Text embeddings of the bundled model: two thirds red stars, one third blue boats."""
    folder, model = tmp_path_factory.mktemp("painted"), ClipModel("demo")
    texts = ["a photo of a red star", "a drawing of a red star", "a photo of a blue boat"] * 40
    write_shard(folder / "meta" / "0.parquet", laion_table(120))
    npy(folder / "emb" / "0.npy", np.asarray(model.text(texts)))
    frame = ld.read_shards(folder / "meta")
    return SimpleNamespace(frame=frame, embeddings=ld.open_embeddings(folder / "emb", model=model))


def test_prompts_as_texts(painted):
    prompts = {"shape": {"star": "a red star", "boat": ["a blue boat", "a picture of a blue boat"]}}
    result = perceived(painted.frame, painted.embeddings, prompts)
    assert result["k"].tolist() == [80, 40, 0] and result["n"].tolist() == [120] * 3
    model = painted.embeddings.model
    scale = model.load().logit_scale
    assert f"logit scale {scale:.4g}, margin 0.2; Wilson" in result["method"][0]
    # Without the outer level the attribute has no name. Vectors of the same prompts give the same.
    flat = {"star": model.text("a red star"), "boat": model.text(["a blue boat", "blue boat"])}
    result = perceived(painted.frame, painted.embeddings, flat)
    assert result["k"].tolist() == [80, 40, 0]
    assert result["term"][0] == "perceived attribute (model-assigned)"
    assert result["group"].tolist() == ["star", "boat", "not assigned"]
    assert "logit scale 100," in result["method"][0]


def test_hostile_labels_stay_text(painted):
    prompts = {"<b>x</b>": {"<script>": "a red star", "|\u202e": "a blue boat"}}
    result = perceived(painted.frame, painted.embeddings, prompts)
    assert "<script>" not in result._repr_html_() and "<script>" not in result.to_markdown()


def test_what_is_refused_at_once(data, painted):
    two = {"one": np.ones(8), "two": -np.ones(8)}
    with dask.config.set(scheduler=refuse):
        for prompts, message in (
            ({}, "prompts is"),
            (["a", "b"], "prompts is"),
            ({"gender": two, "age": "old"}, "prompts is"),
            ({"gender": {}}, "has 0 label"),
            ({"gender": {"woman": np.ones(8)}}, "has 1 label"),
            ({"gender": {"": np.ones(8), "b": np.ones(8)}}, "Expected non-empty text"),
            ({"gender": {1: np.ones(8), "b": np.ones(8)}}, "Expected non-empty text"),
            ({"gender": {"not assigned": np.ones(8), "b": np.ones(8)}}, "is reserved"),
            ({"a": np.ones(7), "b": np.ones(7)}, "vectors of 7 numbers"),
            ({"a": np.zeros(8), "b": np.ones(8)}, "no direction"),
            ({"a": [np.ones(8), -np.ones(8)], "b": np.ones(8)}, "no direction"),
            ({"a": np.full(8, np.nan), "b": np.ones(8)}, "no direction"),
            ({"a": None, "b": np.ones(8)}, "a"),
            ({"a": ["text", np.ones(8)], "b": np.ones(8)}, "vectors are given by themselves"),
        ):
            with pytest.raises(OptionError, match=message):
                perceived(data.frame, data.embeddings, prompts)
        for options in (
            {"margin": 1},
            {"margin": -0.1},
            {"margin": math.nan},
            {"margin": "high"},
            {"level": 1},
            {"by": 3},
            {"by": "similarity"},
        ):
            with pytest.raises(OptionError):
                perceived(data.frame, data.embeddings, two, **options)
        with pytest.raises(ColumnError, match="language"):
            perceived(data.frame, data.embeddings, two, by="langauge")
        with pytest.raises(ProvenanceError):
            perceived(data.frame[["url"]], data.embeddings, two)
        with pytest.raises(PairingError):
            perceived(painted.frame, data.embeddings, two)
        with pytest.raises(ModelMismatchError):
            wrong = Vectors(np.ones(8), painted.embeddings.model)
            perceived(data.frame, data.embeddings, {"a": wrong, "b": np.ones(8)})
        for frame, embeddings in ((data.frame.head, data.embeddings), (data.frame, "img_emb")):
            with pytest.raises(OptionError):
                perceived(frame, embeddings, two)


def test_frames_without_rows(data):
    empty = data.frame[data.frame["row"] < 0]
    for by in (None, "language"):
        result = perceived(empty, data.embeddings, data.prompts, by=by)
        assert (
            len(result) == 0 and result.caveats == (CAVEAT,) and result.attrs["rows"]["read"] == 351
        )
        assert {"term", "n", "k", "rate", "lo", "hi", "unscored"} <= set(result.columns)


def test_one_row_many_times_over_is_refused(data):
    import dask.dataframe as dd

    one = data.frame.laion.where("shard == 0 and row == 9")
    with pytest.raises(ProvenanceError, match="end to end"):
        perceived(dd.concat([one] * 30), data.embeddings, data.prompts)
    copied = one.map_partitions(lambda part: pd.concat([part] * 40), meta=one._meta)
    with pytest.raises(ProvenanceError, match="more than once"):
        perceived(copied, data.embeddings, data.prompts)
