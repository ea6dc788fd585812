"""Plans: arithmetic checked by hand, rates from the committed results, and no data is read."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.paths import ROOT

import laion_dask as ld
from laion_dask.errors import (
    ColumnError,
    ModelMismatchError,
    OptionError,
    PairingError,
    PredicateError,
    ProvenanceError,
    ShardError,
)
from laion_dask.formatting import in_bytes, in_time
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.parquet.column_sizes import column_sizes
from laion_dask.io.parquet.scan import Scan
from laion_dask.planning import inputs
from laion_dask.planning.rates import open_rates

DIM = 128

#: Round numbers that make a plan easy to check by hand: rows per second of one worker.
RATES = {
    "rates": [
        {
            "step": step,
            "device": "cpu",
            "rows_per_s": 100.0,
            "slowest": 50.0,
            "fastest": 200.0,
            "process_bytes": 1000,
            "processor": "an abacus",
            "date": "2026-01-01",
            "source": f"{step}.json",
            **more,
        }
        for step, more in (
            ("where", {}),
            ("export", {}),
            ("linear", {"row_bytes": DIM * 2}),
            ("similarity", {"row_bytes": DIM}),
            ("search", {"row_bytes": DIM * 2}),
            (
                "search",
                {
                    "row_bytes": DIM * 2,
                    "queries": 11,
                    "rows_per_s": 50.0,
                    "slowest": 25.0,
                    "fastest": 100.0,
                },
            ),
        )
    ],
    "gpus": [
        {
            "name": "Test GPU",
            "memory_bytes_per_s": 1e6,
            "bfloat16_flop_per_s": 1e7,
            "link_bytes_per_s": 1e5,
            "memory_bytes": 1e9,
            "source": "its box",
        }
    ],
}


@pytest.fixture
def folder(laion_shards, tmp_path):
    """Two shards of 30 and 10 rows, with 128-dimensional float16 embeddings."""
    laion_shards(30, 10, row_group_size=10)
    for i, n in enumerate((30, 10)):
        (tmp_path / "img_emb").mkdir(exist_ok=True)
        np.save(tmp_path / f"img_emb/part_{i}.npy", np.ones((n, DIM), np.float16))
    return tmp_path


@pytest.fixture
def frame(folder):
    return ld.read_shards(folder / "shards")


@pytest.fixture
def emb(folder, frame):
    return ld.open_embeddings(folder / "img_emb", model="demo", like=frame)


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
    assert f"{in_bytes(width / 0.4)}/s for all workers" in str(unknown)


def test_a_gpu_has_bounds_and_no_projection(frame, emb):
    found = ld.plan(frame, ["score", ("search", 1000)], embeddings=emb, workers=4,
                    device="test gpu", rates=RATES)  # fmt: skip
    one, many = found.table.to_dict("records")
    width = 40 * DIM * 2
    assert one["at_best"] == width / (1e5 * 4) and one["limit"] == "link to the GPU"
    assert many["at_best"] == pytest.approx(40 * 2 * DIM * 1000 / (1e7 * 4))
    assert many["limit"] == "GPU arithmetic"
    assert math.isnan(one["seconds"]) and math.isnan(found.seconds)
    text = str(found)
    assert "not measured" in text and "at best" in text and "its box" in text
    assert "4 GPUs, Test GPU" in text and "between" not in text.splitlines()[2]


def test_a_measured_gpu_is_projected(frame, emb):
    rate = {**RATES["rates"][2], "device": "Test GPU", "rows_per_s": 100.0}
    own = {"rates": [rate], "gpus": RATES["gpus"]}
    found = ld.plan(frame, "score", embeddings=emb, workers=2, device="Test GPU", rates=own)
    assert found.seconds == 40 / 200 and found.lines[0].limit == "GPU"


def test_every_gpu_that_ships_bounds_every_step_from_below(frame, emb):
    plan = ld.plan(frame, ["score", "similarity", ("search", 10), "export"], embeddings=emb)
    for gpu in open_rates(None).gpus:
        eight = plan.scaled(workers=8, device=gpu.name)
        one = plan.scaled(workers=1, device=gpu.name)
        assert 0 < eight.at_best < one.at_best == pytest.approx(8 * eight.at_best)
        assert gpu.source in str(eight)


def test_more_rows_by_other_workers(frame, emb):
    small = ld.plan(frame, ["where", "score"], embeddings=emb, workers=1, rates=RATES)
    large = small.scaled(rows=4_000_000, workers=10)
    assert large.table["rows"].tolist() == [4_000_000] * 2
    assert large.bytes_read == pytest.approx(small.bytes_read * 100_000)
    assert large.seconds == pytest.approx(small.seconds * 100_000 / 10)
    # All embeddings memory-mapped, but at most 2 GiB.
    assert large.memory_bytes == 1000 + 4_000_000 * DIM * 2 + 30 * 2 * 12
    assert large.scaled(rows=10**9).memory_bytes == 1000 + 2**31 + 30 * 2 * 12
    assert "Scaled from 40 rows" in str(large) and "200,000 partitions" in str(large)
    assert large.scaled(rows=40, workers=1).table.equals(small.table)


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
    clip, head, export = found.table.to_dict("records")
    assert clip["step"] == "in the frame: clip_score"
    assert head["step"] == "in the frame: punsafe_demo"
    assert clip["bytes_read"] == 40 * DIM * (2 + 4) and head["bytes_read"] == 40 * DIM * 2
    assert export["bytes_read"] == stored(folder)
    assert found.seconds == pytest.approx(3 * 0.4)
    # The partition and its embeddings are in memory; ten of its columns are computed or read.
    held = 40 * DIM * (2 + 4 + 2)
    assert export["memory_bytes"] == round(1000 + held + 30 * found.steps[2].row_memory)
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


def test_other_workers_keep_the_gpu_and_the_memory(frame, emb):
    plan = ld.plan(frame, "score", embeddings=emb, workers=4, device="Test GPU", rates=RATES,
                   memory_limit="3 GB")  # fmt: skip
    more = plan.scaled(workers=np.int64(8))
    assert (more.workers.n, more.workers.device) == (8, "Test GPU")
    assert more.workers.memory_limit == 3_000_000_000
    assert plan.scaled(rows=80, device="cpu").workers.device == "cpu"
    assert plan.scaled(device="cpu").workers.memory_limit == 3_000_000_000
    assert plan.scaled(memory_limit=np.int64(5)).workers.memory_limit == 5
    assert plan.scaled(rows=np.int64(80), storage=np.float32(4)).rows == 80


def test_the_nearest_name_of_a_gpu_counts_and_is_said(frame, emb):
    def plan(device, *devices):
        own = [{**RATES["rates"][2], "device": name} for name in devices]
        return ld.plan(
            frame, "score", embeddings=emb, workers=1, device=device, rates={"rates": own}
        )

    nvl = plan("NVIDIA H200 NVL", "NVIDIA H200", "nvidia h200 nvl")
    assert nvl.workers.device == "nvidia h200 nvl" and nvl.lines[0].rate.device == "nvidia h200 nvl"
    other = plan("NVIDIA H200 NVL", "NVIDIA H200")
    assert other.workers.device == "NVIDIA H200 NVL" and other.seconds == 0.4
    assert "measured on NVIDIA H200, assumed to apply to NVIDIA H200 NVL" in str(other)
    peaks = plan("NVIDIA H200 NVL")
    assert math.isnan(peaks.seconds) and peaks.at_best == 40 * DIM * 2 / 64e9
    assert "They are used for NVIDIA H200 NVL" in str(peaks)
    mine = plan("My GPU 7", "My GPU")
    assert mine.seconds == 0.4, "a rate is enough, peaks or none"
    with pytest.raises(OptionError, match="are unknown"):
        plan("NVIDIA H2000", "NVIDIA H200")


def test_memory_of_steps_that_were_not_measured(frame, emb):
    def memory(verb, device=None):
        return ld.plan(frame, verb, embeddings=emb, workers=1, device=device, rates=RATES)

    held = 40 * DIM * 2 + 30 * 2 * 12
    # Taken from the same kind of step on the CPU, else from the smallest measured process.
    score = memory("score", "Test GPU")
    assert score.memory_bytes == 1000 + held
    assert "Memory of unmeasured steps" in str(score)
    assert memory(("embed", "ViT-L-14")).memory_bytes == 2139686912
    assert "0 bytes/s" not in str(memory(("embed", "ViT-L-14")))
    # A query has 128 float32 values, and 10 results with 8 candidates of 20 bytes and a cosine.
    query = DIM * 4 + 10 * (8 * 20 + 4)
    assert memory(("search", 11)).memory_bytes == 1000 + held
    assert memory(("search", np.int64(100_000))).memory_bytes == 1000 + held + 99_989 * query
    on_gpu = memory(("search", 100_000), "Test GPU")
    assert on_gpu.memory_bytes == 1000 + held + 100_000 * query


@pytest.mark.parametrize(
    ("verbs", "error", "said"),
    [
        ("serch", OptionError, "Did you mean 'search'"),
        ([], OptionError, "verbs is empty"),
        (["where", 7], OptionError, "A verb is 7"),
        (("export", 3), OptionError, "takes no argument"),
        (("search", 0), OptionError, "at least 1"),
        (("search", "bird"), OptionError, "number of queries"),
        (("search", True), OptionError, "is True"),
        (("distributions", 3), OptionError, "argument is 3"),
        (("distributions", [3]), OptionError, "A column of distributions is 3"),
        (("distributions", "text"), OptionError, "'text' holds none"),
        (("distributions", ["similarty"]), ColumnError, "Did you mean 'similarity'"),
        (("where", "similarty > 1"), (PredicateError, ColumnError), "similarity"),
        (("embed", "ViT-Z"), Exception, "ViT"),
    ],
)
def test_wrong_verbs_are_refused(frame, verbs, error, said):
    with pytest.raises(error, match=said):
        ld.plan(frame, verbs)


def test_what_else_is_refused(folder, frame, emb):
    with pytest.raises(OptionError, match="workers is 0"):
        ld.plan(frame, "where", workers=0)
    with pytest.raises(OptionError, match="Did you mean 'NVIDIA H200'"):
        ld.plan(frame, "where", device="NVIDIA H20")
    with pytest.raises(OptionError, match="storage is -1"):
        ld.plan(frame, "where", storage=-1)
    for wrong in (True, "2e9"):
        with pytest.raises(OptionError, match="storage is"):
            ld.plan(frame, "where", storage=wrong)
        with pytest.raises(OptionError, match="workers is"):
            ld.plan(frame, "where", workers=wrong)
        with pytest.raises(OptionError, match="rows is"):
            ld.plan(frame, "where").scaled(rows=wrong)
    for wrong in ("lots", 0, -1, True, None.__class__, 1.5e400):
        with pytest.raises(OptionError, match="memory_limit is"):
            ld.plan(frame, "where", memory_limit=wrong)
    with pytest.raises(OptionError, match="rows is 0"):
        ld.plan(frame, "where").scaled(rows=0)
    with pytest.raises(ProvenanceError):
        import dask.dataframe as dd

        ld.plan(dd.from_pandas(pd.DataFrame({"a": [1]}), npartitions=1), "where")
    np.save(folder / "img_emb/part_1.npy", np.ones((9, DIM), np.float16))
    short = ld.open_embeddings(folder / "img_emb", model="demo")
    with pytest.raises(PairingError, match="9 rows"):
        ld.plan(frame, "score", embeddings=short)
    vectors = np.eye(2, 768, dtype=np.float32).tobytes()
    other = ld.heads.PromptHead("p", ld.ClipModel("ViT-L-14", "openai"), ("a", "b"), 0, vectors)
    with pytest.raises(ModelMismatchError):
        ld.plan(frame, other, embeddings=emb)


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ({"rate": []}, "Did you mean 'rates'"),
        ({"rates": [{"stap": 1}]}, "Did you mean 'step'"),
        ({"rates": [{"step": "where"}]}, "Expected step, device"),
        ({"rates": [{**RATES["rates"][0], "slowest": 150.0}]}, "0 < slowest"),
        ({"rates": [{**RATES["rates"][0], "slowest": 0.0}]}, "slowest of the rate of 'where' is 0"),
        ({"rates": [{**RATES["rates"][0], "rows_per_s": "1e9"}]}, "rows_per_s .* is '1e9'"),
        ({"rates": [{**RATES["rates"][0], "queries": True}]}, "queries .* is True"),
        ({"rates": [{**RATES["rates"][0], "step": 3}]}, "step .* is 3. Expected text"),
        ({"gpus": [{**RATES["gpus"][0], "memory_bytes": "80GB"}]}, "of the GPU 'Test GPU'"),
        ({"rates": 3}, "'rates' of rates is 3. Expected a list"),
        ({"rates": [7]}, "An entry of rates is 7"),
        (7, "rates is 7"),
        ("nowhere.json", "cannot be read"),
    ],
)
def test_wrong_rates_are_refused(frame, rates, said):
    with pytest.raises(OptionError, match=said):
        ld.plan(frame, "where", rates=rates)


def test_rates_of_ones_own_come_first_and_from_a_file(frame, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(RATES))
    found = ld.plan(frame, ["where", "summary"], workers=1, rates=path)
    assert found.table["seconds"].iloc[0] == 40 / 100
    assert found.table["source"].tolist() == ["where.json", "benchmarks/results/verbs.json"]
    path.write_text("{")
    with pytest.raises(OptionError, match="cannot be read"):
        ld.plan(frame, "where", rates=path)


def test_what_was_never_measured_is_said_to_be(frame):
    found = ld.plan(frame, [("embed", "ViT-L-14"), "where"], workers=1, rates=RATES)
    assert math.isnan(found.seconds) and "not measured" in str(found)
    assert "on a core of 'embed ViT-L-14': give your own rates=" in str(found)
    assert " + ?" in str(found)  # in the total


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


def test_a_shard_that_is_gone_is_an_error_of_its_own(folder, frame):
    (folder / "shards/part_1.parquet").write_bytes(b"PAR1")
    with pytest.raises(ShardError, match="part_1"):
        ld.plan(frame, "where")


def test_the_workers_that_are_there(frame, emb):
    from distributed import Client, LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False}
    cluster = LocalCluster(**options, dashboard_address=None, memory_limit=3_000_000)
    with cluster, Client(cluster):
        found = ld.plan(frame, ["where", "score"], embeddings=emb, rates=RATES)
    assert (found.workers.n, found.workers.memory_limit) == (2, 3_000_000)
    assert found.seconds == pytest.approx(2 * 40 / 200)
    assert "a worker needs" not in str(found)
    assert "2 workers, one core each, 3.0 MB each" in str(found)


def test_workers_that_have_gpus_say_which(frame, emb, monkeypatch):
    class Client:
        gpu = True

        def scheduler_info(self, n_workers):
            worker = {"nthreads": 1, "memory_limit": 5, "gpu": {"name": name}}
            return {"workers": {i: worker for i in range(8)} if name else {}}

    monkeypatch.setattr("distributed.get_client", Client)
    name = "NVIDIA H200"
    found = ld.plan(frame, "score", embeddings=emb)
    assert (found.workers.n, found.workers.device) == (8, "NVIDIA H200")
    assert found.at_best == 40 * DIM * 2 / (8 * 64e9)
    name = "Another GPU"
    unknown = ld.plan(frame, "score", embeddings=emb)
    assert math.isnan(unknown.at_best) and "8 GPUs, Another GPU" in str(unknown)
    name = None
    with pytest.raises(OptionError, match="no workers yet"):
        ld.plan(frame, "score", embeddings=emb)


def test_a_partition_that_does_not_fit_is_told_with_the_remedy(laion_shards):
    frame = ld.read_shards(laion_shards(5000, row_group_size=500))
    found = ld.plan(frame, "export", workers=1, rates=RATES)
    a_row = found.steps[0].row_memory
    assert found.memory_bytes == round(1000 + 5000 * a_row)
    limit = round(1000 + 2500 * a_row)
    tight = found.scaled(memory_limit=limit)
    assert "read_shards(max_rows_per_partition=2_000)" in str(tight)
    assert f"needs {in_bytes(found.memory_bytes)} and has {in_bytes(limit)}" in str(tight)
    none = ld.plan(frame, "export", workers=1, memory_limit="500 B", rates=RATES)
    assert "Give each more memory" in str(none)
    coarse = ld.read_shards(laion_shards(5000, row_group_size=2400, folder="coarse"))
    kept = ld.plan(coarse, "export", workers=1, memory_limit=limit + 9000, rates=RATES)
    (remedy,) = [note for note in kept.notes() if "max_rows_per_partition" in note]
    rows = int(remedy.partition("=")[2].rstrip(".)"))
    assert 2400 <= rows <= 2600, "2_000 would leave row groups of 2,400 as they are"


def test_row_groups_that_are_too_large_are_told_with_another_remedy(laion_shards):
    frame = ld.read_shards(laion_shards(5000))
    found = ld.plan(frame, "export", workers=1, rates=RATES)
    limit = round(1000 + 2500 * found.steps[0].row_memory)
    note = found.scaled(memory_limit=limit).notes()[0]
    assert "some row groups have 5,000 rows" in note and "row groups of at most 2,000 rows" in note
    assert "max_rows_per_partition" not in note


def test_in_words():
    assert [in_bytes(n) for n in (0, 999, 1500, 2.5e12)] == [
        "0 bytes",
        "999 bytes",
        "1.5 kB",
        "2.5 TB",
    ]
    spans = (0, 0.002, 1, 89, 90, 5400, 172800, 8.64e6)
    words = ["0.0 ms", "2.0 ms", "1.0 s", "89 s", "1.5 min", "1.5 h", "2.0 days", "100 days"]
    assert [in_time(s) for s in spans] == words


def benchmark_rates() -> dict:
    spec = importlib.util.spec_from_file_location("rates", ROOT / "benchmarks/rates.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.rates()


def test_the_rates_that_ship_are_those_of_the_results():
    shipped = json.loads((ROOT / "laion_dask/planning/rates.json").read_text())
    assert shipped == json.loads(json.dumps(benchmark_rates()))


def test_some_rates_by_hand():
    """Calculated without the script: rows over the median wall time on two cores, halved."""

    def result(name):
        return json.loads((ROOT / "benchmarks/results" / f"{name}.json").read_text())

    rates = open_rates(None)
    carve, heads, embed, verbs = map(result, ("carve-32000000", "heads-262144", "embed", "verbs"))
    wall = carve["medians"]["laion_dask"]["wall_s"]
    assert rates.of("where", "cpu")[0].rows_per_s == pytest.approx(32e6 / wall / 2)
    wall = heads["nsfw"]["medians"]["laion_dask bfloat16"]["wall_s"]
    assert rates.of("nsfw bfloat16", "cpu")[0].rows_per_s == pytest.approx(262144 / wall / 2)
    wall = embed["medians"]["laion_dask"]["wall_s"]
    assert rates.of("embed ViT-B-32", "cpu")[0].rows_per_s == pytest.approx(256 / wall / 2)
    for step, n in (("summary", 4e6), ("export", 4e6), ("similarity", 1e6), ("zero_shot", 1e6)):
        (rate,) = rates.of(step, "cpu")
        assert rate.rows_per_s == pytest.approx(n / verbs["medians"][step]["wall_s"] / 2)
    one, many = rates.of("search", "cpu")
    assert (one.queries, many.queries) == (1, 1000)
    assert not [rate for rate in rates.rates if rate.device != "cpu"], "no GPU was measured"
    others = map(result, ("join-4000000", "join-16000000", "index", "language", "steps"))
    assert {rate.date for rate in rates.rates} == {
        *(r["date"] for r in (carve, heads, embed, verbs, *others))
    }
    (language,) = rates.of("language", "cpu")
    assert language.rows_per_s == pytest.approx(result("language")["medians"]["laion_dask"]["rate"])
    (describe,) = rates.of("statistic describe", "cpu")
    step = result("steps")["steps"]["statistic describe"]
    best = min(run["wall_s"] for run in step["runs"])
    assert describe.rows_per_s == pytest.approx(step["rows"] / best)


def test_the_plot_has_what_is_known(frame, emb):
    pytest.importorskip("holoviews")
    plan = ld.plan(frame, "score", embeddings=emb, rates=RATES, storage=1e6)
    drawn = ld.scaling_plot(plan, [1, 10], device="Test GPU")
    band, cores, gpus, storage = drawn
    assert band.dimension_values("hi").tolist() == [40 / 50, 40 / 500]
    assert cores.dimension_values(1).tolist() == [40 / 100, 40 / 1000]
    assert gpus.label == "Test GPU, at best (not measured)"
    assert gpus.dimension_values(1).tolist() == [0.1024, 0.01024]
    assert storage.dimension_values(1).tolist() == [0.01024] * 2
    unknown = ld.plan(frame, ("embed", "ViT-L-14"), rates=RATES)
    with pytest.raises(OptionError, match="Nothing can be drawn"):
        ld.scaling_plot(unknown, device=None)


def scaling_table(folder) -> list[str]:
    """The README's table: embeddings of ViT-L/14, with the packaged rates."""
    folder.mkdir()
    pq.write_table(pa.table({"URL": ["x"] * 1000}), folder / "metadata_0.parquet")
    np.save(folder / "img_emb_0.npy", np.ones((1000, 768), np.float16))
    frame = ld.read_shards(folder / "metadata_0.parquet")
    emb = ld.open_embeddings(folder / "img_emb_0.npy", model="ViT-L-14:openai", like=frame)
    lines = []
    for rows, named in ((2_300_000_000, "2.3 billion"), (5_850_000_000, "5.85 billion")):
        for verb, step in (
            ("score", "one linear head"),
            ("search", "one query"),
            (("search", 1000), "1,000 queries"),
        ):
            plan = ld.plan(frame, verb, embeddings=emb).scaled(rows=rows)
            cores = plan.scaled(workers=64).seconds
            gpus = [plan.scaled(workers=n, device="NVIDIA H200").at_best for n in (1, 8, 64)]
            store = plan.bytes_read / 10e9
            times = " | ".join(map(in_time, [store, cores, *gpus]))
            lines.append(f"| {named} | {step} | {in_bytes(plan.bytes_read)} | {times} |")
    return lines


def test_the_table_of_the_docs_is_what_plan_says(tmp_path):
    readme = (ROOT / "docs/how-to/scale.md").read_text(encoding="utf-8")
    lines = scaling_table(tmp_path / "shape")
    assert all(line in readme for line in lines), "expected:\n" + "\n".join(lines)
