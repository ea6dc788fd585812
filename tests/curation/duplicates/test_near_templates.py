"""Captions of one template, hashes of one image, and groups as connected components."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld
from laion_dask.curation.bucket_pass import HASH
from laion_dask.curation.duplicates import near_bands
from laion_dask.curation.duplicates.near_captions import COMPARED, Captions, shingle_sets
from laion_dask.curation.duplicates.near_hashes import Hashes
from laion_dask.curation.duplicates.near_lists import Lists
from laion_dask.errors import OptionError


def opened(folder, columns: dict, most: int = 1000):
    table = pa.table(columns)
    folder.mkdir(exist_ok=True)
    for number, (a, b) in enumerate(itertools.pairwise((0, 90, 90, 200, len(table)))):
        pq.write_table(table.slice(a, b - a), folder / f"{number}.parquet", row_group_size=70)
    return ld.read_shards(folder, max_rows_per_partition=most)


def kept_ids(frame) -> list[int]:
    return sorted(frame["id"].compute().tolist())


def shingles(text: str) -> set:
    text = " ".join(text.lower().split())
    return {text[at : at + 5] for at in range(max(1, len(text) - 4))}


def components(n: int, near) -> list[int]:
    """The first row of the component of each of n rows, by a loop over all pairs."""
    root = list(range(n))
    for i, j in itertools.combinations(range(n), 2):
        if root[i] != root[j] and near(i, j):
            one, other = sorted((root[i], root[j]))
            root = [one if at == other else at for at in root]
    return root


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Chains of captions, each a few characters from the one before."""
    draw = np.random.default_rng(0)
    made = []
    for number in range(40):
        text = [chr(97 + letter) for letter in draw.integers(0, 26, 50)]
        for step in range(8):
            made.append("".join(text))
            text[5 * step] = "#"
        made.append(made[-1 - number % 8])
    return [made[n] for n in draw.permutation(len(made))]


def test_components_of_captions_are_those_of_a_loop(tmp_path, texts):
    sets = [shingles(text) for text in texts]

    def near(i: int, j: int) -> bool:
        return len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= 0.8

    root = components(len(texts), near)
    for most in (40, 1000):
        frame = opened(tmp_path / "c", {"id": range(len(texts)), "text": texts}, most)
        options = {"by": "text", "similar": 0.8}
        kept = frame.laion.dedup(rule="components", **options)
        assert kept_ids(kept) == sorted(set(root)) != kept_ids(frame.laion.dedup(**options))
        assert "rule='components'" in kept.laion.funnel()["clause"][0]
    groups = frame.laion.duplicates(rule="components", **options)
    ids = frame[["shard", "row", "id"]].compute().set_index(["shard", "row"])["id"]
    own = ids.loc[list(zip(groups["shard"], groups["row"], strict=True))].tolist()
    other = zip(groups["representative_shard"], groups["representative_row"], strict=True)
    for n, m, similarity, is_kept in zip(
        own, ids.loc[list(other)], groups["similarity"], groups["kept"], strict=True
    ):
        assert m == root[n] and is_kept == (n == m)
        if not is_kept:
            assert similarity == len(sets[n] & sets[m]) / len(sets[n] | sets[m])
    assert groups.attrs["repeats"] == len(texts) - len(set(root))


def test_the_row_of_a_component_that_is_kept(tmp_path, texts):
    scores = np.random.default_rng(1).random(len(texts)).round(1)
    sets = [shingles(text) for text in texts]
    order = sorted(range(len(texts)), key=lambda n: (-scores[n], n))
    root = components(
        len(texts),
        lambda i, j: (
            len(sets[order[i]] & sets[order[j]]) >= 0.8 * len(sets[order[i]] | sets[order[j]])
        ),
    )
    columns = {"id": range(len(texts)), "text": texts, "similarity": scores}
    kept = opened(tmp_path / "c", columns).laion.dedup(
        by="text", similar=0.8, rule="components", keep={"max": "similarity"}
    )
    assert kept_ids(kept) == sorted(order[n] for n in set(root))


@pytest.mark.parametrize("rule", ["semdedup", "components"])
def test_hashes_of_one_image_with_a_few_bits_changed(tmp_path, rule):
    draw = np.random.default_rng(3)
    centers = draw.integers(0, 2**64, 3, np.uint64).tolist()
    hashes = []
    for n in range(330):
        bits = draw.choice(64, draw.integers(0, 6), replace=False).tolist()
        hashes.append(centers[n % 3] ^ sum(1 << bit for bit in bits))

    def near(i: int, j: int) -> bool:
        return (hashes[i] ^ hashes[j]).bit_count() <= 4

    if rule == "components":
        expected = sorted(set(components(len(hashes), near)))
    else:
        expected = [j for j in range(len(hashes)) if not any(near(i, j) for i in range(j))]
    for most in (60, 1000):
        columns = {"id": range(len(hashes)), "phash": pa.array(hashes, pa.uint64())}
        kept = opened(tmp_path / "h", columns, most).laion.dedup(by="phash", radius=4, rule=rule)
        assert kept_ids(kept) == expected


