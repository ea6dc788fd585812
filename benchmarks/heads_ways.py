"""Ways to score the same embeddings; each runs in its own process on exactly two cores.

``python heads_ways.py HEAD WAY ROWS_FILE OUT ROWS`` scores a file of embeddings, writes the scores
to OUT and prints one line of JSON: time and memory, with imports, weights and a first small run
timed separately. ``python heads_ways.py prepare FOLDER ROWS`` generates the rows and a linear head,
once.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from carve_ways import CORES, cpu_seconds, peak_bytes

DIM = 768
DETECTOR = "clip_autokeras_binary_nsfw.zip"
LINEAR = "linear-768.safetensors"
BLOCK = 1024  # rows per batch

Score = Callable[[np.ndarray], np.ndarray]


def prepare(folder: str, rows: int) -> str:
    """Write unit float16 rows to a ``.npy`` file, drawn with the detector's means and deviations.

    Looked-up inputs are drawn from their vocabularies, so that look-ups succeed.
    """
    path = Path(folder) / f"embeddings-{rows}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        draw, nsfw = np.random.default_rng(0), detector()
        part = path.with_name(path.name + ".part")
        out = np.lib.format.open_memmap(part, "w+", np.float16, (rows, DIM))
        deviation = np.sqrt(nsfw.variance)
        for at in range(0, rows, 1 << 14):
            x = draw.standard_normal((min(1 << 14, rows - at), DIM), np.float32)
            x = x * deviation + nsfw.mean
            for dim, (keys, _) in nsfw.vocabularies.items():
                x[:, dim] = draw.choice(keys, len(x)) * 1e-6
            others = [d for d in range(DIM) if d not in nsfw.vocabularies]
            kept = np.square(x[:, list(nsfw.vocabularies)]).sum(axis=1)
            scale = np.sqrt((1 - kept) / np.square(x[:, others]).sum(axis=1))
            x[:, others] *= scale[:, None]
            out[at : at + len(x)] = x
        out.flush()
        part.rename(path)
    write_linear(Path(folder) / LINEAR)
    return str(path)


def write_linear(path: Path) -> None:
    """Write a linear head with random weights."""
    import torch
    from safetensors.torch import save_file

    weight = torch.randn(1, DIM, generator=torch.Generator().manual_seed(0))
    save_file({"weight": weight, "bias": torch.ones(1)}, path)


def detector():
    """LAION's detector for ViT-L-14, from the published file."""
    from laion_dask.models import weights
    from laion_dask.models.tf_saved_model import read_detector

    return read_detector(weights.find(DETECTOR))


def looked_up(x, vocabularies: dict):
    """Replace the looked-up inputs of float32 rows, in place, by bisection."""
    import torch

    for dim, (keys, values) in vocabularies.items():
        keys, values = torch.from_numpy(keys), torch.from_numpy(values)
        inputs = (x[:, dim].double() * 1e6).round().long()
        at = torch.searchsorted(keys, inputs).clamp(max=len(keys) - 1)
        x[:, dim] = torch.where(keys[at] == inputs, values[at], 0).float()
    return x


