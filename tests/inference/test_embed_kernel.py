"""The kernel of ``embed`` against a slow loop."""

import pickle

import numpy as np
import pytest

from laion_dask.errors import ImageError
from laion_dask.inference import embed as verb
from laion_dask.inference import embed_kernel as kernel
from laion_dask.inference import output_folder


class Numbers:
    """An encoder that maps the image b'7' to the vector (1, 7), and b'0' to NaN."""

    def decode(self, data):
        if data == b"bad":
            raise ImageError("bad")
        return float(data)

    def prepare(self, picture):
        return picture

    def images(self, prepared):
        vectors = np.array([[1, x] for x in prepared], np.float32)
        return np.where(vectors[:, 1:] == 0, np.nan, vectors)

    def texts(self, texts):
        return np.array([[2, float(t)] for t in texts], np.float32)


def stream(n):
    from laion_dask.io.images.samples import Sample

    for i in range(n):
        data = b"bad" if i % 7 == 3 else b"%d" % i
        caption = str(i) if i % 2 else None
        yield Sample(str(i), image=data, caption=caption, reason="read" if i % 11 == 5 else None)


@pytest.mark.parametrize(
    "n, batch_size, n_concurrent", [(0, 4, 1), (1, 4, 2), (50, 4, 1), (50, 7, 3)]
)
def test_kernel_against_a_slow_loop(n, batch_size, n_concurrent, monkeypatch):
    monkeypatch.setattr(kernel, "MAX_BATCH_BYTES", 9)
    seen = []
    result = kernel.embed_samples(
        stream(n),
        Numbers(),
        dim=2,
        batch_size=batch_size,
        texts=True,
        n_concurrent=n_concurrent,
        after_batch=seen.append,
    )
    bad = [i for i in range(n) if i % 7 == 3 or i % 11 == 5 or i == 0]
    good = [i for i in range(n) if i not in bad]
    assert [int(s.key) for s in result.kept] == good and sum(seen) == n
    assert [int(s.key) for s in result.rejected] == bad
    np.testing.assert_array_equal(result.images, np.array([[1, i] for i in good]).reshape(-1, 2))
    expected = [[2, i] if i % 2 else [np.nan] * 2 for i in good]
    np.testing.assert_array_equal(result.texts, np.array(expected, "f2").reshape(-1, 2))
    assert all(s.image is None for s in result.kept + result.rejected)


def test_stopped_by_the_caller_between_batches():
    class Stop(BaseException):
        pass

    def stop(n):
        raise Stop

    with pytest.raises(Stop):
        kernel.embed_samples(stream(50), Numbers(), dim=2, batch_size=4, after_batch=stop)


def test_the_work_pickles(model, head):
    folder = output_folder.EmbedFolder("out", 3, True)
    columns = [["key", "string"]]
    work = verb._Work(model, "bfloat16", (head,), None, columns, folder, 64, 1)
    assert pickle.loads(pickle.dumps(work)).heads == (head,)
