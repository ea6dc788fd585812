"""Input, stage timings and comparison of results for the embedding benchmark.

Each runs in its own process, like the contenders.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SHARDS = 8
SEED = 0
BATCH = 64
STAGE_IMAGES = 128


def prepare(data: str, source: str, model: str, n_images: int) -> dict:
    """Write random weights and tars of ``n_images`` from the source, repeated, if missing."""
    root = Path(data) / f"embed-{n_images}"
    tars = [root / f"{number:05d}.tar" for number in range(SHARDS)]
    if not all(tar.is_file() for tar in tars):
        root.mkdir(parents=True, exist_ok=True)
        images = [image for tar in sorted(Path(source).glob("*.tar")) for image in images_of(tar)]
        for number, tar in enumerate(tars):
            with tarfile.open(tar, "w") as archive:
                for at in range(number, n_images, SHARDS):
                    data_ = images[at % len(images)][1]
                    info = tarfile.TarInfo(f"{at:08d}.jpg")
                    info.size = len(data_)
                    archive.addfile(info, io.BytesIO(data_))
    weights = Path(data) / f"{model}-seed{SEED}.safetensors"
    if not weights.is_file():
        write_weights(model, weights)
    for file in (*tars, weights):
        file.read_bytes()
    return {"tars": str(root), "weights": str(weights)}


def write_weights(model: str, path: Path) -> None:
    """Write open_clip's initial weights for a fixed seed."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(SEED)
    state = open_clip.create_model(model).state_dict()
    partial = path.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, partial)
    partial.rename(path)


def images_of(tar: Path) -> list[tuple[str, bytes]]:
    """(key, bytes) of every image in a tar."""
    with tarfile.open(tar) as archive:
        return [
            (member.name.partition(".")[0], archive.extractfile(member).read())
            for member in archive
            if member.isfile() and member.name.lower().endswith((".jpg", ".jpeg", ".png", ".webp"))
        ]


def rate(work: Callable[[], object], n: int, *, repeats: int = 3) -> float:
    """Items per second in the fastest of ``repeats`` runs, after one warm-up run."""
    work()
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return n / min(took)


def stages(tars: str, model: str, weights: str) -> dict[str, float]:
    """Images per second of each single stage; the model uses all cores, the others one."""
    import open_clip
    import torch
    from PIL import Image

    from laion_dask.io.images import decoding
    from laion_dask.models import ClipModel

    files = [data for _, data in images_of(Path(tars, "00000.tar"))]
    files = (files * (STAGE_IMAGES // len(files) + 1))[:STAGE_IMAGES]
    decoded = [decoding.decode(data) for data in files]
    net, _, transform = open_clip.create_model_and_transforms(model, weights)
    spec = ClipModel(model, weights)
    ours = spec.load(spec.fastest_precision())
    device = "cuda" if ours.on_gpu else "cpu"
    net = net.eval().to(device)
    batch = torch.stack([transform(picture) for picture in decoded[:BATCH]])
    prepared = [ours.prepare(picture) for picture in decoded[:BATCH]]
    rates = {
        "decode, Pillow, one core": rate(
            lambda: [Image.open(io.BytesIO(data)).convert("RGB") for data in files], STAGE_IMAGES
        ),
        "preprocess, open_clip, one core": rate(
            lambda: [transform(picture) for picture in decoded], STAGE_IMAGES
        ),
        "preprocess, laion_dask, one core": rate(
            lambda: [ours.prepare(picture) for picture in decoded], STAGE_IMAGES
        ),
    }

    def forward(dtype=None):
        with torch.no_grad(), torch.autocast(device, dtype, enabled=dtype is not None):
            return net.encode_image(batch.to(device)).cpu()

    rates["forward, float32"] = rate(forward, BATCH)
    rates["forward, autocast to bfloat16"] = rate(lambda: forward(torch.bfloat16), BATCH)
    name = f"forward, laion_dask, {spec.fastest_precision()}"
    rates[name] = rate(lambda: ours.images(prepared), BATCH)
    return rates


def compare(*outs: str) -> dict[str, float]:
    """The minimum cosine between the rows of each output and those of the first."""
    first, *others = (np.load(Path(out) / "embeddings.npz") for out in outs)
    reference = dict(zip(first["keys"].tolist(), first["embeddings"].astype("f8"), strict=True))
    least = {}
    for out, other in zip(outs[1:], others, strict=True):
        if sorted(other["keys"].tolist()) != sorted(reference):
            raise SystemExit(
                f"{Path(out).name} and {Path(outs[0]).name} embedded different images."
            )
        one = np.stack([reference[key] for key in other["keys"].tolist()])
        two = other["embeddings"].astype("f8")
        cosine = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
        least[Path(out).name] = float(cosine.min())
    return least


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    if task == "prepare":
        print(json.dumps(prepare(*arguments[:3], int(arguments[3]))))
    else:
        print(json.dumps({"stages": stages, "compare": compare}[task](*arguments)))
