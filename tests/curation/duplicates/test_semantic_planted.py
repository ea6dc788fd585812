"""Semantic duplicates of the demo corpus, whose duplicates are planted, and on other workers."""

from __future__ import annotations

import pandas as pd
import pytest
from distributed import Client
from support.clustered_shards import clustered_shards

import laion_dask as ld


def test_planted_duplicates_are_found(demo_folder, capsys):
    truth = pd.read_parquet(demo_folder / "truth.parquet").set_index("key")
    corpus = ld.demo_corpus(demo_folder)
    frame = ld.read_shards(corpus.metadata)
    emb = ld.open_embeddings(corpus.img_emb, model="demo", like=frame)
    rows = frame[["key", "shard", "row"]].compute()
    key = {(shard, row): name for name, shard, row in rows.itertuples(index=False)}
    source = truth["duplicate_of"].fillna(truth["near_duplicate_of"]).dropna().to_dict()
    measured = {}
    for eps in (1e-6, 1e-3, 1e-2):
        table = frame.laion.duplicates(emb, eps=eps, most=10_000)
        table["key"] = [key[one] for one in zip(table["shard"], table["row"], strict=True)]
        group = table.set_index("key")["group"].to_dict()
        planted = {
            kind: truth.loc[truth[kind].notna() & ~truth["is_broken"], kind].to_dict()
            for kind in ("duplicate_of", "near_duplicate_of")
        }
        recall = {
            kind: sum(group.get(a, -1) == group.get(b, -2) for a, b in pairs.items()) / len(pairs)
            for kind, pairs in planted.items()
        }
        gone = table[~table["kept"]]
        others = zip(gone["representative_shard"], gone["representative_row"], strict=True)
        pairs = zip(gone["key"], (key[one] for one in others), strict=True)
        correct = [source.get(a, a) == source.get(b, b) for a, b in pairs]
        measured[eps] = sum(correct) / len(correct), *recall.values()
        with capsys.disabled():
            print(
                "\neps {}: precision {:.2f}; recall of duplicates {:.2f}, of near ones {:.2f}"
                "".format(eps, *measured[eps])
            )
    assert measured[1e-6][:2] == (1.0, 1.0)  # equal images have equal embeddings
    assert measured[1e-3][:2] == (1.0, 1.0) and measured[1e-3][2] > 0.6
    assert measured[1e-2][1:] == (1.0, 1.0)  # and images of one object are near each other


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_workers_in_other_processes_give_the_same_answer(tmp_path, worker_processes):
    frame, emb = clustered_shards(tmp_path)
    here = frame.laion.duplicates(emb, eps=0.06, n_clusters=4)
    kept = frame.laion.prune(emb, 0.5, n_clusters=4)[["shard", "row"]].compute()
    with Client(worker_processes):
        there = frame.laion.duplicates(emb, eps=0.06, n_clusters=4)
        also = frame.laion.prune(emb, 0.5, n_clusters=4)[["shard", "row"]].compute()
        rows = frame.laion.dedup(emb, eps=0.06, n_clusters=4).laion.rows()
    assert there.equals(here) and there.attrs == here.attrs
    assert rows.dropped == here.attrs["repeats"]
    assert also.reset_index(drop=True).equals(kept.reset_index(drop=True))
