"""Fixtures of the tests of ``embed``: a small CLIP and a head."""

import pytest
from support.small_clip import make_small_clip

from laion_dask.models import ClipModel, heads, weights


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    return make_small_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def model(files):
    return ClipModel(*files)


@pytest.fixture
def head(model, tmp_path):
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "head.safetensors"
    save_file({"weight": torch.ones(1, 32), "bias": torch.zeros(1)}, path)
    return heads.LinearHead("total", model.arch, str(path), weights.sha256_of(path))
