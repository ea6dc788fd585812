"""Every verb of the table can be planned, and pending computations of a frame are counted."""

from __future__ import annotations

import numpy as np
import pytest
from support.shards import collection, laion_table, write_shard

import laion_dask as ld
from laion_dask.cost import Cost
from laion_dask.errors import ColumnError, OptionError
from laion_dask.planning.measured_rates import open_rates
from laion_dask.verbs import VERBS

PLANNED = sorted(name for name, verb in VERBS.items() if verb.cost)
OTHERS = sorted(set(VERBS) - set(PLANNED))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("costs")
    written = collection(folder / "c", (40, 20))
    frame = ld.read_shards(written.metadata)
    emb = ld.open_embeddings(written.img_emb, model=written.model, like=frame)
    return frame, emb, folder


@pytest.fixture
def frame(data):
    return data[0]


@pytest.fixture
def emb(data):
    return data[1]


@pytest.fixture
def table(data):
    rating = [list(np.arange(10.0))]
    scores = laion_table(10, 0).select(["hash"]).append_column("rating", rating)
    return write_shard(data[2] / "scores.parquet", scores)


#: Further arguments that a verb requires.
ARGUMENTS = {"train": ("punsafe",)}


@pytest.mark.parametrize("name", PLANNED)
def test_every_verb_of_the_table_is_planned_by_its_name(name, frame, emb, no_compute):
    found = ld.plan(frame, (name, *ARGUMENTS.get(name, ())), embeddings=emb, workers=1)
    assert len(found.steps) >= 1 and str(found)
    assert all(step.rows == 60 for step in found.steps)
    assert found.seconds > 0, "its rate was measured"


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_work_on_a_frame_says_what_to_do(name, frame):
    assert VERBS[name].instead
    with pytest.raises(OptionError, match=f"{name} is not planned on a frame: it "):
        ld.plan(frame, name)


def test_every_rate_that_the_package_names_was_measured(frame, emb):
    """Except rates that depend on the user's own code or models."""
    measured = {rate.step for rate in open_rates(None).rates}
    named = {
        rate
        for name in PLANNED
        for step in ld.plan(frame, (name, *ARGUMENTS.get(name, ())), embeddings=emb).steps
        for rate in step.rates
    }
    assert named <= measured
    own = (ld.heads.CaptionHead("n", len), statistics_of_every_kind(), groupings())
    assert own[0].cost.rates == ("captions",)
    for spec in (*own[1], *own[2]):
        assert isinstance(spec.cost, Cost)
        assert {*spec.cost.rates, *spec.cost.shared} <= measured, spec


def groupings() -> list:
    by = (ld.terms("gender"), ld.domains(), ld.tlds(), ld.language_class())
    return [*by, ld.rates(None, by="language").by[0]]


def statistics_of_every_kind() -> list:
    gender = ld.terms("gender")
    return [
        ld.describe(),
        ld.rates("punsafe > 0.5", by=[gender, "language"]),
        ld.curve("punsafe", by=gender),
        ld.concentration("domain"),
        ld.concentration("language"),
        ld.duplicate_share("url"),
        ld.cooccurrence(ld.terms("occupations"), by=gender),
        ld.divergence("language", by=gender),
        ld.intersections(gender, ld.terms("age")),
        ld.hate_content_rate("punsafe"),
    ]


def test_statistics_are_planned_by_spec_in_one_pass(frame):
    specs = statistics_of_every_kind()
    (combined,) = ld.plan(frame, specs, workers=1).steps
    (named,) = ld.plan(frame, ("statistics", *specs), workers=1).steps
    assert combined == named and combined.name == "statistics"
    assert combined.rates.count("statistics") == 1
    # Terms for gender are matched once, however many statistics group by them.
    assert combined.rates.count("grouping terms") == 3
    assert combined.rates.count("statistic rates") == 2
    assert combined.rates.count("hosts") == 1
    apart = [ld.plan(frame, spec, workers=1).seconds for spec in specs]
    assert max(apart) < ld.plan(frame, specs, workers=1).seconds < sum(apart)


def test_times_of_the_parts_of_a_step_add_up(frame):
    rates = {rate.step: rate.rows_per_s for rate in open_rates(None).rates}
    found = ld.plan(frame, ld.describe(), workers=1)
    expected = 60 / rates["statistics"] + 60 / rates["statistic describe"]
    assert found.seconds == pytest.approx(expected)
    assert found.lines[0].low <= found.seconds <= found.lines[0].high


def test_the_language_of_captions_is_counted_where_it_is_pending(frame):
    rates = {rate.step: rate.rows_per_s for rate in open_rates(None).rates}
    plain = ld.plan(frame, "export", workers=1)
    named = ld.plan(frame.laion.language(to="detected"), "export", workers=1)
    assert named.table["step"].tolist() == ["in the frame: detected", "export"]
    assert named.seconds == pytest.approx(plain.seconds + 60 / rates["language"])
    assert named.bytes_read == plain.bytes_read, "export reads the captions itself"
    alone = ld.plan(frame, "language", workers=1)
    assert alone.seconds == pytest.approx(60 / rates["language"])
    one = ld.plan(frame.laion.language(to="detected"), ("distributions", "similarity"))
    assert len(one.steps) == 1, "a pass that does not need the column does not pay for it"


