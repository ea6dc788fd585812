"""The full-size generator reproduces LAION's published figures, row by row the same every time."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from laion_dask.demo import zipf_text
from laion_dask.demo.synthetic import write_laion_like
from laion_dask.demo.synthetic_rows import BLOCK, N_TOPICS, SCHEMA, SUBSETS, draw_block, published
from laion_dask.errors import ExportError, OptionError

N = 200_000
STEPS = np.arange(1, 20) / 20


@pytest.fixture(scope="module", params=SUBSETS)
def corpus(request):
    """The name of a subset and its first 200,000 rows."""
    tables = [draw_block(7, request.param, b) for b in range(N // BLOCK)]
    return request.param, pa.concat_tables(tables)


def share(mask) -> float:
    """The share of true values among those that are not null."""
    return pc.mean(pc.cast(mask, pa.float64())).as_py()


def within(p: float, n: int = N) -> float:
    """Five standard errors of a binomial proportion."""
    return 5 * np.sqrt(p * (1 - p) / n)


def values(column) -> np.ndarray:
    return column.drop_null().to_numpy()


@pytest.mark.parametrize(
    ("column", "key"),
    [
        ("WIDTH", "width_quantiles"),
        ("HEIGHT", "height_quantiles"),
        ("TEXT", "text_length_quantiles"),
    ],
)
def test_published_quantiles_come_back(corpus, column, key):
    subset, table = corpus
    drawn = table[column] if column != "TEXT" else pc.utf8_length(table["TEXT"])
    # Compare the rank of each published quantile, not its value: where the quantile curve is flat,
    # two pixels span many rows. Half a pixel is the rounding.
    drawn, wanted = values(drawn), np.array(published(subset)[key])
    below = (drawn[:, None] < wanted).mean(axis=0)
    upto = (drawn[:, None] <= wanted).mean(axis=0)
    slack = within(STEPS)
    assert (below - slack <= STEPS).all()
    assert (upto + slack >= STEPS).all()
    assert np.quantile(drawn, STEPS) == pytest.approx(wanted, rel=0.02, abs=1)


def test_published_means_and_shares_come_back(corpus):
    subset, table = corpus
    figures = published(subset)
    mean = pc.mean(pc.utf8_length(table["TEXT"])).as_py()
    assert mean == pytest.approx(figures["mean_text_length"], rel=0.02)
    for column, over, key in (("punsafe", 0.5, "unsafe"), ("pwatermark", 0.8, "watermark")):
        p = figures[key]
        assert share(pc.greater(table[column], over)) == pytest.approx(p, abs=within(p))
        assert 0 <= pc.min(table[column]).as_py() <= pc.max(table[column]).as_py() <= 1


@pytest.mark.parametrize(
    ("subset", "rel"),
    [
        ("laion2B-en", {"256": 0.02, "512": 0.06, "1024": 0.06}),
        ("laion2B-multi", {"256": 0.05, "512": 0.04, "1024": 0.40}),
    ],
)
def test_counts_of_large_images_are_about_right(subset, rel):
    table = pa.concat_tables([draw_block(3, subset, b) for b in range(N // BLOCK)])
    figures = published(subset)
    for side, count in figures["both_sides_over"].items():
        both = pc.greater(pc.min_element_wise(table["WIDTH"], table["HEIGHT"]), int(side))
        assert share(both) == pytest.approx(count / figures["rows"], rel=rel[side])


def test_languages(corpus):
    subset, table = corpus
    counts = dict(pc.value_counts(table["LANGUAGE"]).to_pandas().map(lambda d: d.values()).tolist())
    if subset == "laion2B-en":
        assert counts == {"en": N}
    elif subset == "laion1B-nolang":
        assert counts == {None: N}
    else:
        top = published(subset)["top_languages"]
        for language, p in top.items():
            assert counts[language] / N == pytest.approx(p, abs=within(p))
        assert max(n for code, n in counts.items() if code not in top) / N < top["no"]


def test_unknown_values_are_there_and_rare(corpus):
    _, table = corpus
    for column in ("WIDTH", "HEIGHT", "punsafe"):
        assert share(pc.is_null(table[column])) == pytest.approx(1e-3, abs=within(1e-3))
    assert share(pc.is_nan(table["similarity"])) == pytest.approx(1e-3, abs=within(1e-3))
    for column in ("URL", "TEXT", "similarity", "hash", "pwatermark", "LICENSE"):
        assert table[column].null_count == 0


def test_similarity_falls_from_its_threshold(corpus):
    subset, table = corpus
    drawn = table["similarity"].to_numpy()
    drawn = drawn[~np.isnan(drawn)]
    low = 0.28 if subset == "laion2B-en" else 0.26
    assert drawn.min() >= low
    counts, _ = np.histogram(drawn, bins=low + np.arange(0, 0.16, 0.02))
    assert (np.diff(counts) < 0).all()


def test_captions_are_words_to_the_character():
    rng = np.random.default_rng(0)
    lengths = np.concatenate([np.arange(1, 60), rng.integers(1, 300, size=3_000)])
    result = zipf_text.captions(rng, lengths)
    result.validate(full=True)
    texts = result.to_pylist()
    assert [len(t) for t in texts] == lengths.tolist()
    assert all(t == " ".join(t.split()) for t in texts)
    words = [w for t in texts for w in t.split()]
    known = set(zipf_text.vocabulary())
    assert len(known) == zipf_text.N_WORDS
    assert max(map(len, known)) <= zipf_text.MAX_WORD
    assert np.mean([w in known for w in words]) > 0.995
    assert words.count("the") > words.count("photo") > words.count("cheese") > 0
    assert zipf_text.captions(rng, np.zeros(0, dtype=np.int64)).to_pylist() == []


def test_addresses_are_reserved_names_and_zipf():
    result = zipf_text.urls(np.random.default_rng(0), 100_000)
    result.validate(full=True)
    hosts = pc.list_element(pc.split_pattern(result, "/"), 2)
    assert pc.all(pc.ends_with(hosts, ".example")).as_py()
    assert pc.count_distinct(result).as_py() == len(result)
    counts = np.sort(pc.value_counts(hosts).field("counts").to_numpy())[::-1]
    assert counts[0] / len(result) == pytest.approx(0.0276, abs=within(0.0276, len(result)))
    assert counts[9] < counts[0] / 3
    assert len(counts) > 20_000


def test_schema_and_layout(tmp_path):
    shards = write_laion_like(tmp_path, 260_000, rows_per_shard=200_000, dim=4)
    assert [s.relative_to(tmp_path).as_posix() for s in shards] == [
        "metadata/metadata_0000.parquet",
        "metadata/metadata_0001.parquet",
    ]
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [
        "img_emb_0000.npy",
        "img_emb_0001.npy",
        "metadata_0000.parquet",
        "metadata_0001.parquet",
    ]
    first = pq.ParquetFile(shards[0])
    assert first.schema_arrow.equals(SCHEMA)
    assert len(first.schema_arrow) == 10
    groups = [first.metadata.row_group(i).num_rows for i in range(first.num_row_groups)]
    assert groups == [200_000]
    table = pq.read_table(shards)
    assert table.num_rows == 260_000
    hashes = table["hash"].to_numpy()
    assert len(np.unique(hashes)) == len(hashes)
    assert hashes.min() < -(2**62)
    assert hashes.max() > 2**62


def test_a_row_depends_on_nothing_but_seed_and_place(tmp_path):
    whole = pq.read_table(write_laion_like(tmp_path / "a", 70_000, rows_per_shard=70_000))
    cut = write_laion_like(tmp_path / "b", 60_000, rows_per_shard=23_001)
    assert [pq.read_metadata(s).num_rows for s in cut] == [23_001, 23_001, 13_998]
    again = pq.read_table(cut)
    # Table.equals would fail, because NaN differs from itself.
    as_text = {"similarity": pa.string()}
    for name in SCHEMA.names:
        to = as_text.get(name, SCHEMA.field(name).type)
        assert again[name].cast(to).equals(whole[name][:60_000].cast(to)), name
    assert not draw_block(1, "laion2B-en", 0)["hash"].equals(whole["hash"][:BLOCK])
    assert not draw_block(0, "laion2B-multi", 0)["hash"].equals(whole["hash"][:BLOCK])


def test_same_files_from_another_process(tmp_path):
    import concurrent.futures
    import multiprocessing

    assert pickle.loads(pickle.dumps(write_laion_like)) is write_laion_like
    here = write_laion_like(tmp_path / "here", 3_000, seed=5, dim=3)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        there = pool.submit(write_laion_like, tmp_path / "there", 3_000, seed=5, dim=3).result()
    assert here[0].read_bytes() == there[0].read_bytes()
    embeddings = [
        p / "img_emb" / "img_emb_0000.npy" for p in (tmp_path / "here", tmp_path / "there")
    ]
    assert embeddings[0].read_bytes() == embeddings[1].read_bytes()


def test_embeddings_are_aligned_and_of_unit_norm(tmp_path):
    shards = write_laion_like(tmp_path, 30_000, rows_per_shard=20_000, dim=32)
    for i, shard in enumerate(shards):
        topics = pq.read_table(shard, columns=["hash"])["hash"].to_numpy() % N_TOPICS
        rows = np.load(tmp_path / "img_emb" / f"img_emb_{i:04d}.npy", mmap_mode="r")
        assert rows.dtype == np.float16
        assert rows.shape == (len(topics), 32)
        rows = rows.astype(np.float32)
        assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=2e-3)
        centres = np.stack([rows[topics == t].mean(axis=0) for t in range(N_TOPICS)])
        own = np.einsum("nd,nd->n", rows, centres[topics])
        assert own.mean() > 1.2 * (rows @ centres.T).mean()
        moved = np.einsum("nd,nd->n", rows, centres[np.roll(topics, 1)])
        assert own.mean() > 1.2 * moved.mean()


@pytest.mark.parametrize("n_rows", [0, 1])
def test_few_rows(tmp_path, n_rows):
    (shard,) = write_laion_like(tmp_path, n_rows, dim=8)
    table = pq.read_table(shard)
    assert table.schema.equals(SCHEMA)
    assert table.num_rows == n_rows
    assert np.load(tmp_path / "img_emb" / "img_emb_0000.npy").shape == (n_rows, 8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_rows": -1},
        {"n_rows": 1.5},
        {"rows_per_shard": 0},
        {"seed": -1},
        {"dim": 0},
        {"subset": "laion2B"},
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(tmp_path, wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        write_laion_like(tmp_path / "out", **{"n_rows": 10, **wrong})
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_shards_is_refused(tmp_path):
    write_laion_like(tmp_path, 20, rows_per_shard=10, dim=2)
    with pytest.raises(ExportError, match=r"img_emb_0001\.npy"):
        write_laion_like(tmp_path, 10, rows_per_shard=10, dim=2)
    with pytest.raises(ExportError, match=r"img_emb_0000\.npy"):
        write_laion_like(tmp_path, 20, rows_per_shard=10)
    write_laion_like(tmp_path, 20, rows_per_shard=10, dim=2, seed=1)


def test_a_failed_shard_leaves_nothing(tmp_path, monkeypatch):
    def broken(*args):
        raise OSError("no space left")

    monkeypatch.setattr("laion_dask.demo.synthetic.draw_block", broken)
    with pytest.raises(OSError, match="no space left"):
        write_laion_like(tmp_path, 10)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
