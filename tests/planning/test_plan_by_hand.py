"""Plans against arithmetic by hand: rows, bytes and seconds of each verb, and no data is read."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.plan_rates import DIM, RATES

import laion_dask as ld
from laion_dask.errors import OptionError
from laion_dask.formatting import in_bytes
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.parquet.column_sizes import column_sizes
from laion_dask.io.parquet.scan import Scan
from laion_dask.planning import inputs


def stored(folder, *names: str) -> int:
    """Bytes of the columns of all shards, from a plain loop over their footers."""
    total = 0
    for path in sorted(folder.glob("shards/*.parquet")):
        metadata = pq.read_metadata(path)
        for group in range(metadata.num_row_groups):
            for column in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(column)
                if not names or chunk.path_in_schema in names:
                    total += chunk.total_compressed_size
    return total


def test_a_filter_by_hand(folder, frame):
    filtered = frame.laion.where("similarity > 0.3 and width > 120")
    found = ld.plan(filtered, "where", workers=2, rates=RATES)
    (line,) = found.table.to_dict("records")
    assert (line["step"], line["rows"]) == ("where", 40)
    assert line["bytes_read"] == stored(folder, "similarity", "WIDTH")
    assert line["seconds"] == 40 / (100 * 2)
    assert (line["seconds_low"], line["seconds_high"]) == (40 / (200 * 2), 40 / (50 * 2))
    assert math.isnan(line["at_best"])
    assert (line["limit"], line["source"]) == ("processor", "where.json")
    # shard and row take 12 bytes, a float32 4, an int32 4, the last two plus one mask byte; twice.
    assert line["memory_bytes"] == 1000 + 30 * 2 * (12 + 5 + 5)
    assert found.seconds == 0.2 and found.bytes_read == line["bytes_read"]


def test_an_expression_of_ones_own_and_no_filter_at_all(folder, frame):
    filtered = ld.plan(frame, ("where", "punsafe < 0.5"), workers=1, rates=RATES)
    assert filtered.bytes_read == stored(folder, "punsafe")
    every = ld.plan(frame, "where", workers=1, rates=RATES)
    assert every.bytes_read == stored(folder)
    assert any("no filter yet" in note for note in every.notes())


def test_scores_by_hand(folder, frame, emb):
    head = ld.heads.demo_safety()
    found = ld.plan(frame, ["similarity", head, head.to("again")], embeddings=emb, workers=1,
                    rates=RATES)  # fmt: skip
    one, first, second = found.table.to_dict("records")
    width = 40 * DIM * 2
    assert [one["bytes_read"], first["bytes_read"], second["bytes_read"]] == [width, width, 0]
    # Measured on rows half as wide, so half as fast.
    assert one["seconds"] == 40 / 50
    assert first["seconds"] == second["seconds"] == 40 / 100
    assert first["memory_bytes"] == 1000 + width + 30 * 2 * 12
    assert found.seconds == pytest.approx(0.8 + 0.4 + 0.4)
    assert "read together with those of the previous head" in str(found)


def test_search_lies_on_the_line_between_two_numbers_of_queries(frame, emb):
    def seconds(queries):
        return ld.plan(frame, ("search", queries), embeddings=emb, workers=1, rates=RATES).seconds

    assert seconds(1) == pytest.approx(40 / 100)
    assert seconds(11) == pytest.approx(40 / 50)
    assert seconds(6) == pytest.approx((40 / 100 + 40 / 50) / 2)
    assert seconds(21) == pytest.approx(40 / 50 + (40 / 50 - 40 / 100))


def test_storage_is_the_limit_where_it_is_slower(frame, emb):
    width = 40 * DIM * 2
    slow = ld.plan(frame, "score", embeddings=emb, workers=1, storage=width / 10, rates=RATES)
    (line,) = slow.lines
    assert (line.seconds, line.limit) == (10.0, "storage")
    assert (line.low, line.high) == (10.0, 40 / 50 + 10)
    fast = slow.scaled(storage=width * 100.0)
    assert (fast.seconds, fast.lines[0].limit) == (0.4, "processor")
    unknown = ld.plan(frame, "score", embeddings=emb, workers=1, rates=RATES)
    assert f"fast enough for {in_bytes(width)}." in str(unknown)
    large = unknown.scaled(rows=10**8)
    assert f"{in_bytes(width / 0.4)}/s for all workers" in str(large)


def test_summary_distributions_and_export_read_their_columns(folder, frame):
    found = ld.plan(frame, ["summary", "export", ("distributions", ["similarity", "punsafe"])])
    assert found.table["bytes_read"].tolist() == [
        stored(folder),
        stored(folder),
        stored(folder, "similarity", "punsafe"),
    ]
    floats = ld.plan(frame, "distributions").bytes_read
    assert floats == stored(folder, "similarity", "punsafe", "pwatermark")
    few = ld.plan(frame[["hash", "shard", "row"]], "export")
    assert few.bytes_read == stored(folder, "hash")


def test_a_choice_of_partitions_reads_its_share(folder):
    frame = ld.read_shards(folder / "shards", max_rows_per_partition=10)
    assert frame.npartitions == 4
    emb = ld.open_embeddings(folder / "img_emb", model="demo", like=frame)
    found = ld.plan(frame.partitions[:1], ["score", "export"], embeddings=emb)
    score, export = found.table.to_dict("records")
    assert (score["rows"], score["bytes_read"]) == (10, 10 * DIM * 2)
    first = sum(s.stored for s in column_sizes([str(folder / "shards/part_0.parquet")])[0].values())
    assert export["bytes_read"] == round(first / 3)


def test_embeddings_come_from_the_scores(frame, emb):
    scored = frame.laion.score(emb, ld.heads.demo_safety())
    assert ld.plan(scored, "search").bytes_read == 40 * DIM * 2
    with pytest.raises(OptionError, match="Give embeddings="):
        ld.plan(frame, "score")


def test_several_embeddings_must_be_told_apart(folder, frame, emb):
    for i, n in enumerate((30, 10)):
        (folder / "text_emb").mkdir(exist_ok=True)
        np.save(folder / f"text_emb/part_{i}.npy", np.ones((n, DIM), np.float32))
    texts = ld.open_embeddings(folder / "text_emb", model="demo", like=frame)
    scored = frame.laion.similarity(emb, texts)
    with pytest.raises(OptionError, match="2 sets of embeddings"):
        ld.plan(scored, "score")
    both = ld.plan(frame, ("similarity", texts), embeddings=emb)
    assert both.bytes_read == 40 * DIM * (2 + 4)


@pytest.fixture
def texts(folder, frame):
    """Other embeddings of the same rows, in float32."""
    (folder / "text_emb").mkdir()
    for i, n in enumerate((30, 10)):
        np.save(folder / f"text_emb/part_{i}.npy", np.ones((n, DIM), np.float32))
    return ld.open_embeddings(folder / "text_emb", model="demo", like=frame)


@pytest.fixture
def scored(frame, emb, texts):
    both = frame.laion.similarity(emb, texts, to="clip_score")
    return both.laion.score(emb, ld.heads.demo_safety())


#: `RATES` plus the CLIP score: 40 rows take 0.4 s, as in every other step.
MORE = {
    **RATES,
    "rates": [
        *RATES["rates"],
        {**RATES["rates"][0], "step": "clip_score", "row_bytes": DIM * 2},
        {**RATES["rates"][0], "step": "distributions"},
        {**RATES["rates"][0], "step": "summary"},
    ],
}


def test_what_a_frame_carries_is_counted(folder, scored, emb):
    subset = scored.laion.where("punsafe < 0.5")
    found = ld.plan(subset, "export", workers=1, rates=MORE)
    clip, head, kept, export = found.table.to_dict("records")
    assert clip["step"] == "in the frame: clip_score"
    assert head["step"] == "in the frame: punsafe_demo"
    assert clip["bytes_read"] == 40 * DIM * (2 + 4) and head["bytes_read"] == 40 * DIM * 2
    assert kept["step"] == "in the frame: where punsafe < 0.5" and kept["bytes_read"] == 0
    assert export["bytes_read"] == stored(folder)
    assert found.seconds == pytest.approx(4 * 0.4)
    # The partition and its embeddings are in memory; ten of its columns are computed or read.
    held = 40 * DIM * (2 + 4 + 2)
    assert export["memory_bytes"] == round(1000 + held + 30 * found.steps[-1].row_memory)
    text = str(found)
    assert "as if every row were computed" in text and "passed the filter (on punsafe)" in text
    assert ld.plan(subset, "export", embeddings=emb).bytes_read == found.bytes_read


def test_a_pass_takes_only_what_its_columns_need(folder, scored):
    def plan(frame, *verbs):
        return ld.plan(frame, list(verbs), workers=1, rates=MORE)

    one = plan(scored, ("distributions", ["clip_score"]))
    assert one.bytes_read == 40 * DIM * (2 + 4) and one.seconds == pytest.approx(0.8)
    assert plan(scored, ("distributions", ["punsafe"])).bytes_read == stored(folder, "punsafe")
    # By default all float columns, including computed ones; a filter adds its own columns.
    every = plan(scored, "distributions")
    floats = stored(folder, "similarity", "punsafe", "pwatermark")
    assert every.bytes_read == 40 * DIM * (2 + 4 + 2) + floats
    kept = plan(scored.laion.where("punsafe_demo < 0.5"), ("distributions", ["width"]))
    assert kept.bytes_read == 40 * DIM * 2 + stored(folder, "WIDTH")
    first = plan(scored.partitions[1:], ("distributions", ["clip_score"]))
    assert first.bytes_read == 10 * DIM * (2 + 4)


def test_every_eager_verb_pays_for_the_frame_anew(folder, scored):
    found = ld.plan(scored, ["summary", "export"], workers=1, rates=MORE)
    assert found.table["step"].tolist()[:2] == [
        "in the frame: clip_score, 2 times",
        "in the frame: punsafe_demo, 2 times",
    ]
    assert found.bytes_read == 2 * (40 * DIM * (2 + 4 + 2) + stored(folder))
    assert found.seconds == pytest.approx(2 * (0.4 + 0.4 + 0.4))
    assert "each of summary, export computes this again" in str(found)
    assert found.memory_bytes == ld.plan(scored, "export", workers=1, rates=MORE).memory_bytes
    # Lazy steps and what they depend on are one pass; no verb reads an image from the frame.
    lazy = ld.plan(scored, [("where", "clip_score > 0.4 and punsafe_demo < 0.5"), "where"])
    assert lazy.table["step"].tolist()[0] == "in the frame: clip_score"
    assert len(ld.plan(scored, "embed").table) == 1


def test_heads_of_one_score_share_their_embeddings_and_queries_count_too(frame, emb):
    head = ld.heads.demo_safety()
    two = frame.laion.score(emb, head, head.to("again"))
    found = ld.plan(two, "export", workers=1, rates=MORE).table["bytes_read"]
    assert found.tolist()[:2] == [40 * DIM * 2, 0]
    query = np.eye(DIM, dtype=np.float32)[0]
    near = ld.plan(frame.laion.similarity(emb, query), ("distributions", "query_similarity"))
    assert near.bytes_read == 40 * DIM * 2
    assert near.table["step"].tolist() == ["in the frame: query_similarity", "distributions"]


def test_caption_heads_read_the_captions_once(folder, frame):
    scored = frame.laion.score_captions(ld.heads.CaptionHead("words", len))
    own = stored(folder, "TEXT")
    assert ld.plan(scored, ("distributions", "words")).bytes_read == own
    assert ld.plan(scored, "export").bytes_read == stored(folder)


def test_nothing_is_read(frame, emb, monkeypatch, no_compute):
    def refuse(*args, **kwargs):
        raise AssertionError("data was read")

    for kind, name in ((Scan, "__call__"), (Scan, "_read"), (EmbeddingFile, "_read")):
        monkeypatch.setattr(kind, name, refuse)
    monkeypatch.setattr(pq.ParquetFile, "read", refuse)
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", refuse)
    verbs = ["where", "similarity", "score", "search", "summary", "distributions", "export"]
    found = ld.plan(frame, [*verbs, "embed", ld.heads.demo_safety()], embeddings=emb)
    assert str(found) == repr(found) and "<table" in found._repr_html_()
    assert len(found.table) == 9 and len(found.scaled(rows=10**10).table) == 9


def test_of_many_shards_some_footers_are_read(laion_shards, monkeypatch):
    laion_shards(10, 20, 30, 40, 50, folder="many")
    frame = ld.read_shards(Path(laion_shards(1, folder="x")[0]).parents[1] / "many")
    exact = ld.plan(frame, "export").bytes_read
    monkeypatch.setattr(inputs, "MAX_FOOTERS", 2)
    sampled = ld.plan(frame, "export")
    assert len(sampled.data.sizes) == 2 and "2 of 5 shards" in str(sampled)
    assert sampled.bytes_read == pytest.approx(exact, rel=0.1)


def test_text_takes_its_length_in_memory_and_names_may_have_dots(write):
    table = pa.table({"a.b": ["x" * 100] * 50, "s": [{"n": 1}] * 50, "n": pa.array([1] * 50)})
    path = write("one.parquet", table, use_dictionary=False)
    assert set(column_sizes([path])[0]) == {"a.b", "s", "n"}
    inputs = ld.plan(ld.read_shards(path), "export").data
    # Each text has a 4-byte length before it in the file, and the page header takes some bytes.
    assert 2 * (12 + 100 + 4 + 8) <= inputs.row_memory(["a.b"]) <= 2 * (12 + 110 + 8)
    assert inputs.row_memory(["n"]) == 2 * (12 + 9)


def test_an_empty_frame_costs_nothing(laion_shards):
    frame = ld.read_shards(laion_shards(0))
    found = ld.plan(frame, "where")
    assert found.seconds == 0 and found.bytes_read == 0 and "0 bytes/s" not in str(found)
    assert "No rows, so there is nothing to read" in str(found)
    with pytest.raises(OptionError, match="without rows"):
        found.scaled(rows=10)
