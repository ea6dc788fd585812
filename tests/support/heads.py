"""Heads with small weight files, and the published files with their reference answers."""

from __future__ import annotations

#: For each model, the published file and TensorFlow's outputs, in the folder of real inputs.
FILES = {
    "ViT-L-14": ("clip_autokeras_binary_nsfw.zip", "nsfw_l14.npz"),
    "ViT-B-32": ("clip_autokeras_nsfw_b32.zip", "nsfw_b32.npz"),
}


def linear_file(folder, dim, seed=0):
    import torch
    from safetensors.torch import save_file

    draw = torch.Generator().manual_seed(seed)
    tensors = {"weight": torch.randn(1, dim, generator=draw), "bias": torch.ones(1)}
    save_file(tensors, folder / "head.safetensors")
    return folder / "head.safetensors"


def linear_head(folder, model, name="plain", seed=0, **kind):
    import torch
    from safetensors.torch import save_file

    from laion_dask.models.heads import LinearHead
    from laion_dask.models.weights import sha256_of

    draw = torch.Generator().manual_seed(seed)
    path = f"{folder}/{name}.safetensors"
    tensors = {"weight": torch.randn(1, model.dim, generator=draw), "bias": torch.ones(1)}
    save_file(tensors, path)
    return LinearHead(name, model.arch, path, sha256_of(path), **kind)
