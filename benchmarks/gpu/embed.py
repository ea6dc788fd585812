"""CLIP on a card, stage by stage: decode, preprocess, forward pass, and `ld.embed` end to end.

    python benchmarks/gpu/embed.py
    python benchmarks/gpu/embed.py --models ViT-B-32 --images 4096

Weights are open_clip's initial ones by a fixed seed, images are generated JPEG files, so nothing is
fetched. The slowest stage is what an embedding run waits for.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import card
import ceilings
import cpu_path
from report import OURS, Report, arguments, number, scratch, share, table, target
from timing import Runs, in_turn, is_cuda, on_card

SEED, DISTINCT, TARS, JPEG_BYTES = 0, 512, 16, 60_000
MODELS, BATCH, ON_CPU = ("ViT-B-32", "ViT-L-14"), 1024, 512
WANTED = 30_000
DECODE, PREPARE = "decode, Pillow, all cores", "preprocess, all cores"
BOTH, NVJPEG = "decode and preprocess, all cores", "decode, nvJPEG, card"
RESIZED = "decode and resize, nvJPEG and torch, card"
SENT, FORWARD = "pixels to the card, at its ceiling", "forward, bf16, card"
IMAGES, VERB = f"{OURS}: images(…), one thread", f"{OURS}, ld.embed"
CPU = f"{OURS}, no card"


def jpeg(number_: int) -> bytes:
    """A JPEG file of 256 to 512 pixels a side: gradients and noise, which weigh as photos do."""
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
    """The work on each item, on all cores; Pillow lets other threads run while it computes."""
    with ThreadPoolExecutor(card.cores()) as pool:
        return list(pool.map(work, items))


def write_tars(folder: Path, files: list[bytes], n: int) -> None:
    """``n`` images in archives, those given repeated."""
    folder.mkdir(parents=True)
    for shard in range(min(TARS, n)):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as archive:
            for at in range(shard, n, TARS):
                info = tarfile.TarInfo(f"{at:08d}.jpg")
                info.size = len(files[at % len(files)])
                archive.addfile(info, io.BytesIO(files[at % len(files)]))


def write_weights(model: str, folder: Path) -> Path:
    """open_clip's own initial weights, by seed."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(SEED)
    state = open_clip.create_model(model).state_dict()
    path = folder / f"{model}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def vision_flops(vision: dict, dim: int) -> int:
    """Operations of one image through a vision transformer as open_clip describes it.

    A product and a sum are two. In every layer 4 width**2 weights for attention and
    2 ratio width**2 for its network meet every token, and every two tokens meet twice over the
    width; before them the patches, behind them the projection of one token.
    """
    width, patch = vision["width"], vision["patch_size"]
    patches = (vision["image_size"] // patch) ** 2
    tokens = patches + 1
    weights = (4 + 2 * vision.get("mlp_ratio", 4.0)) * width**2
    layer = tokens * weights + 2 * tokens**2 * width
    return int(2 * (vision["layers"] * layer + patches * width * 3 * patch**2 + width * dim))


def forward_rate(model: str, weights: Path, device: str, batch: int, repeats: int) -> float:
    """Images a second of open_clip's own image tower in bfloat16, pixels on the card already."""
    import open_clip
    import torch

    net = open_clip.create_model(model, pretrained=str(weights)).eval().to(device, torch.bfloat16)
    side = open_clip.get_model_config(model)["vision_cfg"]["image_size"]
    pixels = torch.randn((batch, 3, side, side), device=device).bfloat16()
    with torch.inference_mode():
        took = on_card(lambda: net.encode_image(pixels), device, repeats=repeats)
    return batch / sorted(took)[len(took) // 2]


def host_ways(files: list[bytes], prepare: Callable) -> dict[str, Callable[[], object]]:
    """Decoding and preprocessing as laion_dask does them, on all cores."""
    from laion_dask.io.images import decoding

    decoded = every(decoding.decode, files)
    return {
        DECODE: lambda: every(decoding.decode, files) and None,
        PREPARE: lambda: every(prepare, decoded) and None,
        BOTH: lambda: every(lambda data: prepare(decoding.decode(data)), files) and None,
    }


def card_ways(files: list[bytes], side: int, device: str) -> dict[str, Callable[[], object]]:
    """Decoding on the card by nvJPEG, alone and with resizing there, which laion_dask does not."""
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


def stages(files: list[bytes], model: str, weights: Path, device: str, made, repeats: int) -> dict:
    """The runs of the stages that are timed by the clock, and images a second of every stage."""
    import open_clip

    import laion_dask as ld

    spec = ld.ClipModel(model, str(weights), device=device)
    loaded = spec.load("bfloat16")
    side = open_clip.get_model_config(model)["vision_cfg"]["image_size"]
    ways = host_ways(files, loaded.prepare)
    if is_cuda(device):
        ways |= card_ways(files, side, device)
    decoded = every(loaded.decode, files)
    prepared = every(loaded.prepare, decoded)
    ways[IMAGES] = partial(loaded.images, prepared)
    runs = in_turn(ways, device, repeats=repeats)
    rates = {name: len(files) / each.median for name, each in runs.items()}
    rates[SENT] = made.to_card / (side * side * 3)
    batch = min(BATCH, 2 * len(files))
    rates[FORWARD] = forward_rate(model, weights, device, batch, repeats)
    return {"runs": runs, "rates": rates}


def verb(tars: Path, model: str, weights: Path, out: Path) -> Callable[[], object]:
    """``ld.embed`` into a new folder each time, in the precision that it takes by itself."""
    from itertools import count

    import laion_dask as ld

    spec, numbers = ld.ClipModel(model, str(weights)), count()

    def run():
        target_ = out / f"{model}-{next(numbers)}"
        return ld.embed(tars, target_, spec, batch_size=256, progress=False).n_kept

    return run


def cpu_ways(folder: Path) -> dict[str, Callable[[], object]]:
    """For `cpu_path`: fewer images, and the first model alone."""
    model = MODELS[0]
    weights = folder / f"{model}.safetensors"
    return {model: verb(folder / "few", model, weights, folder / "without-card")}


def measure(folder: Path, models: list[str], n: int, repeats: int, device: str, made) -> dict:
    """For each model the rates of its stages and of the whole, in images a second."""
    files = every(jpeg, list(range(min(n, DISTINCT))))
    write_tars(folder / "tars", files, n)
    write_tars(folder / "few", files, min(n, ON_CPU))
    found = {}
    for model in models:
        weights = write_weights(model, folder)
        each = stages(files, model, weights, device, made, repeats)
        whole = {VERB: verb(folder / "tars", model, weights, folder / "out")}
        each["runs"] |= in_turn(whole, device, repeats=min(repeats, 3))
        each["rates"][VERB] = n / each["runs"][VERB].median
        kept = each["runs"][VERB].result
        each["lost"] = None if kept is None else n - kept
        found[model] = each
    few = min(n, ON_CPU)
    cpu = cpu_path.measured("embed", folder) if MODELS[0] in models else "not asked for"
    rate = float("nan") if isinstance(cpu, str) else few / Runs(cpu[MODELS[0]]).median
    return {"models": found, "cpu": rate, "cpu_error": cpu if isinstance(cpu, str) else ""}


def slowest(rates: dict[str, float], stages_: tuple[str, ...] = (BOTH, SENT, FORWARD)) -> str:
    """Which of the stages that a run goes through is the slowest."""
    known = [name for name in stages_ if rates[name] == rates[name]]
    return min(known, key=lambda name: rates[name])


def why(rates: dict[str, float]) -> str:
    """In words: what the whole waits for."""
    name = slowest(rates)
    return (
        f"The slowest stage is *{name}* at {rates[name]:,.0f} images/s: no run that goes through "
        f"it is faster. {VERB} reaches {number(rates[VERB]) or 'nothing'}, "
        f"{share(rates[VERB], rates[name]) or 'none'} of it."
    )


def lines(rates: dict[str, float], operations: int, made) -> list[list[str]]:
    """A line of a table for each stage."""
    forward = rates[FORWARD]
    on_product = (FORWARD, IMAGES, VERB)
    return [
        [
            name,
            number(rate),
            share(rate, forward),
            share(rate * operations, made.matmul) if name in on_product else "",
        ]
        for name, rate in rates.items()
    ]


def targets(found: dict) -> list[dict]:
    """What was asked, what was reached."""
    wanted, models = [], found["models"]
    if MODELS[0] in models:
        rate = models[MODELS[0]]["rates"][VERB]
        wanted += [
            target(f"{MODELS[0]} with decode: images/s, {WANTED:,} or more", rate, at_least=WANTED),
            target(f"{MODELS[0]}: not slower than {CPU}", rate / found["cpu"], at_least=1.0),
        ]
    for model, each in models.items():
        lost = float("nan") if each["lost"] is None else each["lost"]
        wanted.append(target(f"{model}: images that were not embedded, none", lost, at_most=0))
    return wanted


def report(found: dict, n: int, made: ceilings.Ceilings) -> Report:
    """The tables, the targets, and what the whole waits for."""
    import open_clip

    head = ["stage", "images/s", "of the forward pass", "of bf16 product"]
    tables, notes = {}, []
    for model, each in found["models"].items():
        config = open_clip.get_model_config(model)
        operations = vision_flops(config["vision_cfg"], config["embed_dim"])
        tables[f"{model}, {operations / 1e9:.1f} GFLOP an image"] = table(
            head, lines(each["rates"], operations, made)
        )
        notes.append(f"{model}: {why(each['rates'])}")
    cpu = found["cpu_error"] or f"{found['cpu']:.1f} images/s"
    notes.append(f"{CPU}, {MODELS[0]}, {min(n, ON_CPU)} images: {cpu}.")
    return Report(
        name="embed",
        title=f"Embed {n:,} JPEG files on a card",
        about=card.about(),
        ceilings=made,
        tables=tables,
        targets=targets(found),
        notes=notes,
        runs={
            f"{name}: {model}": r
            for model, each in found["models"].items()
            for name, r in each["runs"].items()
        },
        figures={"images": n, "rates": {m: each["rates"] for m, each in found["models"].items()}},
        wrong=any(each["lost"] for each in found["models"].values()),
    )


def main() -> int:
    """Measure, compare, report; 1 where an image was lost."""
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=16_384)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    args = parser.parse_args()
    card.require("open_clip", "torchvision")
    made = ceilings.measure("cuda")
    with scratch(args.data, args.images * JPEG_BYTES + 3_000_000_000) as folder:
        found = measure(Path(folder), args.models, args.images, args.repeats, "cuda", made)
    return report(found, args.images, made).write(args.results)


if __name__ == "__main__":
    raise SystemExit(main())