def records(lists: Lists, measure, bands: np.ndarray | None = None) -> np.ndarray:
    made = near_bands.band_records(lists, np.arange(len(lists.sizes)), None, measure)
    if bands is not None:
        made[HASH] = bands
    return made


def pairs_of(made: np.ndarray, measure, components: bool) -> np.ndarray:
    found = list(near_bands.pairs_of(made, measure, components))
    return near_bands.distinct_pairs(found)


@pytest.mark.parametrize("n", [400, 1200])
def test_captions_of_a_template_make_few_pairs(n):
    texts = [
        f"Photo of the house number {i} for sale in a quiet street, with a view" for i in range(n)
    ]
    measure = Captions("text", 0.8, "characters", 5)
    lists = shingle_sets(pa.chunked_array([pa.array(texts)]), "characters", 5)
    found = pairs_of(records(lists, measure), measure, False)
    assert n - 1 <= len(found) <= 6 * n * COMPARED  # of n * (n - 1) / 2
    assert set(found["later"]) == set(range(1, n))


def test_the_pairs_of_a_band_are_the_first_that_may_be_near(monkeypatch):
    monkeypatch.setattr(near_bands, "_PAIRS", 64)
    monkeypatch.setattr(near_bands, "_COMPARISONS", 50)
    draw = np.random.default_rng(4)
    measure = Captions("text", 0.5, "words", 1)
    monkeypatch.setattr(Captions, "compared_rows", (3, 40))
    monkeypatch.setattr(Captions, "bands", lambda self, lists: np.zeros((len(lists.sizes), 1)))
    sets = [draw.choice(2**40, draw.integers(1, 30)).astype(np.uint64) << 20 for _ in range(30)]
    sets += [np.append(sets[n % 30], np.uint64(n)) for n in range(60)]
    flat, rows = np.concatenate(sets), np.repeat(np.arange(len(sets)), list(map(len, sets)))
    lists = Lists.sets(flat, rows, len(sets))
    hashes = np.sort(draw.integers(0, 2, len(sets)).astype(np.uint64))
    found = pairs_of(records(lists, measure, hashes), measure, False)
    bits, sizes = measure.sketch(lists)
    base, share = measure.limits
    expected = []
    for j in range(len(sets)):
        own = [i for i in range(j) if hashes[i] == hashes[j]][:40]
        own = [
            i
            for i in own
            if max(int(np.bitwise_count(bits[i] ^ bits[j]).sum()), abs(sizes[i] - sizes[j]))
            <= int(base + share * (sizes[i] + sizes[j]))
        ]
        expected += [(i, j) for i in own[:3]]
    assert found.tolist() == sorted(expected) and len(expected) > 64
    later, earlier = np.tril_indices(len(sets), -1)
    differ = np.bitwise_count(bits[earlier] ^ bits[later]).sum(1)
    is_near = lists.jaccard(earlier, lists, later) >= 0.5
    most = (base + share * (sizes[earlier] + sizes[later])).astype(int)
    assert is_near.sum() > 50 and (differ <= most)[is_near].all()


def test_hashes_are_connected_by_a_forest():
    draw = np.random.default_rng(5)
    values = draw.integers(0, 2**12, 300).astype(np.uint64)
    values = np.unique(values)
    lists = Lists(np.arange(len(values) + 1), values)
    measure = Hashes("phash", 2, 3)
    found = pairs_of(records(lists, measure, np.zeros(1, np.uint64)), measure, True)
    assert (np.bitwise_count(values[found["earlier"]] ^ values[found["later"]]) <= 2).all()
    root = components(len(values), lambda i, j: int(values[i] ^ values[j]).bit_count() <= 2)
    pairs = {tuple(pair) for pair in found.tolist()}
    assert components(len(values), lambda i, j: (i, j) in pairs) == root
    assert len(found) <= 3 * (len(values) - len(set(root)))


def test_a_rule_that_does_not_exist(tmp_path, texts):
    frame = opened(tmp_path / "c", {"id": range(len(texts)), "text": texts})
    for verb in (frame.laion.dedup, frame.laion.duplicates):
        with pytest.raises(OptionError, match="rule is 'groups'"):
            verb(by="text", similar=0.8, rule="groups")
        with pytest.raises(OptionError, match="rule applies to"):
            verb(by="text", rule="components")
        with pytest.raises(OptionError, match="eps applies to embeddings"):
            verb(by="text", similar=0.8, eps=0.1)
