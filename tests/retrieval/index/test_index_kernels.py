"""The kernels of an index: training, encoding, and the choice of the best."""

from types import SimpleNamespace

import numpy as np
import pytest
from support.clustered_vectors import queries

from laion_dask.errors import OptionError
from laion_dask.retrieval.index import brute_force, cuvs_train, ivf_pq


@pytest.fixture
def few_steps(monkeypatch):
    """Fast training, for tests in which quality does not matter."""
    monkeypatch.setattr(ivf_pq, "STEPS", 2)
    monkeypatch.setattr(ivf_pq, "CODEBOOK_STEPS", 2)


def test_torch_encodes_as_faiss_does(few_steps):
    import faiss

    x = queries(12_000, seed=1)
    trained = ivf_pq.train(x, 300, 8, 0, lambda: None)
    by_faiss, by_torch = ivf_pq.encoder(trained)(x), ivf_pq.torch_encoder(trained, "cpu")(x)
    assert by_faiss.shape == by_torch.shape and trained.coarse_code_size() == 2
    assert (by_faiss == by_torch).mean() > 0.9999
    codebook = faiss.vector_to_array(trained.pq.centroids).reshape(8, 256, 2)
    coarse = faiss.downcast_index(trained.quantizer).reconstruct_n(0, 300)
    np.testing.assert_array_equal(ivf_pq.encoder(ivf_pq.assemble(coarse, codebook))(x), by_faiss)


def like_cuvs(broken: bool):
    """The part of cuVS 26.10 that `cuvs_train` calls, implemented with faiss on the CPU."""
    import faiss

    class Trained:
        def __init__(self, params, sample):
            assert params["metric"] == "inner_product" and not params["add_data_on_build"]
            trained = ivf_pq.train(
                sample.numpy(), params["n_lists"], params["pq_dim"], 0, lambda: None
            )
            self.centers = faiss.downcast_index(trained.quantizer).reconstruct_n(0, trained.nlist)
            codebook = faiss.vector_to_array(trained.pq.centroids).reshape(8, 256, 2)
            self.pq_centers = codebook if broken else codebook.transpose(0, 2, 1).copy()

    return SimpleNamespace(IndexParams=dict, build=Trained)


def test_what_cuvs_trains_is_checked_and_becomes_the_same_index(few_steps, monkeypatch):
    x = queries(10_000, seed=1)
    monkeypatch.setattr(cuvs_train, "require_cuvs", lambda: like_cuvs(False))
    made, expected = cuvs_train.train(x, 20, 8, "cpu"), ivf_pq.train(x, 20, 8, 0, lambda: None)
    np.testing.assert_array_equal(ivf_pq.encoder(made)(x), ivf_pq.encoder(expected)(x))
    monkeypatch.setattr(cuvs_train, "require_cuvs", lambda: like_cuvs(True))
    with pytest.raises(OptionError, match=r"pq_centers of shape \(8, 256, 2\)"):
        cuvs_train.train(x, 20, 8, "cpu")
    with pytest.raises(OptionError, match="8-bit codes need 9,984"):
        cuvs_train.train(x[:5000], 20, 8, "cpu")


@pytest.mark.parametrize("k", [1, 4, 50])
def test_best_against_a_sort(k):
    draw = np.random.default_rng(k)
    scores = draw.integers(0, 6, (7, 30)).astype(np.float32)  # many ties
    ids = np.array([draw.permutation(30) for _ in range(7)])
    scores[2, :25], ids[2, :25] = -np.inf, -1
    top, which = brute_force.best(scores, ids, k)
    for q in range(7):
        pairs = sorted((-s, i) for s, i in zip(scores[q], ids[q], strict=True) if i >= 0)[:k]
        assert which[q].tolist() == [i for _, i in pairs] + [-1] * (k - len(pairs))
        assert top[q].tolist() == [-s for s, _ in pairs] + [-np.inf] * (k - len(pairs))


def test_recall_counts_what_is_asked_for():
    truth = np.array([[1, 2, 3], [4, -1, -1]])
    assert brute_force.recall(truth, np.array([[3, 9, 1], [-1, 5, 6]])) == 0.5
    assert np.isnan(brute_force.recall(truth[:0], truth[:0]))
