"""The output of ``embed`` equals a plain loop; its rows are aligned and counted."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.paths import SHARED
from support.small_clip import captioned, picture, write_tar

from laion_dask.inference.embed import embed

PHOTOS = SHARED / "data" / "photos_tars"


def plain_loop(files, folder):
    """Unit float32 embeddings from open_clip, one image at a time, in the order of the archives."""
    import io
    import tarfile

    import open_clip
    import torch
    from PIL import Image

    clip, _, preprocess = open_clip.create_model_and_transforms("tiny", str(files[1]))
    clip.eval()
    embeddings = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive, torch.no_grad():
            for member in archive:
                image = Image.open(io.BytesIO(archive.extractfile(member).read()))
                embeddings.append(
                    clip.encode_image(preprocess(image)[None], normalize=True)[0].numpy()
                )
    return np.stack(embeddings)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the real photographs are not available")
def test_real_photographs_against_a_plain_loop(model, files, tmp_path):
    result = embed(PHOTOS, tmp_path / "out", model, batch_size=2)
    assert (result.n_read, result.n_kept, result.n_rejected) == (9, 9, 0)
    arrays = [np.load(f) for f in sorted(result.img_emb.glob("*.npy"))]
    assert [a.shape for a in arrays] == [(4, 32), (3, 32), (2, 32)]
    assert all(a.dtype == np.float16 for a in arrays)
    embeddings = np.concatenate(arrays).astype("f4")
    cosine = (embeddings * plain_loop(files, PHOTOS)).sum(1) / np.linalg.norm(embeddings, axis=1)
    assert (cosine >= 0.9999).all()
    assert result.text_emb is None and not (tmp_path / "out" / "text_emb").exists()


def test_rows_are_aligned_and_counted(model, head, tmp_path):
    source = captioned(tmp_path / "in")
    result = embed(source, tmp_path / "out", model, batch_size=3, heads=[head], precision="float32")
    assert str(result).startswith("24 read = 18 kept + 6 rejected, in 3 shards")
    for t in range(3):
        name = f"{t:04d}"
        images = np.load(result.img_emb / f"img_emb_{name}.npy")
        texts = np.load(result.text_emb / f"text_emb_{name}.npy")
        table = pq.read_table(result.metadata / f"metadata_{name}.parquet")
        rejects = pq.read_table(result.rejects / f"rejects_{name}.parquet").to_pylist()
        rows = table.to_pylist()
        assert [row["key"] for row in rows] == [f"{t}_{i}" for i in (0, 1, 3, 4, 5, 6)]
        assert rows[0]["image_path"] == f"0000{t}.tar/{t}_0.png"
        assert [r["key"] for r in rejects] == [f"{t}_2", "stray"]
        assert "known format" in rejects[0]["reason"] and "no image" in rejects[1]["reason"]
        expected = model.image([picture(10 * t + i) for i in (0, 1, 3, 4, 5, 6)])
        np.testing.assert_allclose(images, expected, atol=1e-3)
        captions = [row["caption"] for row in rows]
        assert captions[3] is None and np.isnan(texts[3]).all()
        spoken = [at for at in range(6) if at != 3]
        np.testing.assert_allclose(
            texts[spoken], model.text([captions[at] for at in spoken]), atol=1e-3
        )
        np.testing.assert_array_equal(table["total"].to_numpy(), head.predict(images))
        cosine = (images.astype("f8") * texts.astype("f8")).sum(1)
        cosine /= np.linalg.norm(images.astype("f8"), axis=1)
        cosine /= np.linalg.norm(texts.astype("f8"), axis=1)
        np.testing.assert_allclose(table["clip_score"].to_numpy(), cosine, atol=1e-6)
        assert table.schema.field("clip_score").type == "float" and np.isnan(cosine[3])


def test_one_schema_over_all_shards(model, tmp_path):
    result = embed(captioned(tmp_path / "in"), tmp_path / "out", model)
    schemas = {pq.read_schema(f).to_string() for f in result.metadata.glob("*")}
    assert len(schemas) == 1
    schema = pq.read_schema(result.metadata / "metadata_0000.parquet")
    assert [(f.name, str(f.type)) for f in schema] == [
        ("key", "string"),
        ("image_path", "string"),
        ("image_sha256", "string"),
        ("caption", "string"),
        ("url", "string"),
        ("n", "double"),
        ("odd", "string"),
        ("clip_score", "float"),
    ]
    last = pq.read_table(result.metadata / "metadata_0002.parquet").to_pylist()[1]
    assert last["n"] == 1.0 and last["odd"] == "[1]"


def test_laion_names_stay(model, tmp_path):
    record = {"URL": "u", "TEXT": "a star", "hash": 2**62 + 1, "big": 2**70, "key": "other"}
    members = {"1.png": picture(), "1.json": json.dumps(record).encode(), "2.png": picture(2)}
    members["2.json"] = b'{"hash": null, "NSFW": true, "TEXT": null}'
    result = embed(write_tar(tmp_path / "a.tar", members), tmp_path / "out", model)
    table = pq.read_table(result.metadata / "metadata_0000.parquet")
    names = [
        "key",
        "image_path",
        "image_sha256",
        "TEXT",
        "URL",
        "hash",
        "big",
        "NSFW",
        "clip_score",
    ]
    assert table.column_names == names
    one, two = table.to_pylist()
    assert one["hash"] == 2**62 + 1 and one["big"] == str(2**70) and one["key"] == "1"
    assert (two["hash"], two["NSFW"], two["TEXT"]) == (None, True, None)
    texts = np.load(result.text_emb / "text_emb_0000.npy")
    assert np.isfinite(texts[0]).all() and np.isnan(texts[1]).all()


def test_nothing_but_rejects_and_nothing_at_all(model, head, tmp_path):
    write_tar(tmp_path / "a.tar", {"1.png": b"broken", "2.txt": b"x"})
    write_tar(tmp_path / "b.tar", {})
    result = embed(tmp_path, tmp_path / "out", model, heads=[head])
    assert (result.n_read, result.n_kept, result.n_rejected) == (2, 0, 2)
    for number in range(2):
        assert np.load(result.img_emb / f"img_emb_000{number}.npy").shape == (0, 32)
        assert pq.read_table(result.metadata / f"metadata_000{number}.parquet").num_rows == 0


def test_a_folder_of_images(model, tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(5):
        (tmp_path / "in" / f"{i}.png").write_bytes(picture(i))
    result = embed(tmp_path / "in", tmp_path / "out", model, batch_size=2, precision="float32")
    embeddings = np.load(result.img_emb / "img_emb_0000.npy")
    np.testing.assert_allclose(embeddings, model.image([picture(i) for i in range(5)]), atol=1e-3)


def test_the_manifest(model, head, tmp_path):
    source = captioned(tmp_path / "in", n_tars=2)
    result = embed(str(source / "*.tar"), tmp_path / "out", model, heads=[head])
    manifest = json.loads(result.manifest.read_text())
    assert manifest["counts"] == {"read": 16, "kept": 12, "rejected": 4}
    assert manifest["model"] == model.recipe() and manifest["heads"] == [head.recipe()]
    assert manifest["sources"][0]["n_bytes"] == (source / "00000.tar").stat().st_size
    assert [shard["source"] for shard in manifest["shards"]] == ["00000.tar", "00001.tar"]
    assert str(tmp_path) not in result.manifest.read_text()


def test_progress_and_torch_threads_are_as_before(model, tmp_path, capsys):
    import torch

    before = torch.get_num_threads()
    source = captioned(tmp_path / "in", n_tars=2)
    embed(source, tmp_path / "a", model, progress=False)
    assert capsys.readouterr().err == ""
    embed(source, tmp_path / "b", model, progress=True)
    assert "embed: 100%" in capsys.readouterr().err
    assert torch.get_num_threads() == before
