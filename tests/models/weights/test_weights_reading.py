"""Reading weight files as tensors: pickles with code and damaged files are refused."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.torch_version import TorchVersion

import laion_dask as ld
from laion_dask.errors import WeightsError
from laion_dask.models import weights


class Bomb:
    """An object that writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("kind", ["pickle", "torch", "torch, old", "in a state dict"])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
def test_a_pickle_with_code_is_refused_by_name(tmp_path, kind, suffix):
    bomb, path = Bomb(tmp_path / "ran"), tmp_path / f"weights{suffix}"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(bomb, protocol=2))
    elif kind == "in a state dict":
        torch.save({"weight": torch.ones(2), "bomb": bomb}, path)
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=kind == "torch")
    with pytest.raises(WeightsError, match=rf"weights{suffix} .*it holds code: \w+\.system"):
        weights.read_tensors(path)
    assert not (tmp_path / "ran").exists()


def test_an_old_torch_reads_no_pickles(tmp_path, monkeypatch):
    torch.save({"weight": torch.ones(2)}, tmp_path / "a.pth")
    save_file({"weight": torch.ones(2)}, tmp_path / "a.safetensors")
    assert weights.read_tensors(tmp_path / "a.pth")["weight"].tolist() == [1, 1]
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.9.1+cu130"))
    with pytest.raises(WeightsError, match=r"Install torch 2.10 or later"):
        weights.read_tensors(tmp_path / "a.pth")
    assert weights.read_tensors(tmp_path / "a.safetensors")["weight"].tolist() == [1, 1]
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.10.0"))
    assert weights.read_tensors(tmp_path / "a.pth")["weight"].tolist() == [1, 1]


def written(kind: str, path) -> bytes:
    tensors = {"weight": torch.arange(12.0).reshape(1, 12), "bias": torch.ones(1)}
    if kind == ".safetensors":
        save_file(tensors, path)
    elif kind == ".npy":
        np.save(path, tensors["weight"].numpy())
    else:
        torch.save(tensors, path)
    return path.read_bytes()


@pytest.mark.parametrize("kind", [".safetensors", ".npy", ".pth"])
def test_a_truncated_file_is_refused_at_every_length(tmp_path, kind):
    path = tmp_path / f"weights{kind}"
    content = written(kind, path)
    steps = range(0, len(content), 1 if len(content) < 400 else 7)
    for length in steps:
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError, match="weights"):
            weights.read_tensors(path)


@pytest.mark.parametrize("kind", [".safetensors", ".npy", ".pth"])
def test_a_damaged_file_is_read_as_tensors_or_refused(tmp_path, kind):
    path = tmp_path / f"weights{kind}"
    content = written(kind, path)
    draw = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(content)
        for at in draw.integers(len(content), size=draw.integers(1, 4)):
            damaged[at] = draw.integers(256)
        path.write_bytes(damaged)
        try:
            found = weights.read_tensors(path)
        except WeightsError:
            continue
        assert all(isinstance(tensor, torch.Tensor) for tensor in found.values())


@pytest.mark.parametrize("outer", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_a_state_dict_is_unwrapped_once(tmp_path, outer, prefix):
    tensors = {"layers.0.weight": torch.ones(1, 512), "layers.0.bias": torch.zeros(1)}
    held = {prefix + name: tensor for name, tensor in tensors.items()}
    extra = {"epoch": 3, "name": "a", "loss": 0.5, "done": None}
    held = {**held, **extra} if outer is None else {outer: held, "optimizer": {"lr": 1}, **extra}
    torch.save(held, tmp_path / "a.pth")
    assert set(weights.read_tensors(tmp_path / "a.pth")) == set(tensors)
    head = ld.heads.aesthetic("ViT-B-32", weights=tmp_path / "a.pth")
    np.testing.assert_allclose(head.predict(np.ones((1, 512), np.float32)), 512**0.5, rtol=1e-5)
    torch.save({"state_dict": {"state_dict": tensors}}, tmp_path / "twice.pth")
    with pytest.raises(WeightsError, match="Expected a dict of tensors"):
        weights.read_tensors(tmp_path / "twice.pth")


def test_what_is_not_tensors_by_name_is_refused(tmp_path):
    nested = {"a": {"b": torch.ones(2)}}
    odd = [torch.ones(2)], {1: torch.ones(2)}, torch.ones(2)
    for held in ({}, {"epoch": 1}, {"state_dict": {}}, nested, *odd):
        torch.save(held, tmp_path / "a.pth")
        with pytest.raises(WeightsError, match="Expected a dict of tensors"):
            weights.read_tensors(tmp_path / "a.pth")
    np.savez(tmp_path / "a.npz", np.ones(2))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(WeightsError, match="cannot be read"):
        weights.read_tensors(tmp_path / "a.npy")
