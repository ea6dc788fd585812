"""Plans for other workers and GPUs, in words and in a plot."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.paths import ROOT
from support.plan_rates import DIM, RATES

import laion_dask as ld
from laion_dask.errors import OptionError
from laion_dask.formatting import in_bytes, in_time
from laion_dask.planning.measured_rates import open_rates


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
    assert "measured on NVIDIA H200, assumed to apply to NVIDIA H200 NVL" in " ".join(other.notes())
    peaks = plan("NVIDIA H200 NVL")
    assert math.isnan(peaks.seconds) and peaks.at_best == 40 * DIM * 2 / 64e9
    assert "They are used for NVIDIA H200 NVL" in " ".join(peaks.notes())
    mine = plan("My GPU 7", "My GPU")
    assert mine.seconds == 0.4, "a rate is enough, peaks or none"
    with pytest.raises(OptionError, match="are unknown"):
        plan("NVIDIA H2000", "NVIDIA H200")


def test_the_workers_that_are_there(frame, emb):
    from distributed import Client, LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False}
    cluster = LocalCluster(**options, dashboard_address="127.0.0.1:0", memory_limit=3_000_000)
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
