"""Trained heads, against scikit-learn's measures, planted labels and any partitioning."""

import os
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score
from support.frames import both

import laion_dask as ld
from laion_dask.errors import (
    ColumnError,
    EmbeddingsError,
    ModelMismatchError,
    OptionError,
    WeightsError,
)
from laion_dask.models import ClipModel, Vectors
from laion_dask.models.weights import sha256_of
from laion_dask.stats import reliability

DIM = 512


@pytest.fixture(scope="module")
def planted():
    """Embeddings with a direction that decides the label, up to noise; (x, p, y)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, DIM)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    p = 1 / (1 + np.exp(-60 * x[:, 0]))
    return x, p, rng.random(3000) < p


def test_reliability_against_scikit_learn():
    rng = np.random.default_rng(1)
    p = rng.random(5000)
    y = rng.random(5000) < p**2
    rows, ece = reliability(p, y)
    share, mean = calibration_curve(y, p, n_bins=15)
    np.testing.assert_allclose([r[3] for r in rows], mean)
    np.testing.assert_allclose([r[4] for r in rows], share)
    plain = 0.0
    for i in range(15):
        here = (p >= i / 15) & (p < (i + 1) / 15)
        plain += abs(p[here].mean() - y[here].mean()) * here.mean()
    assert ece == pytest.approx(plain, abs=1e-12)
    assert reliability(np.ones(4), np.ones(4))[1] == 0


@pytest.mark.parametrize("hidden, short", [((), 0.08), ((16,), 0.2)])
def test_a_planted_direction_is_found(planted, hidden, short):
    x, p, y = planted
    head = ld.heads.train(x, y, clip="ViT-B-32", hidden=hidden, to="p_planted")
    report = head.report
    assert report.n_train + report.n_test == 3000 and report.n_test == pytest.approx(600, abs=1)
    ceiling = roc_auc_score(y, p)
    assert ceiling - short < report.roc_auc <= ceiling + 0.03
    assert report.ece < 0.2 and sum(bin[2] for bin in report.bins) == report.n_test
    scores = head.predict(x)
    assert np.corrcoef(scores, p)[0, 1] > 1 - 2.5 * short
    np.testing.assert_array_equal(head.predict(x[1700:1701]), scores[1700:1701])
    np.testing.assert_array_equal(head.predict(8 * x[:9]), scores[:9])
    assert "p_planted" in repr(head) and "ROC-AUC" in str(report)


def test_the_layers_are_what_scikit_learn_says(planted):
    from sklearn.linear_model import LogisticRegression

    x, _, y = planted
    head = ld.heads.train(x, y, clip="ViT-B-32")
    (weight, bias), *_ = head.load()
    strength = float(head.report.method.rpartition("=")[2])
    again = LogisticRegression(C=strength)
    again.coef_, again.intercept_, again.classes_ = (
        weight.numpy(),
        bias.numpy(),
        np.array([False, True]),
    )
    np.testing.assert_allclose(head.predict(x), again.predict_proba(x)[:, 1], atol=1e-6)


def test_saved_and_loaded(planted, tmp_path):
    x, _, y = planted
    head = ld.heads.train(x[:300], y[:300], tmp_path / "head", clip="ViT-B-32:openai")
    card = (tmp_path / "head" / "MODEL_CARD.md").read_text()
    assert f"{head.report.roc_auc:.4f}" in card and "300 rows were given" in card
    assert sorted(p.name for p in (tmp_path / "head").iterdir()) == [
        "MODEL_CARD.md",
        "head.safetensors",
    ]
    again = ld.heads.load(tmp_path / "head")
    assert again == head and hash(again) and pickle.loads(pickle.dumps(head)) == head
    np.testing.assert_array_equal(again.predict(x), head.predict(x))
    with pytest.raises(WeightsError, match="which differs from"):
        ld.heads.load(tmp_path / "head", clip="ViT-L-14")
    data = (tmp_path / "head" / "head.safetensors").read_bytes()
    for cut in (0, 4, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.safetensors").write_bytes(data[:cut])
        with pytest.raises(WeightsError, match="is not a head saved by train"):
            ld.heads.load(tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError):
        ld.heads.load(tmp_path / "nowhere")
    with pytest.raises(OptionError, match="A model is given as int"):
        ld.heads.load(tmp_path / "head", clip=3)


def test_a_renamed_head_is_saved_under_its_name(planted, tmp_path):
    x, _, y = planted
    head = ld.heads.train(x[:300], y[:300], clip="ViT-B-32:openai", to="p")
    renamed = head.to("zzz")
    again = ld.heads.load(renamed.save(tmp_path))
    assert again == renamed and again.name == "zzz" and "# zzz" in model_card_of(tmp_path)
    assert again.recipe()["sha256"] == sha256_of(tmp_path / "head.safetensors")
    assert renamed == ld.heads.train(x[:300], y[:300], clip="ViT-B-32:openai", to="zzz")
    assert renamed.to("p") == head
    np.testing.assert_array_equal(again.predict(x[:9]), head.predict(x[:9]))


def model_card_of(folder) -> str:
    return (folder / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_head_is_saved_whole_or_not_at_all(planted, tmp_path, monkeypatch, n):
    x, _, y = planted
    old, new = (ld.heads.train(x[:k], y[:k], clip="ViT-B-32") for k in (300, 310))
    old.save(tmp_path)
    left, steps = list(range(n)), (os.fsync, os.replace)

    def failing(real):
        def step(*args):
            left.pop()
            if not left:
                raise OSError("no space")
            return real(*args)

        return step

    monkeypatch.setattr(os, "fsync", failing(steps[0]))
    monkeypatch.setattr(os, "replace", failing(steps[1]))
    with pytest.raises(OSError, match="no space"):
        new.save(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["MODEL_CARD.md", "head.safetensors"]
    assert ld.heads.load(tmp_path) == old


def test_a_head_of_ones_own_model_needs_to_be_told(planted, tmp_path):
    x, _, y = planted
    (tmp_path / "own.pt").write_bytes(b"weights")
    own = ClipModel("ViT-B-32", tmp_path / "own.pt")
    head = ld.heads.train(x[:300], y[:300], tmp_path / "head", clip=own)
    with pytest.raises(WeightsError, match=r"own\.pt.*Give that model as clip="):
        ld.heads.load(tmp_path / "head")
    assert ld.heads.load(tmp_path / "head", clip=own) == head
    (tmp_path / "other.pt").write_bytes(b"others")
    with pytest.raises(WeightsError, match="which differs from"):
        ld.heads.load(tmp_path / "head", clip=ClipModel("ViT-B-32", tmp_path / "other.pt"))


@pytest.mark.parametrize("hidden", [(), (8,)])
@pytest.mark.parametrize("test", [0.2, 0.9])
def test_four_rows_of_a_class_are_enough(planted, hidden, test):
    x, _, y = planted
    few = np.concatenate([np.flatnonzero(y)[:4], np.flatnonzero(~y)[:4]])
    head = ld.heads.train(x[few], y[few], clip="ViT-B-32", hidden=hidden, test=test)
    assert head.report.n_train + head.report.n_test == 8 and "too few rows" in head.report.method
    for fewer, match in ((few[1:], "3 of the 7 .* positive"), (few[:-1], "3 of the 7 .* negative")):
        with pytest.raises(OptionError, match=match):
            ld.heads.train(x[fewer], y[fewer], clip="ViT-B-32", hidden=hidden)


def test_the_card_counts_those_drawn(planted, tmp_path):
    x, _, y = (part[:1000].copy() for part in planted)
    x[::2] = np.nan
    labels = np.where(np.arange(1000) < 10, np.nan, y)
    report = ld.heads.train(x, labels, tmp_path, clip="ViT-B-32", max_rows=100).report
    assert report.n_train + report.n_test + report.n_unscored == 100
    card = " ".join(model_card_of(tmp_path).split())
    assert "1,000 rows were given: 990 with a label in `label`, 10 without." in card
    assert "100 were sampled (at most 100) by a hash" in card
    assert f"Of the sampled rows, {report.n_unscored} have an embedding that is NaN" in card


@pytest.fixture
def labelled(demo_folder):
    """The demo corpus, its embeddings, and whether the unsafe symbol is present (NaN: unknown)."""
    frame = ld.read_shards(demo_folder / "embedded/metadata")
    images = ld.open_embeddings(demo_folder / "embedded/img_emb", model="demo", like=frame)
    unsafe = (frame["punsafe"] > 0.5).astype("float64").where(~frame["punsafe"].isna())
    return frame.assign(unsafe=unsafe), images


@both
def test_on_a_labelled_frame(labelled):
    frame, images = labelled
    head = ld.heads.train(images, frame, label="unsafe", to="p_like_punsafe")
    n_known = int((~frame["unsafe"].isna()).sum().compute())
    report = head.report
    assert report.n_read == len(frame) and report.n_unlabelled == len(frame) - n_known
    assert report.n_train + report.n_test + report.n_unscored == n_known
    scored = frame.laion.score(images, head)
    assert "p_like_punsafe" in scored.columns
    assert scored["p_like_punsafe"].max().compute() <= 1
    once = ld.heads.train(images, frame.repartition(npartitions=1), label="unsafe", max_rows=100)
    many = ld.heads.train(images, frame, label="unsafe", max_rows=100)
    assert once.tensors == many.tensors and many.report.n_train + many.report.n_test == 100


def test_labels_of_any_plain_kind(planted):
    x, _, y = (part[:300] for part in planted)
    plain = ld.heads.train(x, y, clip="ViT-B-32")
    for labels in (
        torch.from_numpy(y),
        y[:, None],
        y.tolist(),
        torch.from_numpy(y)[:, None].half(),
        pd.Series(y, index=range(7, 307)),
        y.astype(object),
    ):
        assert ld.heads.train(x, labels, clip="ViT-B-32") == plain
    assert ld.heads.train(torch.from_numpy(x), y, clip="ViT-B-32") == plain


def test_unusable_rows_are_counted(planted):
    x, _, y = (part[:400].copy() for part in planted)
    labels = pd.array(y, dtype="boolean")
    labels[:20], x[30], x[31, 4] = pd.NA, 0, np.nan
    report = ld.heads.train(x, labels, clip="ViT-B-32").report
    assert (report.n_read, report.n_unlabelled, report.n_unscored) == (400, 20, 2)
    assert report.n_train + report.n_test == 378


def test_what_train_refuses(planted, labelled, tmp_path):
    x, _, y = planted
    (tmp_path / "file").write_text("")
    by_hand = pd.DataFrame({"shard": [0], "row": [1], "label": [1]})
    frame, images = labelled
    vectors = Vectors(x, ClipModel("ViT-B-32"))
    for call, kind, match in [
        (lambda: ld.heads.train(vectors, y, clip="RN50"), ModelMismatchError, "ViT-B-32"),
        (
            lambda: ld.heads.train(images, frame, label="unsafe", clip="RN50"),
            ModelMismatchError,
            "RN50 and demo",
        ),
        (lambda: ld.heads.train(x, y), OptionError, "plain array"),
        (lambda: ld.heads.train(x, y[:9], clip="ViT-B-32"), EmbeddingsError, "expected floats"),
        (lambda: ld.heads.train(x, y, clip="ViT-L-14"), EmbeddingsError, r"\(n, 768\)"),
        (lambda: ld.heads.train(x, y > 2, clip="ViT-B-32"), OptionError, "0 of the 3000"),
        (lambda: ld.heads.train(x, y, clip="ViT-B-32", test=1), OptionError, "test is 1"),
        (lambda: ld.heads.train(x, y, clip="ViT-B-32", hidden=5), OptionError, "hidden is 5"),
        (lambda: ld.heads.train(x, y * 0.5, clip="ViT-B-32"), OptionError, "Expected 0 and 1"),
        (lambda: ld.heads.train(x, y.astype(str), clip="ViT-B-32"), OptionError, "are not numbers"),
        (lambda: ld.heads.train(x, 3, clip="ViT-B-32"), OptionError, "are not numbers"),
        (lambda: ld.heads.train(x, np.c_[y, y], clip="ViT-B-32"), EmbeddingsError, "3000, 2"),
        (lambda: ld.heads.train("x", y, clip="ViT-B-32"), EmbeddingsError, "expected floats"),
        (lambda: ld.heads.train(x, y, clip="ViT-B-32", hidden=None), OptionError, "hidden is"),
        (lambda: ld.heads.train(x, y, clip="ViT-B-32", test="a"), OptionError, "test is 'a'"),
        (lambda: ld.heads.train(images, frame, label="text"), OptionError, "holds str"),
        (lambda: ld.heads.train(images, y), OptionError, "frame from read_shards"),
        (lambda: ld.heads.train(images, by_hand), OptionError, r"merge\(labels, on="),
        (
            lambda: ld.heads.train(x, y, clip="ViT-B-32", out=tmp_path / "file"),
            OptionError,
            "is a file",
        ),
        (lambda: ld.heads.train(x, y, clip="ViT-B-32", out=3), OptionError, "out is 3"),
        (lambda: ld.heads.train(images, frame), OptionError, "Name the one"),
        (lambda: ld.heads.train(images, frame, label="unsaf"), ColumnError, "unsafe"),
    ]:
        with pytest.raises(kind, match=match):
            call()
