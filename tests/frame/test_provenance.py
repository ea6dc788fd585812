"""Each verb computes its frame's provenance once, walking the graph once."""

import numpy as np
import pytest
from support.heads import linear_head

import laion_dask as ld
from laion_dask.errors import ProvenanceError
from laion_dask.frame import row_path
from laion_dask.frame.provenance import Provenance


@pytest.fixture
def requested(monkeypatch):
    """Records the name of each frame whose provenance is requested."""
    names, of = [], Provenance.of
    monkeypatch.setattr(
        Provenance, "of", classmethod(lambda cls, frame: names.append(frame._name) or of(frame))
    )
    return names


@pytest.fixture
def walked(monkeypatch):
    """Records the name of each expression whose paths are walked."""
    names, walk = [], row_path.walk
    monkeypatch.setattr(row_path, "walk", lambda expr: names.append(expr._name) or walk(expr))
    return names


QUERY = np.ones(8, np.float32)
#: Each function takes a frame, embeddings, a head and a folder.
VERBS = {
    "where": lambda f, emb, head, path: f.laion.where("width > 300"),
    "rows": lambda f, emb, head, path: f.laion.rows(),
    "similarity": lambda f, emb, head, path: f.laion.similarity(emb, QUERY),
    "similarity of two": lambda f, emb, head, path: f.laion.similarity(emb, emb, to="clip"),
    "score": lambda f, emb, head, path: f.laion.score(emb, head),
    "search": lambda f, emb, head, path: f.laion.search(emb, QUERY, k=3),
    "search, reordered": lambda f, emb, head, path: f.laion.search(
        emb, QUERY, k=3, rerank=ld.Rerank(emb, QUERY)
    ),
    "statistics": lambda f, emb, head, path: f.laion.statistics(ld.describe()),
    "summary": lambda f, emb, head, path: f.laion.summary(),
    "excluded": lambda f, emb, head, path: f.laion.excluded(),
    "funnel": lambda f, emb, head, path: f.laion.funnel(),
    "audit": lambda f, emb, head, path: f.laion.audit("similarity > 0.3", by="language"),
    "export": lambda f, emb, head, path: f.laion.export(path / "out"),
    "join": lambda f, emb, head, path: f.laion.join(
        f[["hash", "similarity", "shard", "row"]].rename(columns={"similarity": "other"}),
        duplicates="first",
    ),
    "plan": lambda f, emb, head, path: ld.plan(f, ["summary"]),
}
#: Frames by construction: a plain scan, a filtering scan, further steps.
FRAMES = {
    "as read": lambda f: f,
    "filtered in the scan": lambda f: f.laion.where("width > 250"),
    "computed": lambda f: f.assign(area=f["width"] * f["height"]).laion.where("area > 90000"),
}


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_asks_once(verb, kind, frame, two_shards, tmp_path, requested, walked):
    emb = ld.open_embeddings(two_shards.img_emb, model=two_shards.model)
    head = linear_head(tmp_path, two_shards.model)
    prepared = FRAMES[kind](frame)
    requested.clear()
    walked.clear()
    VERBS[verb](prepared, emb, head, tmp_path)
    assert requested.count(prepared._name) == 1
    assert walked.count(prepared.expr._name) <= 1


def test_a_frame_that_only_reads_is_not_optimized(frame, monkeypatch):
    monkeypatch.setattr(type(frame), "optimize", None)
    provenance = Provenance.of(frame)
    scan, partitions, columns = provenance.select(["url", "width"]).optimized_scan
    assert (scan, partitions) == provenance.as_read and columns == ["url", "width"]
    merged = frame.merge(frame[["hash", "width"]], on="hash")
    assert Provenance.of(merged).optimized_scan is None


def test_what_is_unknown_raises_when_it_is_asked_for(frame):
    provenance = Provenance.of(frame.persist())
    assert provenance.as_read is None and provenance.filters == []
    for name in ("sources", "shards", "partitions"):
        with pytest.raises(ProvenanceError, match="does not lead back to read_shards"):
            getattr(provenance, name)


def test_a_selection_shares_the_steps(frame, walked):
    provenance = Provenance.of(frame.laion.where("width > 250"))
    before = provenance.sources
    selected = provenance.select(["url"])
    assert selected.sources == before and selected.filters == ["width > 250"]
    assert selected.frame.columns.tolist() == ["url"] and len(walked) == 1
