"""Heads, search and `embed` on a CUDA device, against the CPU and against references.

Skipped with a reason if there is no device.
"""

import numpy as np
import pytest
import torch
from support.heads import FILES
from support.searches import check, opened, unit_rows
from support.shards import collection, vectors
from support.small_clip import make_small_clip, picture, write_tar

import laion_dask as ld
from laion_dask import backend
from laion_dask.inference.embed import embed
from laion_dask.models import ClipModel, heads
from laion_dask.numerics.gpu.transfer import prefetch_to_device

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def cuda() -> str:
    if not backend.gpu_count():
        pytest.skip("no CUDA device that torch can use is on this machine")
    return "cuda"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["f16", "f32"])
def test_tensorflows_answers(shared, name, kind, cuda):
    file, answers = FILES[name]
    head = heads.nsfw(name, weights=shared / "weights" / file)
    with np.load(shared / "reference" / answers, allow_pickle=False) as known:
        x, wanted = known[f"embedding_{kind}"], known[f"p_from_{kind}"]
    on_gpu = torch.from_numpy(x).to(cuda)
    for size in (1, 7, 64, 512):
        starts = range(0, len(x) if size > 1 else 50, size)
        got = np.concatenate([head.predict(on_gpu[at : at + size]) for at in starts])
        np.testing.assert_allclose(got, wanted[: len(got)], atol=1e-5)
    narrow = heads.nsfw(name, weights=head.weights, precision="bfloat16")
    np.testing.assert_allclose(narrow.predict(on_gpu), wanted, atol=5e-3)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_heads_give_the_numbers_of_the_cpu(shared, dtype, cuda):
    x = unit_rows(vectors(3000, 768, seed=1)).astype(dtype)
    x[5], x[6, 0] = 0, np.nan
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAION_DASK_WEIGHTS", str(shared / "weights"))
        several = heads.aesthetic("ViT-L-14"), heads.inappropriate("ViT-L-14")
    for head in several:
        got = head.predict(torch.from_numpy(x).to(cuda))
        np.testing.assert_allclose(got, head.predict(x), atol=1e-5)
        assert np.flatnonzero(np.isnan(got)).tolist() == [5, 6]


@pytest.mark.parametrize("m", [1, 40])
@pytest.mark.parametrize("k", [1, 10, 96])
def test_search_against_a_loop(corpus, m, k):
    frame, emb = opened(corpus)
    queries = vectors(m, seed=9)
    check(frame.laion.search(emb, queries, k, columns=[]), corpus.images, unit_rows(queries), k)


def test_the_next_block_does_not_overwrite_what_is_computed_on(tmp_path, cuda):
    c = collection(tmp_path, (200_000,), 64, "float16")
    emb = ld.open_embeddings(c.img_emb, model=c.model)
    blocks = [(0, range(at, min(at + 20_000, 200_000))) for at in range(0, 200_000, 20_000)]
    sums = []
    for _, x in prefetch_to_device(emb, blocks, cuda):
        torch.cuda._sleep(20_000_000)  # the block is used long after the next one was requested
        sums.append(x.double().sum(1))
    got = torch.cat(sums).cpu().numpy()
    np.testing.assert_allclose(got, c.images[0].astype(np.float64).sum(1), atol=1e-9)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_embed_is_near_the_cpu(tmp_path, precision):
    small = make_small_clip(tmp_path, name="tiny-gpu")
    model, on_cpu = ClipModel(*small), ClipModel(*small, device="cpu")
    members = {}
    for i in range(9):
        members[f"{i}.png"] = picture(i, size=(60 + 7 * i, 40))
        members[f"{i}.txt"] = f"caption {i}".encode()
    write_tar(tmp_path / "0.tar", members)
    embedded = embed(tmp_path / "0.tar", tmp_path / "out", model, batch_size=4, precision=precision)
    emb = ld.open_embeddings(embedded.img_emb, model=model)
    for i in range(9):
        wanted = on_cpu.image(members[f"{i}.png"])
        assert emb.read(0, [i])[0].astype(np.float64) @ wanted > 0.999
