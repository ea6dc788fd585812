"""``embed`` in float32 and bfloat16: close to a plain loop, resumable to the byte, never mixed."""

import io
import json
import tarfile

import numpy as np
import pytest
from support.digests import digest
from support.small_clip import make_small_clip, picture, write_tar

from laion_dask.errors import ExportError, OptionError
from laion_dask.inference import embed as verb
from laion_dask.inference import output_folder
from laion_dask.inference.embed import embed
from laion_dask.models import ClipModel, preprocess
from laion_dask.numerics.bfloat16 import has_bfloat16

PRECISIONS = ["float32", "bfloat16"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return ClipModel(*make_small_clip(tmp_path_factory.mktemp("clip"), name="tiny-precision"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tars")
    for t in range(2):
        members = {}
        for i in range(5):
            members[f"{t}_{i}.png"] = picture(10 * t + i, size=(60 + 7 * i, 40))
            members[f"{t}_{i}.txt"] = f"caption {t} {i}".encode()
        write_tar(folder / f"{t}.tar", members)
    return folder


def images(result):
    return np.concatenate([np.load(f) for f in sorted(result.img_emb.glob("*"))]).astype("f4")


def cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_killed_it_resumes_to_the_same_bytes_for_any_concurrency(
    model, source, precision, tmp_path, monkeypatch
):
    settings = {"batch_size": 2, "precision": precision}
    whole = embed(source, tmp_path / "whole", model, **settings)
    expected, real, renames = digest(whole.out), output_folder.os.replace, []

    def replace(a, b):
        if len(renames) == 6:
            raise KeyboardInterrupt
        renames.append(b)
        real(a, b)

    with monkeypatch.context() as patch:
        patch.setattr(output_folder.os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            embed(source, tmp_path / "out", model, **settings)
    monkeypatch.setattr(verb, "_n_concurrent_batches", lambda todo: 3)
    assert digest(embed(source, tmp_path / "out", model, **settings).out) == expected
    assert json.loads(whole.manifest.read_text())["precision"] == precision


def test_the_two_are_near_and_never_mixed(model, source, tmp_path):
    high = embed(source, tmp_path / "high", model, precision="float32")
    low = embed(source, tmp_path / "low", model, precision="bfloat16")
    assert digest(high.out) != digest(low.out)
    assert (cosines(images(high), images(low)) > 0.999).all()
    before = digest(high.out)
    with pytest.raises(ExportError, match=r"another precision \(its own is precision='float32'\)"):
        embed(source, tmp_path / "high", model, precision="bfloat16")
    assert digest(high.out) == before
    with pytest.raises(OptionError, match="precision is 'half'"):
        embed(source, tmp_path / "other", model, precision="half")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("native, resolved", [(True, "bfloat16"), (False, "float32")])
def test_by_default_what_the_processor_multiplies(
    model, source, native, resolved, tmp_path, monkeypatch
):
    from laion_dask.models import clip

    monkeypatch.setattr(clip, "has_bfloat16", lambda device: native)
    result = embed(source, tmp_path / "out", model)
    assert json.loads(result.manifest.read_text())["precision"] == resolved


def test_processors_that_disagree_compute_in_float32(model, source, tmp_path, monkeypatch):
    from laion_dask.models import clip

    answers = iter([True, False])
    monkeypatch.setattr(clip, "has_bfloat16", lambda device: next(answers))
    result = embed(source, tmp_path / "out", model)
    assert json.loads(result.manifest.read_text())["precision"] == "float32"


def test_devices_without_bfloat16():
    assert not has_bfloat16("mps")
    assert isinstance(has_bfloat16("cpu"), bool)


def test_the_clip_score_has_a_column_of_its_own(model, tmp_path):
    members = {"1.png": picture(), "1.json": b'{"caption": "x", "clip_score": 1}'}
    source = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(OptionError, match="clip_score='…'"):
        embed(source, tmp_path / "out", model)
    import pyarrow.parquet as pq

    for name, columns in (("cosine", {"clip_score", "cosine"}), (None, {"clip_score"})):
        result = embed(source, tmp_path / f"out-{name}", model, clip_score=name)
        names = pq.read_schema(result.metadata / "metadata_0000.parquet").names
        assert set(names) == {"key", "image_path", "image_sha256", "caption"} | columns
    with pytest.raises(OptionError, match="clip_score is 1"):
        embed(source, tmp_path / "out", model, clip_score=1)


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (224, 224), (50, 33), (31, 640), (1, 9)])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("target", [224, (224, 160)])
def test_preprocessing_against_open_clip(mode, target, size):
    import torch
    from open_clip.transform import image_transform
    from PIL import Image

    transform = image_transform(target, is_train=False, resize_mode=mode)
    image = Image.open(io.BytesIO(picture(3, size=size)))
    ours = preprocess.Preprocess(transform)
    pixels = ours.numbers(torch.from_numpy(np.stack([ours.pixels(image)])), torch.float32)[0]
    difference = (pixels - transform(image)).abs() * 255 * 0.26  # in pixel levels
    same = mode != "shortest" or target != 224  # otherwise only the center is computed
    assert pixels.shape == transform(image).shape
    assert difference.mean() < 0.2 and difference.max() < (0.01 if same else 8)


@pytest.fixture(scope="module")
def vit_b_32(tmp_path_factory):
    """open_clip's ViT-B-32 with seeded random weights: (model, transform, weight file)."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("vit") / "ViT-B-32-seed-0.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net, _, transform = open_clip.create_model_and_transforms("ViT-B-32")
    save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, path)
    yield net.eval(), transform, path
    path.unlink()


def test_vit_b_32_on_real_photographs_against_a_plain_loop(vit_b_32, shared, tmp_path):
    import torch
    from PIL import Image

    net, transform, path = vit_b_32
    source, expected = shared / "data" / "photos_tars" / "00001.tar", []
    with tarfile.open(source) as archive, torch.no_grad():
        for member in archive:
            image = Image.open(io.BytesIO(archive.extractfile(member).read()))
            expected.append(net.encode_image(transform(image)[None], normalize=True)[0].numpy())
    for precision in PRECISIONS:
        spec = ClipModel("ViT-B-32", path)
        result = embed(source, tmp_path / precision, spec, precision=precision)
        assert (cosines(images(result), np.stack(expected)) >= 0.9999).all(), precision
