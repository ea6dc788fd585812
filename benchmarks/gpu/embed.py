"""Time CLIP on a GPU by stage: decode, preprocess, forward pass, and `ld.embed` end to end.

    python benchmarks/gpu/embed.py
    python benchmarks/gpu/embed.py --models ViT-B-32 --images 4096

Weights are open_clip's initial ones for a fixed seed, and images are generated JPEG files; nothing
is downloaded. The slowest stage limits the speed of an embedding run.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import ceilings
import cpu_path
import environment
from report import OURS, Report, arguments, number, scratch, share, table, target
from timing import Runs, device_seconds, in_turn, is_cuda

SEED, DISTINCT, TARS, JPEG_BYTES = 0, 512, 16, 60_000
MODELS, BATCH, ON_CPU = ("ViT-B-32", "ViT-L-14"), 1024, 512
WANTED = 30_000
DECODE, PREPARE = "decode, Pillow, all cores", "preprocess, all cores"
BOTH, NVJPEG = "decode and preprocess, all cores", "decode, nvJPEG, GPU"
RESIZED = "decode and resize, nvJPEG and torch, GPU"
SENT, FORWARD = "pixels to the GPU, at the peak rate", "forward, bf16, GPU"
IMAGES, VERB = f"{OURS}: images(…), one thread", f"{OURS}, ld.embed"
CPU = f"{OURS}, no GPU"


def jpeg(number_: int) -> bytes:
    """A JPEG file of 256 to 512 pixels a side: gradients and noise, about as large as a photo."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(number_)
    height, width = draw.integers(256, 513, 2)
    y, x = np.mgrid[0:height, 0:width][:, :, :, None] / 512
    slopes, phases = draw.uniform(-9, 9, (2, 3)), draw.uniform(0, 6, 3)
    waves = 128 + 90 * np.sin(x * slopes[0] + y * slopes[1] + phases)
    pixels = (waves + draw.normal(0, 9, waves.shape)).clip(0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=90)
    return out.getvalue()


def every(work: Callable, items: list) -> list:
    """Map ``work`` over the items on all cores; Pillow releases the GIL while it computes."""
    with ThreadPoolExecutor(environment.cores()) as pool:
        return list(pool.map(work, items))


def write_tars(folder: Path, files: list[bytes], n: int) -> None:
    """Write ``n`` images into tars, repeating the given files."""
    folder.mkdir(parents=True)
    for shard in range(min(TARS, n)):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as archive:
            for at in range(shard, n, TARS):
                info = tarfile.TarInfo(f"{at:08d}.jpg")
                info.size = len(files[at % len(files)])
                archive.addfile(info, io.BytesIO(files[at % len(files)]))


