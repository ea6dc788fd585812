"""A CLIP model of a few thousand seeded random weights: a configuration and a weight file."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 1,
    },
}


def make_small_clip(folder: Path, seed: int = 0, name: str = "tiny") -> tuple[Path, Path]:
    """Write a model to a folder; return (configuration, weights)."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    config, weights = folder / f"{name}.json", folder / f"{name}-{seed}.safetensors"
    config.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.create_model(name)
        torch.nn.init.normal_(model.visual.proj)
        torch.nn.init.normal_(model.text_projection)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, weights)
    return config, weights


def picture(seed: int = 0, kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    """An image file of random blocks."""
    from PIL import Image

    blocks = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST).save(data, kind)
    return data.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    """Write a tar of regular files, in the given order."""
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def captioned(folder, n_tars=3, n=7):
    """Tar archives with captions and JSON; each has one broken image and one stray text."""
    folder.mkdir(exist_ok=True)
    for t in range(n_tars):
        members = {}
        for i in range(n):
            members[f"{t}_{i}.png"] = b"broken" if i == 2 else picture(10 * t + i)
            members[f"{t}_{i}.txt"] = b"" if i == 4 else f"caption {t} {i}".encode()
            members[f"{t}_{i}.json"] = json.dumps(
                {"url": f"http://a/{i}", "n": i if t else i + 0.5, "odd": [i] if t else "x"}
            ).encode()
        members["stray.txt"] = b"no image here"
        write_tar(folder / f"{t:05d}.tar", members)
    return folder
