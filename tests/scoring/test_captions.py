"""Heads for captions: the profanity proxy, and any classifier passed in."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import distributed
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from profanity_check import profanity_check
from support.frames import both
from support.property_tests import examples

import laion_dask as ld
from laion_dask.errors import ColumnError, LaionDaskError, MissingExtraError, OptionError
from laion_dask.models import ClipModel
from laion_dask.models.heads import captions
from laion_dask.scoring import captions_kernel as kernels

TEXTS = ["a bird on a boat", None, "", "what the fuck is this shit", "über Brücken", "鳥"]


def length(texts):
    """A classifier with a known answer: the length of a text, up to 100."""
    return [min(len(text), 100) / 100 for text in texts]


def toxic_by_length(texts):
    """The same in the format of a text-classification pipeline with ``top_k=None``."""
    return [
        [{"label": "polite", "score": 1 - p}, {"label": "toxic", "score": p}] for p in length(texts)
    ]


class Pipeline:
    """A stand-in for a transformers pipeline, with results of the same shape."""

    class Model:
        name_or_path = "someone/toxic-model"

    def __init__(self, top_k: int | None = 1) -> None:
        self.model, self.top_k = Pipeline.Model(), top_k

    def __call__(self, texts):
        ranked = [sorted(one, key=lambda x: -x["score"]) for one in toxic_by_length(texts)]
        return (
            [one[0] for one in ranked] if self.top_k == 1 else [one[: self.top_k] for one in ranked]
        )


def lengths(texts) -> np.ndarray:
    return np.array([np.nan if t is None else length([t])[0] for t in texts], np.float32)


# The profanity proxy


def test_the_proxy_is_alt_profanity_check(shared):
    import pyarrow.parquet as pq

    texts = pq.read_table(shared / "data/web_captions_10000.parquet")["TEXT"].to_pylist()
    head = ld.heads.toxicity()
    found = head.predict(texts)
    model, words = profanity_check.model, profanity_check.vectorizer
    expected = model.predict_proba(words.transform(texts))[:, 1]
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert (head.name, head.reads) == ("profanity", "captions")
    assert ((found >= 0) & (found <= 1)).all() and (found > 0.5).mean() == 0.0091


def test_the_proxy_knows_words_and_nulls():
    found = ld.heads.toxicity().predict(TEXTS)
    assert found.dtype == np.float32 and found.shape == (6,)
    assert list(np.isnan(found)) == [False, True, False, False, False, False]
    assert found[3] > 0.9 and (found[[0, 2, 4, 5]] < 0.5).all()
    assert ld.heads.toxicity().predict([]).shape == (0,)
    assert np.isnan(ld.heads.toxicity().predict([None, None])).all()
    known_limits = ld.heads.toxicity().predict(["die Brücke", "the gay community"])
    np.testing.assert_allclose(known_limits, [0.94, 0.66], atol=0.005)  # as in the docstring


def test_the_proxy_does_not_depend_on_its_neighbours():
    head, texts = ld.heads.toxicity(), TEXTS * 5
    whole = head.predict(texts)
    np.testing.assert_array_equal(ld.heads.toxicity(batch_size=1).predict(texts), whole)
    np.testing.assert_array_equal(ld.heads.toxicity(batch_size=7).predict(texts), whole)
    np.testing.assert_array_equal(head.predict(texts[3:4])[0], whole[3])


def test_the_proxy_says_which_versions_it_is():
    assert ld.heads.toxicity().recipe() == {
        "name": "profanity",
        "label": None,
        "classifier": {
            "alt-profanity-check": captions.version("alt-profanity-check"),
            "scikit-learn": captions.version("scikit-learn"),
        },
    }


def test_a_missing_or_unfit_package_is_named(monkeypatch):
    head = ld.heads.toxicity()
    with monkeypatch.context() as patch:
        patch.setattr(captions, "version", lambda name: "1.8.0")
        for use in (ld.heads.toxicity, lambda: head.predict(["a"])):
            with pytest.raises(MissingExtraError, match=r"scikit-learn [\d.]+, but 1\.8\.0 .*tox"):
                use()
    for package in ("alt-profanity-check", "scikit-learn"):

        def raise_if_missing(name, package=package):
            if name == package:
                raise captions.PackageNotFoundError(package)
            return []

        with monkeypatch.context() as patch:
            patch.setattr(captions, "version", raise_if_missing)
            patch.setattr(captions, "requires", raise_if_missing)
            with pytest.raises(MissingExtraError, match=rf"{package}.*laion_dask\[toxicity\]"):
                ld.heads.toxicity()


def test_the_model_fits_the_installed_scikit_learn():
    """There is no InconsistentVersionWarning, which would be an error here."""
    words = [sys.executable, "-W", "error", "-c", "import profanity_check"]
    subprocess.run(words, check=True, timeout=250)


# Any classifier


@pytest.mark.parametrize(
    "kind", [list, tuple, np.array, torch.tensor, lambda p: np.array(p, np.float16), pd.Series]
)
def test_probabilities_of_any_kind(kind):
    head = ld.heads.toxicity(lambda texts: kind(length(texts)))
    assert head.name == "toxicity"
    np.testing.assert_allclose(head.predict(TEXTS), lengths(TEXTS), atol=1e-3)


@pytest.mark.parametrize("kind", [list, np.array, pd.Series, lambda t: pd.array(t, "string")])
def test_texts_of_any_kind(kind):
    np.testing.assert_array_equal(ld.heads.toxicity(length).predict(kind(TEXTS)), lengths(TEXTS))


def test_a_pipeline_is_taken_by_label():
    head = ld.heads.toxicity(Pipeline(top_k=None), label="toxic", to="toxic")
    np.testing.assert_array_equal(head.predict(TEXTS), lengths(TEXTS))
    assert head.recipe() == {
        "name": "toxic",
        "label": "toxic",
        "classifier": "test_captions.Pipeline",
        "model": "someone/toxic-model",
    }
    long = ["x" * 60, "y" * 80]  # their best label is the requested one
    best = ld.heads.toxicity(Pipeline(), label="toxic")
    np.testing.assert_array_equal(best.predict(long), np.array([0.6, 0.8], np.float32))
    with pytest.raises(OptionError, match=r"scores for polite and none for 'toxic'.*top_k=None"):
        best.predict(["short"])
    with pytest.raises(OptionError, match=r"label= of the head .* Available: polite, toxic"):
        ld.heads.toxicity(Pipeline(top_k=None)).predict(["short"])


def test_nulls_are_not_given_to_the_classifier_and_batches_are_no_larger_than_asked():
    given_to = []

    def spy(texts):
        given_to.append(list(texts))
        return np.full(len(texts), 0.5)

    texts = [None, "a", np.nan, "b", pd.NA, "c", "d", "e"]
    found = ld.heads.toxicity(spy, batch_size=2).predict(texts)
    assert given_to == [["a", "b"], ["c", "d"], ["e"]]
    assert list(np.flatnonzero(np.isnan(found))) == [0, 2, 4]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda texts: [0.5], "given 6 captions and returned"),
        (lambda texts: np.zeros((len(texts), 2)), r"returned \(6, 2\)"),
        (lambda texts: 0.5, r"returned \(\)"),
        (lambda texts: None, "returned"),
        (lambda texts: ["bad"] * len(texts), "returned list"),
        (lambda texts: [1.5] * len(texts), r"returned 1\.5.*logit"),
        (lambda texts: [-1e-9] * len(texts), r"probabilities in \[0, 1\]"),
        (lambda texts: [np.inf] * len(texts), "returned inf"),
        (lambda texts: [{"score": 0.5}] * len(texts), "Expected a number, or label and score"),
        (lambda texts: [[0.5, 0.5]] * len(texts), "Expected a number, or label and score"),
    ],
)
def test_answers_that_are_no_probabilities_are_refused(answer, said):
    with pytest.raises(OptionError, match=said):
        ld.heads.toxicity(answer).predict(["a"] * 6)


def test_a_classifier_may_say_that_it_does_not_know():
    head = ld.heads.toxicity(lambda texts: [np.nan if t == "?" else 1 for t in texts])
    np.testing.assert_array_equal(head.predict(["a", "?"]), [1, np.nan])


def test_arguments_are_checked():
    for wrong in ("one text", b"bytes", [1, 2], ["a", b"b"], [["a"]]):
        with pytest.raises(OptionError, match="Expected"):
            ld.heads.toxicity(length).predict(wrong)
    with pytest.raises(OptionError, match="label='toxic', but its classifier returns numbers"):
        ld.heads.toxicity(length, label="toxic").predict(["a"])
    for arguments, said in [
        ({"predict": "detoxify"}, "Expected a callable"),
        ({"label": "toxic"}, "has no labels"),
        ({"predict": length, "label": 1}, "label is 1"),
        ({"predict": length, "batch_size": 0}, "Expected 1 or more"),
        ({"predict": length, "to": ""}, "output column"),
    ]:
        with pytest.raises(OptionError, match=said):
            ld.heads.toxicity(**arguments)


def test_a_head_is_a_spec():
    for head in (ld.heads.toxicity(), ld.heads.toxicity(length)):
        renamed = head.to("rude")
        assert renamed.name == "rude" and renamed != head and hash(head)
        assert pickle.loads(pickle.dumps(head)) == head
    assert head.recipe()["classifier"] == "test_captions.length"


# On a frame


@pytest.fixture
def frame(write):
    """Three shards, one of them empty, with a null caption in each other."""
    for i, texts in enumerate((TEXTS, [], TEXTS[:3] * 2)):
        urls = [f"https://example.org/{i}/{n}" for n in range(len(texts))]
        write(f"shards/{i}.parquet", {"URL": urls, "TEXT": pa.array(texts, pa.string())})
    return ld.read_shards(write("other/x.parquet", {"URL": ["a"]}).replace("other/x", "shards/*"))


@both
def test_captions_are_scored(frame, monkeypatch):
    monkeypatch.setattr(kernels, "BLOCK", 4)
    heads = [ld.heads.toxicity(), ld.heads.toxicity(toxic_by_length, label="toxic", to="long")]
    scored = frame.laion.score_captions(*heads)
    found = scored.compute()
    assert scored.dtypes["profanity"] == found["profanity"].dtype == np.float32
    texts = [None if pd.isna(t) else t for t in found["text"]]
    assert texts == TEXTS + TEXTS[:3] * 2
    for head in heads:
        np.testing.assert_array_equal(found[head.name], head.predict(texts))
    again = ld.score_captions(frame, heads[0]).repartition(npartitions=1).compute()
    np.testing.assert_array_equal(again["profanity"], found["profanity"])
    found.loc[:, "profanity"] = 0  # computed values are writable


@both
def test_null_captions_are_unscored_and_never_kept(frame, tmp_path):
    subset = frame.laion.score_captions(ld.heads.toxicity()).laion.where("profanity < 0.5")
    done = subset.laion.export(tmp_path / "out")
    rows = done.rows
    assert (rows.read, rows.kept, rows.dropped, rows.unscored) == (12, 8, 1, 3)
    recipe = json.loads((tmp_path / "out/_recipe.json").read_text())
    assert recipe["models"] == [ld.heads.toxicity().recipe()]


def test_scoring_captions_is_lazy_and_reads_them_alone(frame, no_compute, queries):
    scored = frame.laion.score_captions(ld.heads.toxicity(length))[["toxicity", "row"]]
    assert queries == []
    scored.compute(scheduler="sync")
    assert len(queries) == 3
    for sql in queries:
        assert '"TEXT"' in sql and '"URL"' not in sql


@both
def test_what_score_captions_refuses(frame):
    head = ld.heads.toxicity(length)
    linear = ld.heads.PromptHead("p", ClipModel("ViT-B-32"), ("a", "b"), 0, bytes(4096))
    for heads, column, kind, said in [
        ((), "text", OptionError, "No head was given"),
        ((head, head), "text", OptionError, "Two heads write"),
        ((linear,), "text", OptionError, r"reads embeddings; .* Pass it to score\."),
        ((length,), "text", OptionError, "A head is"),
        ((head,), "txet", ColumnError, "Did you mean 'text'"),
        ((head,), "row", OptionError, "holds int64"),
        ((head.to("url"),), "text", OptionError, "already has a column 'url'"),
    ]:
        with pytest.raises(kind, match=said):
            frame.laion.score_captions(*heads, column=column)
    with pytest.raises(OptionError, match="a Dask DataFrame"):
        ld.score_captions(frame.compute(), head)


@both
def test_a_wrong_answer_ends_the_run_in_words(frame):
    scored = frame.laion.score_captions(ld.heads.toxicity(lambda texts: [2.0] * len(texts)))
    with pytest.raises(LaionDaskError, match=r"returned 2\. Expected probabilities"):
        scored.compute(scheduler="sync")


@pytest.mark.slow
def test_workers_give_the_same_scores(frame, worker_processes):
    scored = frame.laion.score_captions(ld.heads.toxicity(), ld.heads.toxicity(length))
    here = scored.compute()
    with distributed.Client(worker_processes):
        pd.testing.assert_frame_equal(scored.compute(), here, check_exact=True)


@both
def test_a_classifier_is_called_by_one_thread_at_a_time(write):
    import threading

    inside = threading.Lock()

    def alone(texts):
        assert inside.acquire(blocking=False), "two threads at the same time"
        try:
            return length(texts)
        finally:
            inside.release()

    paths = [write(f"{i}.parquet", {"TEXT": ["a"] * 500, "URL": [f"b{i}"] * 500}) for i in range(8)]
    scored = ld.read_shards(paths).laion.score_captions(ld.heads.toxicity(alone, batch_size=50))
    assert scored.compute(scheduler="threads", num_workers=8)["toxicity"].eq(np.float32(0.01)).all()


@examples(30)
@given(st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=40), max_size=30))
def test_any_text_has_a_probability_whatever_the_batch(texts):
    found = ld.heads.toxicity().predict(texts)
    assert list(np.isnan(found)) == [text is None for text in texts]
    np.testing.assert_array_equal(ld.heads.toxicity(batch_size=3).predict(texts), found)