def sequential(nsfw):
    """The detector in straightforward torch, without its look-ups."""
    import torch

    class Normalise(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = torch.tensor(nsfw.mean)
            self.deviation = torch.from_numpy(np.maximum(np.sqrt(nsfw.variance), 1e-7))

        def forward(self, x):
            return (x - self.mean) / self.deviation

    network = torch.nn.Sequential(Normalise())
    for kernel, bias in nsfw.layers:
        layer = torch.nn.Linear(*kernel.shape)
        layer.weight.data, layer.bias.data = torch.tensor(kernel.T), torch.tensor(bias)
        network.extend([layer, torch.nn.ReLU()])
    network[-1] = torch.nn.Sigmoid()
    return network


def torch_shard() -> Score:
    """``nn.Sequential`` in float32 over the whole shard."""
    import torch

    torch.set_num_threads(CORES)
    nsfw = detector()
    network = sequential(nsfw)

    def run(rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(rows).float()
            return network(looked_up(x, nsfw.vocabularies))[:, 0].numpy()

    return run


def torch_blocks() -> Score:
    """The same in batches."""
    whole = torch_shard()
    return lambda rows: np.concatenate(
        [whole(rows[at : at + BLOCK]) for at in range(0, len(rows), BLOCK)]
    )


def onnx_blocks() -> Score:
    """onnxruntime in batches, with the normalization folded into the first layer."""
    import onnxruntime
    import torch
    from heads_onnx import folded_model

    nsfw = detector()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = CORES
    session = onnxruntime.InferenceSession(
        folded_model(nsfw), options, providers=["CPUExecutionProvider"]
    )

    def run(rows: np.ndarray) -> np.ndarray:
        out = np.empty(len(rows), np.float32)
        for at in range(0, len(rows), BLOCK):
            x = looked_up(torch.from_numpy(rows[at : at + BLOCK]).float(), nsfw.vocabularies)
            out[at : at + BLOCK] = session.run(None, {"x": x.numpy()})[0][:, 0]
        return out

    return run


def ours_nsfw(precision: str) -> Callable[[], Score]:
    """``ld.heads.nsfw(…).predict``."""

    def make() -> Score:
        import laion_dask as ld

        return ld.heads.nsfw("ViT-L-14", precision=precision).predict

    return make


def products_only() -> Score:
    """No head: the products of the network's layers in bfloat16, with two threads."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    torch.set_num_threads(1)
    shapes = [(DIM, 64), (64, 512), (512, 256), (256, 1)]
    layers = [torch.ones(BLOCK, *shape[:1]).bfloat16() for shape in shapes]
    weights = [torch.ones(shape).bfloat16() for shape in shapes]

    def multiply(count: int) -> None:
        outs = [torch.empty(BLOCK, shape[1], dtype=torch.bfloat16) for shape in shapes]
        for _ in range(count):
            for rows, weight, out in zip(layers, weights, outs, strict=True):
                torch.mm(rows, weight, out=out)

    def run(rows: np.ndarray) -> np.ndarray:
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(multiply, [-(-len(rows) // BLOCK // CORES)] * CORES))
        return np.zeros(len(rows), np.float32)

    return run


def read_only() -> Score:
    """No head: reads every byte of the file once, with two threads."""
    from concurrent.futures import ThreadPoolExecutor

    def run(rows: np.ndarray) -> np.ndarray:
        words = rows.reshape(-1).view(np.uint64)
        step = 1 << 17  # 1 MiB

        def touch(thread: int) -> int:
            starts = range(thread * step, len(words), CORES * step)
            return sum(int(np.bitwise_or.reduce(words[at : at + step])) for at in starts)

        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(touch, range(CORES)))
        return np.zeros(len(rows), np.float32)

    return run


def linear_weights() -> tuple[np.ndarray, float]:
    """Weight (768,) float32 and bias of the linear head."""
    from safetensors.numpy import load_file

    tensors = load_file(Path(sys.argv[3]).with_name(LINEAR))
    return tensors["weight"][0], float(tensors["bias"][0])


def torch_half() -> Score:
    """torch's float16 matrix-vector product with rounded weights; assumes unit rows."""
    import torch

    torch.set_num_threads(CORES)
    weight, bias = linear_weights()
    weight = torch.from_numpy(weight).half()
    return lambda rows: (torch.from_numpy(rows) @ weight).float().numpy() + bias


def numkong_half() -> Score:
    """numkong's float16 product on two threads with rounded weights; assumes unit rows."""
    from concurrent.futures import ThreadPoolExecutor

    import numkong

    weight, bias = linear_weights()
    weight = weight.astype(np.float16)

    def run(rows: np.ndarray) -> np.ndarray:
        out, step = np.empty(len(rows), np.float32), 8192

        def score_batch(at: int) -> None:
            out[at : at + step] = np.asarray(numkong.dot(rows[at : at + step], weight))

        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(score_batch, range(0, len(rows), step)))
        return out + np.float32(bias)

    return run


def ours_linear(precision: str) -> Callable[[], Score]:
    """``ld.heads.aesthetic(…).predict``, which also scales rows to length 1."""

    def make() -> Score:
        import laion_dask as ld

        path = Path(sys.argv[3]).with_name(LINEAR)
        return ld.heads.aesthetic("ViT-L-14", weights=path, precision=precision).predict

    return make


HEADS = {
    "nsfw": {
        "torch, whole shard": torch_shard,
        "torch, blocks": torch_blocks,
        "onnxruntime, blocks": onnx_blocks,
        "laion_dask float32": ours_nsfw("float32"),
        "laion_dask bfloat16": ours_nsfw("bfloat16"),
        "products only": products_only,
    },
    "linear": {
        "read only": read_only,
        "torch float16": torch_half,
        "numkong float16": numkong_half,
        "laion_dask float32": ours_linear("float32"),
        "laion_dask float16": ours_linear("float16"),
    },
}


def main() -> None:
    """Prepare the rows, or run one contender; print the result as JSON."""
    if sys.argv[1] == "prepare":
        print(json.dumps(prepare(sys.argv[2], int(sys.argv[3]))))
        return
    head, way, source, out, rows = sys.argv[1:6]
    started = time.perf_counter()
    score = HEADS[head][way]()
    x = np.load(source, mmap_mode="c")[: int(rows)]
    score(x[:4096])
    imports = time.perf_counter() - started
    cpu, started = cpu_seconds(), time.perf_counter()
    scores = score(x)
    took = time.perf_counter() - started
    used = cpu_seconds() - cpu
    np.save(out, scores)
    result = {"wall_s": took, "cpu_s": used, "peak_bytes": peak_bytes(), "import_s": imports}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
