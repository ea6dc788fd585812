"""LAION's watermark detector, against a plain timm loop and in the image pass of ``embed``."""

import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.failing_memory import Full
from support.small_clip import make_small_clip, picture, write_tar

from laion_dask.errors import DeviceMemoryError, ImageError, OptionError, WeightsError
from laion_dask.inference.embed import embed
from laion_dask.io.images.decoding import decode
from laion_dask.models import ClipModel, heads
from laion_dask.models.heads.compatibility import check_heads


def plain_network():
    """The network as LAION-5B-WatermarkDetection builds it, with seeded weights."""
    import timm
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = timm.create_model("efficientnet_b3", pretrained=False, num_classes=2)
        net.classifier = nn.Sequential(
            nn.Linear(1536, 625),
            nn.ReLU(),
            nn.Dropout(p=0.3),
            nn.Linear(625, 256),
            nn.ReLU(),
            nn.Linear(256, 2),
        )
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0
        with torch.no_grad():  # realistic running statistics, and answers that differ
            level = torch.linspace(-2, 2, 6)[:, None, None, None]
            pixels = torch.randn(6, 3, 256, 256) * level.abs() + level.flip(0)
            net.train()(pixels)
            middle = net.eval()(pixels[::2]).mean(0)
            net.classifier[5].weight *= 50
            net.classifier[5].bias *= 50
            net.classifier[5].bias -= 50 * middle
    return net.eval()


@pytest.fixture(scope="module")
def net():
    return plain_network()