def write_weights(model: str, folder: Path) -> Path:
    """Write open_clip's initial weights for a fixed seed."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(SEED)
    state = open_clip.create_model(model).state_dict()
    path = folder / f"{model}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def vision_flops(vision: dict, dim: int) -> int:
    """Operations per image of a vision transformer, from open_clip's configuration.

    A multiply-add counts as two. Each layer multiplies every token by 4 width**2 weights
    (attention) and 2 ratio width**2 weights (MLP), and takes two products over the width for each
    pair of tokens. The patch embedding comes first; the projection of one token comes last.
    """
    width, patch = vision["width"], vision["patch_size"]
    patches = (vision["image_size"] // patch) ** 2
    tokens = patches + 1
    weights = (4 + 2 * vision.get("mlp_ratio", 4.0)) * width**2
    layer = tokens * weights + 2 * tokens**2 * width
    return int(2 * (vision["layers"] * layer + patches * width * 3 * patch**2 + width * dim))


def forward_rate(model: str, weights: Path, device: str, batch: int, repeats: int) -> float:
    """Images per second of open_clip's image tower in bfloat16, pixels already on the GPU."""
    import open_clip
    import torch

    net = open_clip.create_model(model, pretrained=str(weights)).eval().to(device, torch.bfloat16)
    side = open_clip.get_model_config(model)["vision_cfg"]["image_size"]
    pixels = torch.randn((batch, 3, side, side), device=device).bfloat16()
    with torch.inference_mode():
        took = device_seconds(lambda: net.encode_image(pixels), device, repeats=repeats)
    return batch / sorted(took)[len(took) // 2]


def host_ways(files: list[bytes], prepare: Callable) -> dict[str, Callable[[], object]]:
    """Decoding and preprocessing as in laion_dask, on all cores."""
    from laion_dask.io.images import decoding

    decoded = every(decoding.decode, files)
    return {
        DECODE: lambda: every(decoding.decode, files) and None,
        PREPARE: lambda: every(prepare, decoded) and None,
        BOTH: lambda: every(lambda data: prepare(decoding.decode(data)), files) and None,
    }


def gpu_ways(files: list[bytes], side: int, device: str) -> dict[str, Callable[[], object]]:
    """Decoding on the GPU by nvJPEG, alone and with resizing; laion_dask does neither."""
    import numpy as np
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as f

    data = [torch.from_numpy(np.frombuffer(file, np.uint8).copy()) for file in files]
    bicubic = {"interpolation": InterpolationMode.BICUBIC, "antialias": True}

    def decode() -> list:
        return decode_jpeg(data, mode=ImageReadMode.RGB, device=device)

    def resize() -> None:
        for picture in decode():
            f.center_crop(f.resize(picture, [side], **bicubic), [side, side])

    return {NVJPEG: lambda: decode() and None, RESIZED: resize}


def stages(files: list[bytes], model: str, weights: Path, device: str, peak, repeats: int) -> dict:
    """The runs of the stages measured in wall time, and the images per second of every stage."""
    import open_clip

    import laion_dask as ld

    spec = ld.ClipModel(model, str(weights), device=device)
    loaded = spec.load("bfloat16")
    side = open_clip.get_model_config(model)["vision_cfg"]["image_size"]
    ways = host_ways(files, loaded.prepare)
    if is_cuda(device):
        ways |= gpu_ways(files, side, device)
    decoded = every(loaded.decode, files)
    prepared = every(loaded.prepare, decoded)
    ways[IMAGES] = partial(loaded.images, prepared)
    runs = in_turn(ways, device, repeats=repeats)
    rates = {name: len(files) / each.median for name, each in runs.items()}
    rates[SENT] = peak.to_gpu / (side * side * 3)
    batch = min(BATCH, 2 * len(files))
    rates[FORWARD] = forward_rate(model, weights, device, batch, repeats)
    return {"runs": runs, "rates": rates}


def verb(tars: Path, model: str, weights: Path, out: Path) -> Callable[[], object]:
    """``ld.embed`` into a new folder on each call, in its default precision."""
    from itertools import count

    import laion_dask as ld

    spec, numbers = ld.ClipModel(model, str(weights)), count()

    def run():
        target_ = out / f"{model}-{next(numbers)}"
        return ld.embed(tars, target_, spec, batch_size=256, progress=False).n_kept

    return run


def cpu_ways(folder: Path) -> dict[str, Callable[[], object]]:
    """Contenders that `cpu_path` runs: fewer images, and only the first model."""
    model = MODELS[0]
    weights = folder / f"{model}.safetensors"
    return {model: verb(folder / "few", model, weights, folder / "without-gpu")}


def measure(folder: Path, models: list[str], n: int, repeats: int, device: str, peak) -> dict:
    """The images per second of each stage and of the whole, for each model."""
    files = every(jpeg, list(range(min(n, DISTINCT))))
    write_tars(folder / "tars", files, n)
    write_tars(folder / "few", files, min(n, ON_CPU))
    results = {}
    for model in models:
        weights = write_weights(model, folder)
        each = stages(files, model, weights, device, peak, repeats)
        whole = {VERB: verb(folder / "tars", model, weights, folder / "out")}
        each["runs"] |= in_turn(whole, device, repeats=min(repeats, 3))
        each["rates"][VERB] = n / each["runs"][VERB].median
        kept = each["runs"][VERB].result
        each["lost"] = None if kept is None else n - kept
        results[model] = each
    few = min(n, ON_CPU)
    cpu = cpu_path.measured("embed", folder) if MODELS[0] in models else "not requested"
    rate = float("nan") if isinstance(cpu, str) else few / Runs(cpu[MODELS[0]]).median
    return {"models": results, "cpu": rate, "cpu_error": cpu if isinstance(cpu, str) else ""}


def slowest(rates: dict[str, float], stages_: tuple[str, ...] = (BOTH, SENT, FORWARD)) -> str:
    """The slowest of the stages that a run consists of."""
    known = [name for name in stages_ if rates[name] == rates[name]]
    return min(known, key=lambda name: rates[name])


def why(rates: dict[str, float]) -> str:
    """A sentence that names the bottleneck."""
    name = slowest(rates)
    return (
        f"The slowest stage is *{name}* at {rates[name]:,.0f} images/s, which no complete "
        f"run can exceed. {VERB} reaches {number(rates[VERB]) or 'nothing'}, "
        f"{share(rates[VERB], rates[name]) or 'none'} of it."
    )


def lines(rates: dict[str, float], operations: int, peak) -> list[list[str]]:
    """One table row per stage."""
    forward = rates[FORWARD]
    on_product = (FORWARD, IMAGES, VERB)
    return [
        [
            name,
            number(rate),
            share(rate, forward),
            share(rate * operations, peak.matmul) if name in on_product else "",
        ]
        for name, rate in rates.items()
    ]


def targets(results: dict) -> list[dict]:
    """The targets, with the values reached."""
    wanted, models = [], results["models"]
    if MODELS[0] in models:
        rate = models[MODELS[0]]["rates"][VERB]
        wanted += [
            target(
                f"{MODELS[0]} with decoding: at least {WANTED:,} images/s", rate, at_least=WANTED
            ),
            target(f"{MODELS[0]}: not slower than {CPU}", rate / results["cpu"], at_least=1.0),
        ]
    for model, each in models.items():
        lost = float("nan") if each["lost"] is None else each["lost"]
        wanted.append(target(f"{model}: no image is lost", lost, at_most=0))
    return wanted


def report(results: dict, n: int, peak: ceilings.Ceilings) -> Report:
    """The tables, the targets, and the bottleneck."""
    import open_clip

    head = ["stage", "images/s", "of the forward pass", "of bf16 product"]
    tables, notes = {}, []
    for model, each in results["models"].items():
        config = open_clip.get_model_config(model)
        operations = vision_flops(config["vision_cfg"], config["embed_dim"])
        tables[f"{model}, {operations / 1e9:.1f} GFLOP per image"] = table(
            head, lines(each["rates"], operations, peak)
        )
        notes.append(f"{model}: {why(each['rates'])}")
    cpu = results["cpu_error"] or f"{results['cpu']:.1f} images/s"
    notes.append(f"{CPU}, {MODELS[0]}, {min(n, ON_CPU)} images: {cpu}.")
    return Report(
        name="embed",
        title=f"Embed {n:,} JPEG files on a GPU",
        about=environment.about(),
        ceilings=peak,
        tables=tables,
        targets=targets(results),
        notes=notes,
        runs={
            f"{name}: {model}": r
            for model, each in results["models"].items()
            for name, r in each["runs"].items()
        },
        figures={"images": n, "rates": {m: each["rates"] for m, each in results["models"].items()}},
        wrong=any(each["lost"] for each in results["models"].values()),
    )


def main() -> int:
    """Measure, compare, report; return 1 if an image was lost."""
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=16_384)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    args = parser.parse_args()
    environment.require("open_clip", "torchvision")
    peak = ceilings.measure("cuda")
    with scratch(args.data, args.images * JPEG_BYTES + 3_000_000_000) as folder:
        results = measure(Path(folder), args.models, args.images, args.repeats, "cuda", peak)
    return report(results, args.images, peak).write(args.results)


if __name__ == "__main__":
    raise SystemExit(main())
