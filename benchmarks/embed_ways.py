"""Ways to embed the same images with the same weights; each runs in its own process.

``python embed_ways.py WAY TARS MODEL WEIGHTS OUT`` prints one line of JSON: time and memory, with
loading timed separately. A process uses two cores, or all of them if there is a GPU. Each contender
writes ``keys`` and ``embeddings`` to ``OUT/embeddings.npz``.
"""

from __future__ import annotations

import io
import json
import os
import resource
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

CORES = 2
BATCH = 64


def plain_loop(model: str, weights: str, dtype: str | None) -> Callable[[str, str], None]:
    """Pillow → open_clip's preprocess → ``encode_image``, batch by batch, as in its README."""
    import open_clip
    import torch
    from PIL import Image

    device = "cuda" if torch.cuda.is_available() else "cpu"
    net, _, preprocess = open_clip.create_model_and_transforms(model, weights, device=device)
    net.eval()
    precision = torch.autocast(device, torch.bfloat16, enabled=dtype is not None)

    def encode(pictures: list) -> np.ndarray:
        with torch.no_grad(), precision:
            features = net.encode_image(torch.stack(pictures).to(device)).float()
            return (features / features.norm(dim=-1, keepdim=True)).half().cpu().numpy()

    def run(tars: str, out: str) -> None:
        keys, blocks, waiting = [], [], []
        for tar in sorted(Path(tars).glob("*.tar")):
            with tarfile.open(tar) as archive:
                for member in archive:
                    data = io.BytesIO(archive.extractfile(member).read())
                    waiting.append(preprocess(Image.open(data)))
                    keys.append(member.name.partition(".")[0])
                    if len(waiting) == BATCH:
                        blocks.append(encode(waiting))
                        waiting = []
        if waiting:
            blocks.append(encode(waiting))
        save(out, keys, np.concatenate(blocks))

    encode([preprocess(Image.new("RGB", (300, 300)))] * 2)  # warm-up
    return run


def float32_way(model: str, weights: str) -> Callable[[str, str], None]:
    """open_clip's loop, unchanged."""
    return plain_loop(model, weights, None)


def autocast_way(model: str, weights: str) -> Callable[[str, str], None]:
    """The same loop under ``torch.autocast``."""
    return plain_loop(model, weights, "bfloat16")


def laion_dask_way(model: str, weights: str) -> Callable[[str, str], None]:
    """``ld.embed``, which also scans the tars first and writes metadata, rejects and a manifest."""
    import pyarrow.parquet as pq
    from PIL import Image

    import laion_dask as ld

    spec = ld.ClipModel(model, weights)
    spec.recipe()  # computes the digest of the weights, once per process
    loaded = spec.load(spec.fastest_precision())
    loaded.images([loaded.prepare(Image.new("RGB", (300, 300)))] * 2)

    def run(tars: str, out: str) -> None:
        result = ld.embed(tars, Path(out) / "layout", spec, batch_size=BATCH, progress=False)
        blocks = [np.load(file) for file in sorted(result.img_emb.glob("*.npy"))]
        tables = [pq.read_table(file) for file in sorted(result.metadata.glob("*"))]
        keys = [key for table in tables for key in table["key"].to_pylist()]
        save(out, keys, np.concatenate(blocks))

    return run


def clip_retrieval_way(model: str, weights: str) -> Callable[[str, str], None]:
    """clip-retrieval's ``clip_inference``, with texts disabled."""
    import pandas as pd
    from all_clip import load_clip
    from clip_retrieval.clip_inference.main import main

    name = f"open_clip:{model}/{os.path.abspath(weights)}"
    # Its reader and its mapper make the same call, whose result is cached.
    load_clip(clip_model=name, use_jit=False, warmup_batch_size=BATCH, clip_cache_path=None)

    def run(tars: str, out: str) -> None:
        files = sorted(map(str, Path(tars).glob("*.tar")))
        main(
            files[0][: -len("00000.tar")] + "{" + ",".join(Path(f).name for f in files) + "}",
            str(Path(out) / "layout"),
            input_format="webdataset",
            output_partition_count=1,
            batch_size=BATCH,
            num_prepro_workers=len(os.sched_getaffinity(0)),
            enable_text=False,
            clip_model=name,
        )
        blocks = [np.load(file) for file in sorted(Path(out).glob("layout/img_emb/*.npy"))]
        tables = [pd.read_parquet(file) for file in sorted(Path(out).glob("layout/metadata/*"))]
        keys = [str(key) for table in tables for key in table["image_path"]]
        save(out, keys, np.concatenate(blocks))

    return run


WAYS = {
    "open_clip loop": float32_way,
    "open_clip loop, autocast": autocast_way,
    "clip-retrieval": clip_retrieval_way,
    "laion_dask": laion_dask_way,
}


def save(out: str, keys: list[str], embeddings: np.ndarray) -> None:
    """Write the arrays that are compared."""
    np.savez(Path(out) / "embeddings.npz", keys=np.array(keys), embeddings=embeddings)


def usage(field: str) -> list[float]:
    """One measure of resource usage, for this process and for its finished children."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return [getattr(resource.getrusage(who), field) for who in whose]


def run(way: str, tars: str, model: str, weights: str, out: str) -> dict:
    """Run one contender: wall, CPU and loading seconds, and peak memory in bytes."""
    import torch

    if not torch.cuda.is_available() and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
        torch.set_num_threads(CORES)
    Path(out).mkdir(parents=True)
    start = time.perf_counter()
    embed = WAYS[way](model, weights)
    loaded, cpu = time.perf_counter(), sum(usage("ru_utime")) + sum(usage("ru_stime"))
    embed(tars, out)
    return {
        "wall_s": time.perf_counter() - loaded,
        "cpu_s": sum(usage("ru_utime")) + sum(usage("ru_stime")) - cpu,
        "load_s": loaded - start,
        "peak_bytes": max(usage("ru_maxrss")) * (1 if sys.platform == "darwin" else 1024),
        "gpu_bytes": torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0,
    }


if __name__ == "__main__":
    # Some contenders end their output without a newline.
    print("\n" + json.dumps(run(*sys.argv[1:])))