@pytest.fixture(scope="module")
def head(net, tmp_path_factory):
    import torch

    path = tmp_path_factory.mktemp("watermark") / "watermark_model_v1.pt"
    torch.save(net.state_dict(), path)
    return heads.watermark(weights=path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return ClipModel(*make_small_clip(tmp_path_factory.mktemp("clip"), name="tiny-watermark"))


def varied(i):
    """An image file: bright and noisy, or dark and smooth."""
    from PIL import Image

    draw = np.random.default_rng(i)
    pixels = draw.normal(40 + 40 * i, 60 - 12 * i, (60 + 20 * i, 90, 3)).clip(0, 255)
    data = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(data, "PNG")
    return data.getvalue()


def plain_loop(net, files):
    """The steps of the published example."""
    import torch
    from PIL import Image
    from torchvision import transforms as T

    prepare = T.Compose(
        [
            T.Resize((256, 256)),
            T.ToTensor(),
            T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with torch.no_grad():
        inputs = [prepare(Image.open(io.BytesIO(data)).convert("RGB")) for data in files]
        answers = [torch.softmax(net(x[None]), dim=1)[0, 0].item() for x in inputs]
    return np.array(answers), torch.stack(inputs).numpy()


def test_predict_against_a_plain_loop(net, head, tmp_path):
    files = [varied(i) for i in range(5)]
    expected, inputs = plain_loop(net, files)
    assert np.ptp(expected) > 0.02
    (tmp_path / "0.png").write_bytes(files[0])
    mixed = [tmp_path / "0.png", files[1], decode(files[2]), *files[3:]]
    found = head.predict(mixed)
    assert found.dtype == np.float32 and found.shape == (5,)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    np.testing.assert_allclose(head.predict(inputs), expected, atol=2e-4)
    np.testing.assert_allclose(head.predict(inputs[:1]), expected[:1], atol=2e-4)
    assert head.predict([]).shape == head.predict(inputs[:0]).shape == (0,)


def test_what_it_is_and_what_it_refuses(head, model):
    assert head.name == "p_watermark" and head.reads == "images"
    assert pickle.loads(pickle.dumps(head)) == head and head.to("w").name == "w"
    assert head.recipe()["weights"] == "watermark_model_v1.pt"
    with pytest.raises(ImageError, match=r"shape \(2, 768\)"):
        head.predict(np.zeros((2, 768), np.float32))
    with pytest.raises(ImageError, match="known format"):
        head.predict([b"no picture"])
    for one in (decode(varied(1)), varied(1), "a.png", Path("a.png"), None, 3):
        with pytest.raises(ImageError, match=r"one image is \[image\]"):
            head.predict(one)
    drawn = head.predict(varied(i) for i in range(2))
    np.testing.assert_array_equal(drawn, head.predict([varied(i) for i in range(2)]))
    with pytest.raises(OptionError, match="reads images"):
        list(check_heads([head], model))


def test_weights_of_something_else_are_refused(head, tmp_path):
    import torch

    torch.save({"classifier.weight": torch.zeros(2, 1536)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="watermark_model_v1"):
        heads.watermark(weights=tmp_path / "other.pt")
    for wrong in (tmp_path / "missing.pt", "ViT-L-14", ClipModel("ViT-L-14")):
        with pytest.raises(WeightsError, match="takes no CLIP model"):
            heads.watermark(wrong)
    moved = heads.WatermarkHead("w", str(tmp_path / "other.pt"), head.sha256)
    with pytest.raises(WeightsError, match="another file"):
        moved.predict([picture()])


def test_weights_as_training_scripts_save_them(net, head, tmp_path):
    import torch

    held = {f"model.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"model_state_dict": held, "epoch": 7}, tmp_path / "other.pt")
    found = heads.watermark(tmp_path / "other.pt").predict([varied(1)])
    np.testing.assert_array_equal(found, head.predict([varied(1)]))


def test_in_the_image_pass_every_picture_is_decoded_once(head, model, tmp_path, monkeypatch):
    from laion_dask.io.images import decoding

    members = {f"{i}.png": b"broken" if i == 2 else varied(i % 5) for i in range(6)}
    source = write_tar(tmp_path / "a.tar", members)
    decoded, real = [], decoding.read_picture
    monkeypatch.setattr(decoding, "read_picture", lambda data: decoded.append(1) or real(data))
    result = embed(source, tmp_path / "out", model, batch_size=3, heads=[head])
    assert len(decoded) == 6 and result.n_kept == 5
    table = pq.read_table(result.metadata / "metadata_0000.parquet")
    good = [varied(i % 5) for i in range(6) if i != 2]
    np.testing.assert_allclose(table["p_watermark"].to_numpy(), head.predict(good), atol=2e-4)
    assert json.loads(result.manifest.read_text())["heads"] == [head.recipe()]


def test_by_name_it_takes_its_file(head):
    assert heads.by_name(f"watermark={head.weights}", "demo") == head
    for wrong in ("watermark=", "watermarks", "demo_safety=file"):
        with pytest.raises(OptionError, match="watermark=FILE"):
            heads.by_name(wrong, "demo")


def test_without_a_path_it_is_looked_for_in_the_users_folder(head, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LAION_DASK_WEIGHTS", raising=False)
    with pytest.raises(WeightsError, match=r"watermark_model_v1\.pt .*LAION_DASK_WEIGHTS"):
        heads.watermark()
    monkeypatch.setenv("LAION_DASK_WEIGHTS", os.path.dirname(head.weights))
    assert heads.watermark() == heads.watermark(head.weights) == heads.by_name("watermark", "demo")
    assert heads.watermark(to="w") == head.to("w")


def test_batches_are_halved_when_memory_is_short(head):
    prepared = [head.prepare(decode(varied(i))) for i in (1, 4)]
    wanted = head.of_prepared(prepared)
    with Full(3 * 144 * 128 * 128 * 2) as full:  # its widest layer, 144 maps of 128 x 128, twice
        found = head.of_prepared(prepared)
    assert full.failures == 1
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    with Full(1 << 21), pytest.raises(DeviceMemoryError, match="a block of 1 images"):
        head.of_prepared(prepared)
    np.testing.assert_array_equal(head.of_prepared(prepared), wanted)
