"""The table of verbs: its readers, and that lazy verbs are lazy and eager verbs compute."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import pickle
import threading

import dask
import distributed
import numpy as np
import pytest
from support.paths import PACKAGE, ROOT
from support.shards import collection, laion_table, refuse, write_shard
from support.small_clip import picture
from support.small_wordnet import write_wordnet

import laion_dask as ld
from laion_dask.accessor import Laion
from laion_dask.errors import OptionError
from laion_dask.verbs import VERBS, Verb

METHODS = sorted(name for name, verb in VERBS.items() if verb.is_method)

#: A call of every method, given a frame, its embeddings and a folder.
CALLS = {
    "explore": lambda frame, emb, folder: frame.laion.explore(emb).wait(),
    "where": lambda frame, emb, folder: frame.laion.where("width > 300"),
    "join": lambda frame, emb, folder: frame.laion.join(str(folder / "scores.parquet"), on="hash"),
    "similarity": lambda frame, emb, folder: frame.laion.similarity(emb, emb, to="clip"),
    "score": lambda frame, emb, folder: frame.laion.score(emb, prompt_head(emb)),
    "norm_sim": lambda frame, emb, folder: frame.laion.norm_sim(emb, emb),
    "neg_clip_loss": lambda frame, emb, folder: frame.laion.neg_clip_loss(emb, emb, repeats=2),
    "soft_cap": lambda frame, emb, folder: frame.laion.soft_cap("similarity", 30),
    "fit_mix": lambda frame, emb, folder: frame.laion.fit_mix(["similarity"], "width > 900"),
    "mix": lambda frame, emb, folder: frame.laion.mix({"similarity": 1, "punsafe": -2}),
    "score_captions": lambda frame, emb, folder: frame.laion.score_captions(
        ld.heads.toxicity(len_over_100, to="long")
    ),
    "language": lambda frame, emb, folder: frame.laion.language(to="detected"),
    "dedup": lambda frame, emb, folder: frame.laion.dedup(keep={"max": "similarity"}),
    "in_region": lambda frame, emb, folder: frame.laion.in_region(
        emb, [[0, 0], [1, 0], [0, 1]], ld.fit_projection(emb)
    ),
    "top": lambda frame, emb, folder: frame.laion.top("similarity", 0.3),
    "duplicates": lambda frame, emb, folder: frame.laion.duplicates(by="text"),
    "balance": lambda frame, emb, folder: frame.laion.balance(["a", "the"], t=1),
    "concepts": lambda frame, emb, folder: frame.laion.concepts(["a", "the"]),
    "sample": lambda frame, emb, folder: frame.laion.sample(n=5, by="language"),
    "exclude": lambda frame, emb, folder: frame.laion.exclude(["http://a"]),
    "tagged": lambda frame, emb, folder: frame.laion.tagged(ld.Tags.of(frame, [[0, 1]], "a")),
    "decontaminate": lambda frame, emb, folder: frame.laion.decontaminate(np.eye(1, emb.dim), emb),
    "against_relaion": lambda frame, emb, folder: frame.laion.against_relaion(frame),
    "excluded": lambda frame, emb, folder: frame.laion.where("width > 300").laion.excluded(),
    "rows": lambda frame, emb, folder: frame.laion.rows(),
    "funnel": lambda frame, emb, folder: frame.laion.where("width > 300").laion.funnel(),
    "mentions_synset": lambda frame, emb, folder: frame.laion.mentions_synset(
        folder / "synsets.txt", wordnet=folder / "wordnet"
    ),
    "explode_captions": lambda frame, emb, folder: frame.laion.explode_captions(
        ["url", "text"], to="either"
    ),
    "choose_caption": lambda frame, emb, folder: frame.laion.choose_caption(
        ["url", "text"], "longest", to="caption"
    ),
    "phash": lambda frame, emb, folder: frame.assign(key="0").laion.phash(folder / "images"),
    "drop_frequent": lambda frame, emb, folder: frame.laion.drop_frequent("text"),
    "near_targets": lambda frame, emb, folder: frame.laion.near_targets(
        emb, np.eye(2, emb.dim), np.eye(1, emb.dim)
    ),
    "nearest_centroid": lambda frame, emb, folder: frame.laion.nearest_centroid(
        emb, np.eye(2, emb.dim)
    ),
    "complexity": lambda frame, emb, folder: frame.laion.complexity(emb, 5, n_clusters=2),
    "prune": lambda frame, emb, folder: frame.laion.prune(emb, 5, n_clusters=2),
    "kmeans": lambda frame, emb, folder: frame.laion.kmeans(emb, 2, iterations=2),
    "search": lambda frame, emb, folder: frame.laion.search(emb, (0, 1), k=2),
    "summary": lambda frame, emb, folder: frame.laion.summary(),
    "distributions": lambda frame, emb, folder: frame.laion.distributions("similarity"),
    "statistics": lambda frame, emb, folder: frame.laion.statistics(ld.describe()),
    "audit": lambda frame, emb, folder: frame.laion.audit("width > 300", by="language"),
    "perceived": lambda frame, emb, folder: frame.laion.perceived(emb, two_labels(emb)),
    "datasheet": lambda frame, emb, folder: frame.laion.datasheet(folder / "page.html"),
    "export": lambda frame, emb, folder: frame.laion.export(folder / "out"),
}


def len_over_100(texts):
    return [float(len(text) > 100) for text in texts]


def two_labels(emb) -> dict:
    one, other = np.eye(2, emb.dim, dtype=np.float32)
    return {"one": one, "other": other}


def prompt_head(emb):
    vectors = np.stack(list(two_labels(emb).values())).tobytes()
    return ld.heads.PromptHead("score", emb.model, ("one", "other"), 0, vectors)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verbs")
    written = collection(folder / "c", (40, 20))
    frame = ld.read_shards(written.metadata)
    emb = ld.open_embeddings(written.img_emb, model=written.model, like=frame)
    scores = laion_table(10, 0).select(["hash"]).append_column("rating", [list(range(10))])
    write_shard(folder / "scores.parquet", scores)
    write_wordnet(folder / "wordnet")
    (folder / "images").mkdir()
    (folder / "images" / "0.png").write_bytes(picture(0))
    (folder / "synsets.txt").write_text("n00000001\n")
    return frame, emb, folder


@pytest.mark.parametrize("name", METHODS)
def test_lazy_verbs_compute_nothing_and_eager_ones_compute(name, data):
    with dask.config.set(scheduler=refuse):
        if VERBS[name].is_lazy:
            CALLS[name](*data)
        else:
            with pytest.raises(AssertionError, match="computed"):
                CALLS[name](*data)


async def each_verb(frame, emb, folder) -> dict[str, str]:
    """What becomes of a call of every verb: the name of its result's class, or its error."""
    found = {}
    for name in METHODS:
        try:
            found[name] = type(CALLS[name](frame, emb, folder)).__name__
        except OptionError as error:
            found[name] = str(error)
    return found


