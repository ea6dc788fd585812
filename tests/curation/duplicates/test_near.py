"""Near duplicates: what a loop over all pairs drops, for any partitioning, every row counted."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client
from support.frames import both
from support.paths import SHARED

import laion_dask as ld
from laion_dask.curation.duplicates.near_captions import RECALL, bands_of
from laion_dask.curation.duplicates.near_hashes import band_masks
from laion_dask.errors import ColumnError, OptionError

WORDS = [
    "red",
    "blue",
    "green",
    "bird",
    "house",
    "tree",
    "river",
    "stone",
    "small",
    "large",
    "old",
    "new",
    "photo",
    "of",
    "a",
    "the",
]


def written(folder, columns: dict[str, pa.Array], cuts: tuple[int, ...]):
    table = pa.table({"id": pa.array(range(cuts[-1])), **columns})
    folder.mkdir(exist_ok=True)
    for number, (a, b) in enumerate(zip((0, *cuts), cuts, strict=False)):
        pq.write_table(table.slice(a, b - a), folder / f"{number}.parquet", row_group_size=70)
    return folder


def edited(draw: np.random.Generator, texts: list[str], n: int) -> list[str]:
    """Copies of texts with up to three characters replaced, or other case and spaces."""
    copies = []
    for number in range(n):
        text = list(texts[draw.integers(len(texts))])
        for at in draw.integers(0, max(len(text), 1), draw.integers(0, 4)):
            text[at : at + 1] = "x"
        copies.append("  ".join("".join(text).split(" ")).upper() if number % 4 else "".join(text))
    return copies


def shingles(text: str, unit: str, size: int) -> set:
    tokens = text.lower().split()
    whole = " ".join(tokens) if unit == "characters" else tuple(tokens)
    return {whole[at : at + size] for at in range(max(1, len(whole) - size + 1))}


def by_all_pairs(texts, order, similar, unit="characters", size=5) -> set[int]:
    """The rows that a loop over all pairs of rows, in an order, drops."""
    sets = {n: shingles(texts[n], unit, size) for n in order if texts[n] is not None}
    dropped, earlier = set(), []
    for n, own in sets.items():
        if any(len(own & other) / len(own | other) >= similar for other in earlier):
            dropped.add(n)
        earlier.append(own)
    return dropped


@pytest.fixture(scope="module")
def texts() -> list:
    draw = np.random.default_rng(0)
    made = [" ".join(draw.choice(WORDS, draw.integers(1, 9))) for _ in range(150)]
    mixed = [*made, *edited(draw, made, 120), "", " ", None, "a", "\uff21 b", "日本語の写真", None]
    return [mixed[n] for n in draw.permutation(len(mixed))]


@pytest.fixture(scope="module")
def captions(tmp_path_factory, texts):
    scores = pa.array(np.random.default_rng(1).random(len(texts)).round(1))
    columns = {"text": pa.array(texts, pa.string()), "similarity": scores}
    return written(tmp_path_factory.mktemp("near") / "c", columns, (90, 90, 91, len(texts)))


def kept_ids(frame) -> set[int]:
    return set(frame["id"].compute().tolist())


@both
@pytest.mark.parametrize(
    "options", [{}, {"shingles": "words"}, {"shingles": "words", "shingle_size": 2}], ids=str
)
def test_captions_that_a_loop_over_all_pairs_drops(captions, texts, options):
    unit = options.get("shingles", "characters")
    size = options.get("shingle_size", {"characters": 5, "words": 1}[unit])
    expected = by_all_pairs(texts, range(len(texts)), 0.8, unit, size)
    missing = {n for n, text in enumerate(texts) if text is None}
    for most in (40, 1000):
        frame = ld.read_shards(captions, max_rows_per_partition=most)
        near = frame.laion.dedup(by="text", similar=0.8, **options)
        dropped = set(range(len(texts))) - kept_ids(near) - missing
        assert dropped <= expected and len(dropped) >= 0.99 * len(expected)
        rows = near.laion.rows()
        assert (rows.read, rows.dropped, rows.unscored) == (len(texts), len(dropped), len(missing))


def test_the_row_that_is_kept_and_rows_without_captions(captions, texts):
    frame = ld.read_shards(captions)
    scores = frame["similarity"].compute().tolist()
    orders = {
        "last": range(len(texts) - 1, -1, -1),
        "similarity": sorted(range(len(texts)), key=lambda n: (-scores[n], n)),
    }
    for name, order in orders.items():
        keep = {"max": name} if name in frame.columns else name
        near = frame.laion.dedup(by="text", similar=0.7, keep=keep, missing="keep")
        assert kept_ids(near) == set(range(len(texts))) - by_all_pairs(texts, order, 0.7)


def test_filters_before_it_and_after_it(captions, texts):
    frame = ld.read_shards(captions, max_rows_per_partition=50)
    before = frame.laion.where("similarity > 0.4").laion.dedup(by="text", similar=0.8)
    scores = frame["similarity"].compute().tolist()
    order = [n for n in range(len(texts)) if scores[n] > 0.4]
    expected = {n for n in order if texts[n] is not None} - by_all_pairs(texts, order, 0.8)
    assert kept_ids(before) == expected
    after = frame.laion.dedup(by="text", similar=0.8).laion.where("similarity > 0.4")
    assert kept_ids(after) <= expected
    twice = before.laion.dedup(by="text", similar=0.5)
    assert kept_ids(twice) <= expected and twice.laion.rows().read == len(texts)


def test_a_cluster_and_a_shuffled_frame_drop_the_same_rows(captions):
    frame = ld.read_shards(captions, max_rows_per_partition=50)
    expected = kept_ids(frame.laion.dedup(by="text", similar=0.6))
    shuffled = frame.shuffle("id", npartitions=3)
    assert kept_ids(shuffled.laion.dedup(by="text", similar=0.6)) == expected
    with Client(
        processes=False, n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ):
        assert kept_ids(frame.laion.dedup(by="text", similar=0.6)) == expected


def test_groups_name_the_kept_row_and_an_earlier_near_row(captions, texts):
    frame = ld.read_shards(captions)
    groups = frame.laion.duplicates(by="text", similar=0.6)
    kept = kept_ids(frame.laion.dedup(by="text", similar=0.6))
    ids = frame[["shard", "row", "id"]].compute().set_index(["shard", "row"])["id"]
    own = ids.loc[list(zip(groups["shard"], groups["row"], strict=True))].to_numpy()
    other = zip(groups["representative_shard"], groups["representative_row"], strict=True)
    other = ids.loc[list(other)].to_numpy()
    for n, m, similarity, is_kept in zip(
        own, other, groups["similarity"], groups["kept"], strict=True
    ):
        assert is_kept == (n in kept) == (n == m)
        if not is_kept:
            a, b = (shingles(texts[one], "characters", 5) for one in (n, m))
            assert m < n and similarity == len(a & b) / len(a | b)
    assert groups.groupby("group")["kept"].sum().eq(1).all()
    assert (
        groups.attrs["repeats"]
        == (~groups["kept"]).sum()
        == groups.attrs["rows"] - len(kept) - groups.attrs["missing"]
    )
    largest = frame.laion.duplicates(by="text", similar=0.6, most=2)
    assert largest["group"].nunique() == 2
    assert largest["group"].value_counts().min() == groups["group"].value_counts().iloc[1]


@pytest.mark.skipif(not SHARED.exists(), reason="no shared data")
def test_web_captions_with_planted_edits(tmp_path, capsys):
    real = pq.read_table(SHARED / "data/web_captions_10000.parquet")["TEXT"].to_pylist()[:1000]
    draw = np.random.default_rng(0)
    mixed = [*real, *edited(draw, real, 200)]
    mixed = [mixed[n] for n in draw.permutation(len(mixed))]
    folder = written(tmp_path / "web", {"text": pa.array(mixed)}, (300, len(mixed)))
    kept = kept_ids(ld.read_shards(folder).laion.dedup(by="text", similar=0.8))
    dropped, expected = set(range(len(mixed))) - kept, by_all_pairs(mixed, range(len(mixed)), 0.8)
    found = len(dropped & expected)
    with capsys.disabled():
        precision, recall = found / len(dropped), found / len(expected)
        print(f"\nprecision {precision:.3f}, recall {recall:.3f}", end=" ")
    assert dropped <= expected and found >= 0.99 * len(expected)


def test_bands_find_nearly_all_pairs_at_the_threshold():
    for similar in (0.1, 0.3, 0.5, 0.8, 0.9, 0.99, 1.0):
        bands, rows = bands_of(similar)
        assert bands * rows <= 128 and 1 - (1 - similar**rows) ** bands >= RECALL


@pytest.fixture(scope="module")
def hashes() -> list[int | None]:
    draw = np.random.default_rng(2)
    made = draw.integers(0, 2**64, 200, np.uint64).tolist()
    for _ in range(200):
        near = made[draw.integers(len(made))]
        for bit in draw.integers(0, 64, draw.integers(0, 7)).tolist():
            near ^= 1 << bit
        made.append(near)
    mixed = [*made, 0, 2**64 - 1, 1, None, None]
    return [mixed[n] for n in draw.permutation(len(mixed))]


def as_column(hashes: list[int | None], kind: str) -> pa.Array:
    if kind == "hex":
        return pa.array([None if h is None else f"{h:016x}" for h in hashes], pa.string())
    signed = [None if h is None else h - 2**64 * (h >= 2**63) for h in hashes]
    return pa.array(hashes, pa.uint64()) if kind == "uint64" else pa.array(signed, pa.int64())


@both
@pytest.mark.parametrize("kind", ["int64", "uint64", "hex"])
@pytest.mark.parametrize("radius", [0, 4, 6])
def test_hashes_that_a_loop_over_all_pairs_drops(tmp_path, hashes, kind, radius):
    columns = {"phash": as_column(hashes, kind)}
    folder = written(tmp_path / "h", columns, (90, 90, 300, len(hashes)))
    present = [n for n, one in enumerate(hashes) if one is not None]
    expected = {
        n
        for at, n in enumerate(present)
        if any((hashes[n] ^ hashes[m]).bit_count() <= radius for m in present[:at])
    }
    for most in (60, 1000):
        frame = ld.read_shards(folder, max_rows_per_partition=most)
        near = frame.laion.dedup(by="phash", radius=radius)
        assert kept_ids(near) == set(present) - expected
        assert near.laion.rows().unscored == 2


@pytest.mark.parametrize("n_parts", [5, 6, 7])
def test_near_hashes_agree_in_a_band(n_parts):
    masks = np.array(band_masks(4, n_parts), np.uint64)
    draw = np.random.default_rng(0)
    for _ in range(500):
        change = sum(1 << bit for bit in draw.choice(64, 4, replace=False).tolist())
        assert (masks & np.uint64(change) == 0).any()


def test_text_that_is_no_hash_is_unscored(tmp_path):
    values = ["00ff00ff00ff00ff", "00FF00FF00FF00FF", "00ff", "zz" * 8, "", None]
    folder = written(tmp_path / "h", {"phash": pa.array(values)}, (3, 6))
    near = ld.read_shards(folder).laion.dedup(by="phash", radius=2)
    assert kept_ids(near) == {0}
    assert (near.laion.rows().dropped, near.laion.rows().unscored) == (1, 4)


def test_no_rows_and_rows_without_captions(tmp_path):
    nulls = {"text": pa.array([None] * 3, pa.string()), "phash": pa.array([None] * 3, pa.int64())}
    frame = ld.read_shards(written(tmp_path / "n", nulls, (3,)))
    for options in ({"by": "text", "similar": 0.8}, {"by": "phash", "radius": 4}):
        assert frame.laion.dedup(**options).laion.rows().unscored == 3
        assert len(frame.laion.dedup(missing="keep", **options)) == 3
        none = frame.laion.where("id > 5").laion.dedup(**options)
        assert len(none) == 0 and len(frame.laion.duplicates(**options)) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "text", "similar": 2}, "from 0.1 to 1"),
        ({"by": "text", "similar": True}, "from 0.1 to 1"),
        ({"by": "text", "shingles": "words"}, "without similar"),
        ({"by": "text", "similar": 0.8, "shingles": "word"}, "words"),
        ({"by": "text", "similar": 0.8, "radius": 3}, "one compares captions"),
        ({"by": "id", "similar": 0.8}, "Expected text"),
        ({"by": "similarity", "radius": 3}, "64 bits"),
        ({"by": "id", "radius": 30}, "at most 16"),
        ({"by": "id", "radius": 3, "shingles": "words"}, "apply to captions"),
        ({"by": ["text", "id"], "similar": 0.8}, "one column"),
    ],
)
def test_arguments_that_do_not_fit(captions, options, message):
    frame = ld.read_shards(captions)
    for verb in (frame.laion.dedup, frame.laion.duplicates):
        with pytest.raises(OptionError, match=message):
            verb(**options)
    with pytest.raises(ColumnError, match="phash"):
        frame.laion.dedup(by="phash", radius=4)


def test_an_export_names_the_rule_and_is_replayed(captions, tmp_path):
    (tmp_path / "near.yaml").write_text(
        "name: near\nsteps:\n- dedup: {by: text, similar: 0.8, missing: keep}\n"
    )
    carve = ld.Recipe.load(tmp_path / "near.yaml").run(str(captions), tmp_path / "out")
    assert carve.rows.dropped > 0 and carve.rows.unscored == 0
    assert "similar=0.8" in (tmp_path / "out" / "_recipe.json").read_text()
    again = ld.replay(tmp_path / "out", to=tmp_path / "again")
    assert again.rows.kept == carve.rows.kept
    plain = (
        ld.read_shards(captions).laion.dedup(by="text", similar=0.8).laion.export(tmp_path / "p")
    )
    assert plain.rows.dropped == carve.rows.dropped


def test_a_plan_counts_the_comparison(captions):
    frame = ld.read_shards(captions)
    exact, near = (
        ld.plan(frame, one).seconds for one in (("dedup", "text"), ("dedup", "text", 0.8))
    )
    assert near > 2 * exact