def test_captions_are_read_once_for_all_that_is_pending(frame):
    head = ld.heads.CaptionHead("n", len)
    both = frame.laion.language(to="detected").laion.score_captions(head)
    steps = ld.plan(both, ("distributions", "n")).steps
    assert [step.name for step in steps] == ["in the frame: n", "distributions"]
    pending = ld.plan(both[["detected", "n"]], "export").steps[:-1]
    assert sorted(step.name for step in pending) == ["in the frame: detected", "in the frame: n"]
    assert sum(step.metadata_bytes > 0 for step in pending) == 1


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_join_is_counted_where_it_is_pending(frame, table, monkeypatch, on_disk):
    rate = "join on disk" if on_disk else "join"
    if on_disk:
        monkeypatch.setattr("laion_dask.joins.join.MAX_LOOKUP_BYTES", 0)
    rates = {rate.step: rate.rows_per_s for rate in open_rates(None).rates}
    joined = frame.laion.join(table, on="hash")
    pending, export = ld.plan(joined, "export", workers=1).steps
    assert pending.name == "in the frame: join on hash" and pending.rates == (rate,)
    assert pending.rows == 60 and pending.metadata_bytes > 0
    named = ld.plan(frame, ("join", table, "hash"), workers=1)
    assert named.seconds == pytest.approx(60 / rates[rate])
    assert export.metadata_bytes == ld.plan(frame, "export").bytes_read


def test_the_fit_of_a_head_has_a_bound_however_many_rows_there_are(frame, emb):
    found = ld.plan(frame, ("train", "punsafe"), embeddings=emb, workers=1)
    assert found.table["step"].tolist() == ["train, labels", "train, fit"]
    assert found.scaled(rows=10**9).table["rows"].tolist() == [10**9, 200_000]
    with pytest.raises(OptionError, match="Name the one"):
        ld.plan(frame, "train", embeddings=emb)


def test_perceived_attributes_cost_by_their_labels(frame, emb):
    two = ld.plan(frame, "perceived", embeddings=emb).steps[0]
    prompts = {"hair": {"a": "", "b": "", "c": ""}, "hat": {"d": "", "e": ""}}
    by = ld.terms("gender")
    five = ld.plan(frame, ("perceived", prompts, by), embeddings=emb).steps[0]
    assert five.flop == two.flop / 2 * 5 and five.rates == ("perceived", "grouping terms")
    assert "text" in five.columns and "it has 5 labels" in five.notes[0]


def test_groups_of_an_audit_and_of_a_representation(frame):
    audit = ld.plan(frame, ("audit", "language")).steps[0]
    assert audit.columns == ("language",) and "grouping column" in audit.rates
    reference = ld.plan(frame, ("representation", ld.terms("gender"))).steps[0]
    assert reference.columns == ("text",) and "grouping terms" in reference.rates
    for verb in ("audit", "representation"):
        with pytest.raises(ColumnError, match="langage"):
            ld.plan(frame, (verb, "langage"))


def test_filters_of_the_frame_cost_what_a_filter_costs(frame, emb):
    text = "punsafe < 0.5 and width > 100"
    asked = ld.plan(frame, [("where", text), "export"], workers=1)
    in_the_scan = frame.laion.where(text)
    scored = frame.laion.similarity(emb, np.ones(emb.dim, np.float32), to="s")
    in_memory = scored.laion.where("s > 0.1")
    pending = ld.plan(in_the_scan, "export", workers=1)
    assert [step.rates for step in pending.steps] == [("where",), ("export",)]
    assert pending.seconds == pytest.approx(asked.seconds)
    assert pending.bytes_read == asked.bytes_read - asked.steps[0].bytes_read
    without = ld.plan(scored, "export", workers=1)
    found = ld.plan(in_memory, "export", workers=1)
    assert found.seconds - without.seconds == pytest.approx(
        asked.seconds - without.steps[-1].rows / rate_of("export")
    )
    # ``where`` without an expression stands for the frame's filters, once.
    assert [step.name for step in ld.plan(in_the_scan, "where").steps] == ["where"]
    twice = ld.plan(in_the_scan, ["summary", "export"], workers=1).steps[0]
    assert twice.name.endswith("2 times") and twice.rows == 2 * 60


def rate_of(step: str) -> float:
    return {rate.step: rate.rows_per_s for rate in open_rates(None).rates}[step]


def test_heads_are_planned_by_the_verb_that_applies_them(frame, emb):
    head = ld.heads.demo_safety()
    assert head.verb == "score" and ld.heads.CaptionHead("n", len).verb == "score_captions"
    vectors = np.eye(2, emb.dim, dtype=np.float32).tobytes()
    prompt = ld.heads.PromptHead("p", emb.model, ("a", "b"), 0, vectors)
    alone = ld.plan(frame, prompt, embeddings=emb).steps
    assert alone == ld.plan(frame, ("score", prompt), embeddings=emb).steps
    assert alone[0].rates == ("zero_shot",) and alone[0].flop == 2 * 2 * emb.dim


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        (("summary", 3), "summary takes no argument, and 3 was given"),
        (("audit", "language", 3), r"audit was given 'language', 3\. Expected \('audit', by\)"),
        (("perceived", 3), "prompts is 3"),
        (("language", "txt"), "'txt'"),
    ],
)
def test_wrong_arguments_are_refused(frame, emb, verb, said):
    with pytest.raises((OptionError, ColumnError), match=said):
        ld.plan(frame, verb, embeddings=emb)
