"""Heads and CLIP on tensors: on the tensors' device, in blocks halved when memory is short."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.failing_memory import Full
from support.heads import FILES, linear_file
from support.small_clip import make_small_clip, picture

import laion_dask as ld
from laion_dask import backend
from laion_dask.errors import DeviceMemoryError, EmbeddingsError
from laion_dask.inference.embed_kernel import embed_batch
from laion_dask.models import ClipModel, heads
from laion_dask.models.heads import EmbeddingHead
from laion_dask.models.heads.dense import DenseNetwork
from laion_dask.models.heads.trained import TrainedHead
from laion_dask.models.heads.zero_shot import _unit_bytes
from laion_dask.numerics.gpu import fused, memory

DIM = 512


@pytest.fixture
def cuda(monkeypatch) -> torch.device:
    """A GPU on which no kernel has failed yet."""
    if not backend.gpu_count():
        pytest.skip("no CUDA device that torch can use is on this machine")
    monkeypatch.setattr(fused, "_failed", set())
    return torch.device("cuda")


def rows(n: int, dtype=np.float16, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, DIM))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(dtype)
    x[0], x[1, 3], x[2, 4] = 0, np.nan, np.inf
    return x


@pytest.fixture(params=["linear", "logistic", "prompts", "trained", "deep", "nsfw", "nsfw narrow"])
def head(request, tmp_path, monkeypatch) -> EmbeddingHead:
    """A head of each kind over 512 dimensions, with blocks so small that there are several."""
    monkeypatch.setattr(EmbeddingHead, "device_block", 1 << 10)
    monkeypatch.setattr(EmbeddingHead, "least_block", 1 << 7)
    return make_head(request.param, tmp_path, request)


def make_head(kind: str, folder, request) -> EmbeddingHead:
    draw = np.random.default_rng(5)
    if kind in ("linear", "logistic"):
        file = linear_file(folder, DIM)
        digest = heads.aesthetic("ViT-B-32", weights=file).sha256
        return heads.LinearHead(
            "score", "ViT-B-32:openai", str(file), digest, logistic=kind == "logistic"
        )
    if kind == "prompts":
        vectors = _unit_bytes(draw.normal(size=(3, DIM)))
        return heads.PromptHead("p", "ViT-B-32:openai", ("a", "b", "c"), 1, vectors)
    if kind in ("trained", "deep"):
        sizes = (DIM, 1) if kind == "trained" else (DIM, 16, 1)
        layers = [(draw.normal(size=(o, i)), draw.normal(size=o)) for i, o in pairwise(sizes)]
        x = draw.normal(size=(200, DIM)).astype(np.float32)
        report = ld.heads.train(x, x[:, 0] > 0, clip="ViT-B-32").report
        return TrainedHead.of("p", ClipModel("ViT-B-32", "openai"), layers, report)
    shared = request.getfixturevalue("shared")
    precision = "bfloat16" if kind == "nsfw narrow" else "float32"
    file = shared / "weights" / FILES["ViT-B-32"][0]
    return heads.nsfw("ViT-B-32", weights=file, precision=precision)


def tolerance(head: EmbeddingHead) -> float:
    return 2e-3 if getattr(head, "precision", None) == "bfloat16" else 1e-5


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_numbers_of_an_array(head, dtype):
    x = rows(2500, dtype)
    scores = head.on_device(torch.from_numpy(x))
    assert scores.dtype == torch.float32 and scores.device.type == "cpu" and len(scores) == 2500
    np.testing.assert_allclose(scores, head.predict(x), atol=tolerance(head))
    assert torch.nonzero(scores.isnan())[:, 0].tolist() == [0, 1, 2]
    assert head.on_device(torch.from_numpy(x[:0])).shape == (0,)


def test_the_row_alone_decides(head):
    x = torch.from_numpy(rows(2500))
    scores = head.on_device(x)
    order = torch.randperm(2500, generator=torch.Generator().manual_seed(0))
    mixed = head.on_device(x[order[:1500]])
    torch.testing.assert_close(mixed, scores[order[:1500]], rtol=0, atol=0, equal_nan=True)
    for at in (3, 1023, 1024, 2499):
        assert head.on_device(x[at : at + 1])[0] == scores[at]
    kept = x.clone()
    head.on_device(kept)
    assert torch.equal(kept.nan_to_num(7), x.nan_to_num(7))  # the input is not modified


@pytest.mark.parametrize("kind", ["linear", "logistic", "prompts", "trained"])
@pytest.mark.parametrize("scale", [1e38, 1e-38, 1e-42])
def test_every_finite_row_that_is_not_zero_has_a_score(kind, scale, tmp_path, request):
    head = make_head(kind, tmp_path, request)
    x = np.clip(np.random.default_rng(0).normal(size=(40, DIM)), -3, 3) * np.float32(scale)
    x = x.astype(np.float32)
    scores = head.on_device(torch.from_numpy(x))
    np.testing.assert_allclose(scores, head.predict(x), atol=1e-5)
    assert scores.isfinite().all()


def test_memory_that_is_short(head, monkeypatch):
    monkeypatch.setattr(fused, "_PLAIN_ROWS", 1 << 10)
    monkeypatch.setattr(fused, "_LEAST_ROWS", 1 << 7)
    x = torch.from_numpy(rows(1500))
    wanted = head.on_device(x)
    with Full(300 * DIM * 8) as full:
        found = head.on_device(x)
    assert full.failures
    np.testing.assert_allclose(found, wanted, atol=tolerance(head))
    with Full(80 * DIM * 4), pytest.raises(DeviceMemoryError, match="a block of 128 rows"):
        head.on_device(x)
    torch.testing.assert_close(head.on_device(x), wanted, rtol=0, atol=0, equal_nan=True)


def test_a_network_too_wide_for_one_pass():
    sizes = (64, 128, 32, 1)  # as in ViT-H-14, whose first layer has 1,024 units
    layers = [(np.ones((o, i)), np.ones(o)) for i, o in pairwise(sizes)]
    assert DenseNetwork(layers, 2).in_one_pass(torch.ones(3, 64, dtype=torch.float16)) is None


def test_what_it_refuses(head):
    for wrong in (torch.ones(4, DIM + 1), torch.ones(DIM), torch.ones(2, DIM).int()):
        with pytest.raises(EmbeddingsError, match="Expected"):
            head.on_device(wrong)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    files = make_small_clip(tmp_path_factory.mktemp("clip"), name="tiny-memory")
    return ClipModel(*files, device="cpu").load()


def cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x.astype(np.float64) * y).sum(axis=1)


def test_clip_batches_are_halved(clip):
    pictures = [clip.prepare(clip.decode(picture(seed))) for seed in range(13)]
    texts = [f"caption {i}" for i in range(13)]
    images, captions = clip.images(pictures), clip.texts(texts)
    with Full(50_000) as full:  # 13 images in float32 take 159,744 bytes
        halved = clip.images(pictures)
    assert full.failures >= 2
    assert halved.shape == images.shape and (cosines(halved, images) > 0.999).all()
    with Full(20_000) as full:
        halved = clip.texts(texts)
    assert full.failures
    assert halved.shape == captions.shape and (cosines(halved, captions) > 0.999).all()


def test_scores_that_do_not_fit(tmp_path, request):
    head, x = make_head("linear", tmp_path, request), torch.from_numpy(rows(9000))
    with Full(4 * 8999), pytest.raises(DeviceMemoryError, match=r"hold 9,000 scores.*torch_share"):
        head.on_device(x)
    assert len(head.on_device(x)) == 9000


def test_not_one_picture_fits_and_the_next_job(clip):
    pictures = [clip.prepare(clip.decode(picture(seed))) for seed in range(5)]
    wanted = clip.images(pictures)
    with Full(1000), pytest.raises(DeviceMemoryError, match=r"a block of 1 images.*torch_share"):
        clip.images(pictures)
    with Full(1000), pytest.raises(DeviceMemoryError, match="a block of 1 texts"):
        clip.texts(["a bird", "a boat"])
    np.testing.assert_array_equal(clip.images(pictures), wanted)


def test_a_batch_of_samples_completes(clip):
    def batch():
        data = [picture(seed) for seed in range(9)]
        data[4] = b"no picture"
        return [
            SimpleNamespace(image=image, caption=f"caption {i}", reason=None)
            for i, image in enumerate(data)
        ]

    wanted = embed_batch(batch(), clip, texts=True)
    with Full(30_000) as full:
        found = embed_batch(batch(), clip, texts=True)
    assert full.failures
    captions = [[sample.caption for sample in done.kept] for done in (found, wanted)]
    assert captions[0] == captions[1] and len(captions[0]) == 8
    assert [sample.caption for sample in found.rejected] == ["caption 4"]
    for one, other in [(found.images, wanted.images), (found.texts, wanted.texts)]:
        assert one.dtype == np.float16 and (cosines(one, other) > 0.999).all()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_on_a_gpu(cuda, head, dtype):
    x = rows(2500, dtype)
    on_gpu = torch.from_numpy(x).to(cuda)
    scores = head.on_device(on_gpu)
    assert scores.device == on_gpu.device and not fused._failed
    np.testing.assert_allclose(scores.cpu(), head.predict(x), atol=tolerance(head))
    np.testing.assert_array_equal(head.predict(on_gpu), scores.cpu())
    order = torch.randperm(2500, device=cuda)[:1500]
    mixed = head.on_device(on_gpu[order])
    torch.testing.assert_close(mixed, scores[order], rtol=0, atol=0, equal_nan=True)


@pytest.mark.gpu
def test_clip_on_a_full_gpu(cuda, tmp_path):
    model = ClipModel(*make_small_clip(tmp_path, name="tiny-full")).load()
    pictures = [model.prepare(model.decode(picture(seed))) for seed in range(64)] * 64
    wanted = model.images(pictures)
    memory.release()
    free, _ = torch.cuda.mem_get_info()
    held = torch.empty(free - (16 << 20), dtype=torch.uint8, device=cuda)
    assert (cosines(model.images(pictures), wanted) > 0.999).all()
    del held
    memory.release()
    assert (cosines(model.images(pictures), wanted) > 0.999).all()
