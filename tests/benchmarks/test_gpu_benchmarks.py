"""The GPU benchmarks, as far as they run without a GPU: errors, figures and small runs."""

import importlib
import importlib.metadata
import io
import json
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.embeddings import pair
from support.forked_runs import forked_runs
from support.paths import ROOT

HERE = ROOT / "benchmarks" / "gpu"
BENCHMARKS = ("carve", "heads", "search", "embed")
MODULES = (
    "environment",
    "ceilings",
    "cpu_path",
    "report",
    "run",
    "timing",
    "vectors",
    "heads_data",
    *BENCHMARKS,
)


@pytest.fixture
def gpu(monkeypatch):
    """Import all scripts as they import each other; remove them from sys.modules afterwards."""
    monkeypatch.syspath_prepend(str(HERE))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    for name in MODULES:
        sys.modules.pop(name, None)


def test_no_gpu_is_said_in_one_line_with_code_2(tmp_path):
    scripts, folder = ("run", "ceilings", *BENCHMARKS), tmp_path / "cwd"
    folder.mkdir()
    every = forked_runs(
        [[HERE / f"{script}.py"] for script in scripts],
        folder,
        preload="import torch, laion_dask, dask.dataframe\n",
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)},
    )
    for script, completed in zip(scripts, every, strict=True):
        assert completed.returncode == 2, (script, completed.stderr)
        assert completed.stdout == "" and len(completed.stderr.splitlines()) == 1, script
        known = "No CUDA device", "Not installed: cudf"
        assert completed.stderr.startswith(known if script == "carve" else known[0]), script
    assert not list(folder.iterdir())


def test_a_name_that_is_none_is_refused(gpu, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run.py", "heads", "heds"])
    with pytest.raises(SystemExit):
        gpu.run.main()
    assert "Unknown benchmark 'heds'. Available: carve, heads, search, embed." in (
        capsys.readouterr().err
    )


def test_run_goes_on_where_one_fails(gpu, monkeypatch):
    asked = []

    def child(name, results, data):
        asked.append(name)
        return int(name == "search")

    monkeypatch.setattr(gpu.environment, "require", lambda: None)
    monkeypatch.setattr(gpu.run, "run", child)
    monkeypatch.setattr(sys, "argv", ["run.py", "search", "embed"])
    assert gpu.run.main() == 1
    assert asked == ["search", "embed"]


def test_runs_in_turn(gpu):
    order = []
    ways = {"a": lambda: order.append("a") or 1, "b": lambda: order.append("b") or 2}
    runs = gpu.timing.in_turn(ways, "cpu", repeats=2, say=lambda text: None)
    assert order == ["a", "b"] * 3
    assert [len(each.seconds) for each in runs.values()] == [2, 2]
    assert (runs["a"].result, runs["b"].result) == (1, 2)
    once = gpu.timing.in_turn(ways, "cpu", repeats=5, limit=-1, say=lambda text: None)
    assert [len(each.seconds) for each in once.values()] == [1, 1]


def test_a_way_that_fails_leaves_the_others(gpu):
    def fails():
        raise RuntimeError("no such thing\nsecond line")

    messages = []
    runs = gpu.timing.in_turn({"a": fails, "b": int}, "cpu", repeats=1, say=messages.append)
    assert runs["a"].error == "RuntimeError: no such thing" and math.isnan(runs["a"].median)
    assert len(runs["b"].seconds) == 1
    assert messages[0] == "a: RuntimeError: no such thing"
    assert gpu.report.errors(runs) == ["a did not run: `RuntimeError: no such thing`"]


def test_ceilings_count_as_they_say(gpu, monkeypatch):
    monkeypatch.setattr(
        gpu.ceilings, "device_seconds", lambda work, device, repeats: [0.5, 0.25, 4.0]
    )
    made = gpu.ceilings.measure("cpu", copied=4096, sent=4096, side=8, repeats=3)
    assert (made.copy, made.matmul, made.to_gpu) == (16384, 2048, 8192)
    text = str(gpu.ceilings.Ceilings(4.2e12, 7.8e14, 5.5e10))
    assert "4.20 TB/s" in text and "780 TFLOP/s" in text and "55.0 GB/s" in text


def test_numbers_and_tables(gpu):
    report = gpu.report
    assert report.share(1, 8) == "12 %"
    assert report.share(math.nan, 8) == report.share(1, 0) == report.number(math.nan) == ""
    assert report.number(1234.5, 1) == "1,234.5"
    assert math.isnan(report.ratio(1, 0)) and report.ratio(1, 4) == 0.25
    text = report.table(["way", "ms"], [["laion_dask, x", "1"], ["torch", "2"]])
    assert text.splitlines()[2:] == ["| **laion_dask, x** | 1 |", "| torch | 2 |"]


def test_targets(gpu):
    target, line = gpu.report.target, gpu.report.line
    assert line(target("x, 0.7 or more", 0.71, at_least=0.7)) == "- pass: x, 0.7 or more: 0.71"
    assert line(target("y", 1.3, at_most=1.2)) == "- FAIL: y: 1.3"
    assert line(target("z", math.nan, at_most=1.2)) == "- FAIL: z: not measured"
    assert target("none", 0, at_most=0)["passed"]


def test_both_files_are_written_and_failures_end_with_1(gpu, tmp_path, capsys):
    runs = {"torch": gpu.timing.Runs([1.0, 3.0], first=9.0), "laion_dask": gpu.timing.Runs([2.0])}
    made = gpu.ceilings.Ceilings(1.0, 2.0, 3.0)
    report = gpu.report.Report("x", "Title", gpu.environment.about(), made, runs=runs)
    report.figures["unknown"] = [math.nan]
    assert report.write(tmp_path / "new") == 0
    stored = json.loads((tmp_path / "new" / "gpu-x.json").read_text())
    assert stored["runs"]["torch"] == {"seconds": [1.0, 3.0], "first_s": 9.0, "error": ""}
    assert stored["ceilings"] == {"copy": 1.0, "matmul": 2.0, "to_gpu": 3.0}
    assert stored["unknown"] == [None] and stored["versions"][
        "torch"
    ] == importlib.metadata.version("torch")
    assert (tmp_path / "new" / "gpu-x.md").read_text() in capsys.readouterr().out
    runs["laion_dask"].error = "broken"
    assert report.write(tmp_path) == 1
    assert "laion_dask did not run: `broken`" in (tmp_path / "gpu-x.md").read_text()


def test_scratch_is_where_there_is_room(gpu, tmp_path, capsys):
    with gpu.report.scratch(str(tmp_path), 1000) as folder:
        assert Path(folder).parent == tmp_path
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit) as stop:
        gpu.report.scratch(str(tmp_path), 1 << 60)
    assert stop.value.code == 2 and "GB free" in capsys.readouterr().err