async def under_an_asynchronous_client(*data) -> dict[str, str]:
    options = {"processes": False, "n_workers": 1, "dashboard_address": "127.0.0.1:0"}
    async with distributed.Client(asynchronous=True, **options):
        return await each_verb(*data)


@pytest.mark.parametrize("coroutine", [each_verb, under_an_asynchronous_client])
def test_in_an_event_loop_verbs_work_or_refuse_and_never_wait_for_ever(coroutine, data, tmp_path):
    frame, emb, folder = data
    for name in ("scores.parquet", "synsets.txt", "wordnet", "images"):
        (tmp_path / name).symlink_to(folder / name)
    ends: list[dict[str, str]] = []
    run = threading.Thread(
        target=lambda: ends.append(asyncio.run(coroutine(frame, emb, tmp_path))), daemon=True
    )
    run.start()
    run.join(300)
    assert ends, "a verb waits, or has failed"
    is_asynchronous = coroutine is under_an_asynchronous_client
    for name, end in ends[0].items():
        is_refused = end.startswith("The Dask client is asynchronous")
        assert is_refused == (is_asynchronous and not VERBS[name].is_lazy), (name, end)
        assert "\n" not in end


@pytest.mark.parametrize("name", METHODS)
def test_the_result_of_a_lazy_verb_computes(name, data):
    if VERBS[name].is_lazy:
        CALLS[name](*data).compute(scheduler="sync")


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_each_verb_is_a_function_whose_first_line_says_when_it_computes(verb):
    function = verb.load()
    assert inspect.isfunction(function) and function.__name__ == verb.name
    home = getattr(ld, verb.namespace) if verb.namespace else ld
    assert getattr(home, verb.name) is function
    first = function.__doc__.splitlines()[0]
    assert first.endswith("Lazy." if verb.is_lazy else "Eager.")
    if verb.is_method:
        method = getattr(Laion, verb.name)
        assert method.__doc__ == function.__doc__
        assert next(iter(inspect.signature(function).parameters)) in ("frame", "before")


def test_the_accessor_has_the_verbs_of_the_table_and_no_others():
    assert sorted(name for name in dir(Laion(None)) if not name.startswith("_")) == METHODS
    assert sorted(CALLS) == METHODS
    with pytest.raises(AttributeError, match=r"no verb 'serch'\. Did you mean 'search'"):
        Laion(None).serch  # noqa: B018


def test_rows_of_the_table_pickle():
    assert pickle.loads(pickle.dumps(VERBS)) == VERBS
    assert all(isinstance(verb, Verb) and VERBS[verb.name] is verb for verb in VERBS.values())


def test_the_stub_is_what_its_script_writes():
    spec = importlib.util.spec_from_file_location("write_stub", ROOT / ".ci/write_stub.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    stub = (PACKAGE / "__init__.pyi").read_text(encoding="utf-8")
    assert stub == script.stub(), "run python .ci/write_stub.py"


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_the_line_of_a_verb_is_that_of_its_docstring(verb):
    assert verb.does == (verb.load().__doc__ or "").splitlines()[0]