def test_operations_of_the_head(gpu):
    assert gpu.heads_data.flops((768, 64, 512, 256, 1)) == 426_496
    assert gpu.heads_data.flops((3, 2)) == 12


@pytest.mark.parametrize(("layers", "width", "patch", "dim"), [(12, 768, 32, 512), (2, 64, 14, 24)])
def test_operations_of_the_image_tower(gpu, layers, width, patch, dim):
    from open_clip.transformer import VisionTransformer
    from torch.utils.flop_counter import FlopCounterMode

    size = {"image_size": 224, "patch_size": patch, "width": width, "layers": layers}
    with torch.device("meta"):
        tower = VisionTransformer(heads=width // 32, mlp_ratio=4.0, output_dim=dim, **size)
        with FlopCounterMode(display=False) as counted:  # with gradients: no fused kernel hides any
            tower(torch.empty(1, 3, 224, 224))
    assert gpu.embed.vision_flops(size, dim) == counted.get_total_flops()


def test_how_many_vectors_fit(gpu):
    fit = gpu.search.rows_that_fit
    assert fit(150 << 30, 40 << 30, 128 << 30) == 16_000_000
    assert fit(16 << 30, 40 << 30, 128 << 30) == 3_000_000
    assert fit(150 << 30, 4 << 30, 128 << 30) == 2_000_000
    assert fit(1 << 30, 1 << 30, 1 << 30) == 1_000_000


def test_limits_of_a_search(gpu):
    made = gpu.ceilings.Ceilings(copy=1536.0, matmul=7680.0, to_gpu=1.0)
    assert gpu.search.limits(10, 4, made) == (10.0, 8.0)


def test_rows_that_are_no_nearest_ones_are_counted(gpu, monkeypatch):
    monkeypatch.setattr(gpu.search, "K", 3)
    x = gpu.vectors.fill(gpu.vectors.Clustered("cpu"), 50, "cpu")
    queries = gpu.vectors.Clustered("cpu", seed=1)(4).float().numpy()
    wide = x.double().numpy()
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    order = np.argsort(-(queries.astype("f8") @ wide.T), axis=1)
    true = order[:, :3].copy()
    assert gpu.search.wrong_rows(x, queries, true) == 0
    assert gpu.search.wrong_rows(x, queries, true[:, ::-1].copy()) == 0
    true[1, 2] = order[1, 10]
    assert gpu.search.wrong_rows(x, queries, true) == 1
    true[2, 1] = true[2, 0]  # a duplicate, so another row is missing
    assert gpu.search.wrong_rows(x, queries, true) == 2


def test_torch_beside_the_search_finds_the_nearest(gpu, monkeypatch):
    monkeypatch.setattr(gpu.search, "K", 3)
    monkeypatch.setattr(gpu.search, "BLOCK", 64)
    monkeypatch.setattr(gpu.search, "QUERY_BATCH", 2)
    x = gpu.vectors.fill(gpu.vectors.Clustered("cpu"), 200, "cpu")
    queries = x[:5].float().numpy()
    found = gpu.search.by_torch(x, queries, torch.float32)()
    assert found.shape == (5, 3)
    assert gpu.search.wrong_rows(x, queries, found) == 0


def test_drawn_rows_are_of_length_one_and_hit_the_look_ups(gpu, monkeypatch):
    words = {3: (np.array([1000, 2000]), np.array([1, 2]))}
    drawn = gpu.heads_data.Network([], np.zeros(768, "f4"), np.full(768, 1 / 768, "f4"), words)
    monkeypatch.setattr(gpu.heads_data, "network", lambda: drawn)
    x = gpu.heads_data.Rows("cpu")(40)
    assert x.dtype == torch.float16
    assert (x.float().norm(dim=1) - 1).abs().max() < 1e-3
    assert set(x[:, 3].tolist()) == {float(np.float16(0.001)), float(np.float16(0.002))}


def test_shards_pair_with_their_metadata(gpu, tmp_path):
    import laion_dask as ld

    gpu.vectors.write_shards(tmp_path, [5, 0, 7], gpu.vectors.Clustered("cpu"))
    frame = ld.read_shards(tmp_path / "metadata")
    emb = pair(ld.open_embeddings(tmp_path / "img_emb", model="ViT-L-14"), frame)
    assert [file.n_rows for file in emb.files] == [5, 0, 7]
    assert frame["hash"].compute().tolist() == list(range(12))


def test_the_slowest_stage_is_named(gpu):
    embed = gpu.embed
    rates = {embed.BOTH: 5000.0, embed.SENT: 9e5, embed.FORWARD: 4e4, embed.VERB: 4000.0}
    assert embed.slowest(rates) == embed.BOTH
    assert "80 % of it" in embed.why(rates) and "5,000 images/s" in embed.why(rates)
    assert embed.slowest({**rates, embed.BOTH: math.nan}) == embed.FORWARD


def test_pictures_are_jpeg_of_the_stated_size(gpu):
    from PIL import Image

    first, again = gpu.embed.jpeg(3), gpu.embed.jpeg(3)
    assert first == again != gpu.embed.jpeg(4)
    with Image.open(io.BytesIO(first)) as picture:
        assert picture.format == "JPEG" and all(256 <= side <= 512 for side in picture.size)


def test_carved_rows_are_compared(gpu):
    import pyarrow as pa

    from laion_dask.demo.synthetic_rows import draw_block

    rows = draw_block(0, "laion2B-multi", 0)[:20]
    upside_down = rows.take(pa.array(range(19, -1, -1))).to_pandas()
    runs = {
        "a": gpu.timing.Runs([1.0], result=rows.to_pandas()),
        "b": gpu.timing.Runs([1.0], result=upside_down),
        "c": gpu.timing.Runs([1.0], result=rows[:19].to_pandas()),
        "d": gpu.timing.Runs(error="did not run"),
    }
    assert gpu.carve.differing(runs) == (20, ["c"])
