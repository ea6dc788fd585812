"""Co-occurrence and intersections against loops over the captions and SciPy."""

import math
import pickle
from itertools import combinations

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, fisher_exact
from scipy.stats.contingency import odds_ratio
from support.frames import both
from support.groupings import Words
from support.partitionings import read_combined
from support.shards import laion_table, refuse, write_shard

import laion_dask as ld
from laion_dask.aggregations import contingency
from laion_dask.aggregations import cooccurrence as module
from laion_dask.aggregations.cooccurrence import cooccurrence
from laion_dask.aggregations.intersections import intersections
from laion_dask.demo.planting import P_SHE, plan_rows
from laion_dask.errors import ColumnError, OptionError
from laion_dask.stats.joint import npmi_gap_interval, npmi_interval, observed_over_expected

pytestmark = both

JOBS = Words("jobs", ("cook", "pilot", "nurse", "rare"))
PEOPLE = Words("people", ("she", "he", "they"))
NAMES = ["n", "k", "n_word", "n_group", "n_rows"]


def captions(n: int, seed: int) -> list:
    """Captions that mention jobs and people; some are null, some mention several of a kind."""
    draw = np.random.default_rng(seed)
    shares = {"cook": 0.3, "pilot": 0.2, "nurse": 0.15, "she": 0.35, "he": 0.3, "they": 0.15}
    texts = []
    for _ in range(n):
        words = [w for w, p in shares.items() if draw.uniform() < p]
        words += ["he"] if "pilot" in words and draw.uniform() < 0.5 else []
        words += ["rare"] if draw.uniform() < 0.01 else []
        texts.append(None if draw.uniform() < 0.05 else " ".join(["a", *draw.permutation(words)]))
    return texts


@pytest.fixture
def shards(tmp_path):
    for i, n in enumerate((300, 0, 700, 500)):
        table = laion_table(n, i).drop_columns("TEXT")
        write_shard(tmp_path / f"part_{i}.parquet", table.append_column("TEXT", [captions(n, i)]))
    return str(tmp_path)


def present(text: list, words: Words) -> list[set]:
    """The groups mentioned in each caption that is not null."""
    return [words.of(one) for one in text if isinstance(one, str)]


def table_of(a: list[bool], b: list[bool]) -> list[list[int]]:
    """The 2 x 2 contingency table of two properties of captions, by a loop."""
    cells = [[0, 0], [0, 0]]
    for x, y in zip(a, b, strict=True):
        cells[1 - x][1 - y] += 1
    return cells


def test_npmi_against_loops(shards):
    frame = ld.read_shards(shards)
    text = frame["text"].compute().tolist()
    jobs, people = present(text, JOBS), present(text, PEOPLE)
    table = ld.statistics(frame, cooccurrence(JOBS, by=PEOPLE))
    assert table[["k_2", "n_group_2"]].dtypes.eq("Int64").all()  # null without a second group
    lines = table[table["measure"] == "nPMI"]
    assert lines["axis"].eq("people").all() and set(lines["term"]) == {"cook", "pilot", "nurse"}
    assert len(lines) == 9 and lines["undecided"].eq(1500 - len(jobs)).all()
    for line in lines.to_dict("records"):
        has = [line["term"] in one for one in jobs], [line["group"] in one for one in people]
        cells = table_of(*has)
        k, n_w, n_g, n = cells[0][0], sum(cells[0]), cells[0][0] + cells[1][0], len(jobs)
        assert [line[c] for c in NAMES] == [min(n_w, n_g), k, n_w, n_g, n]
        pmi = math.log((k / n) / ((n_w / n) * (n_g / n)))
        assert line["pmi"] == pytest.approx(pmi)
        assert line["value"] == pytest.approx(pmi / -math.log(k / n))
        assert line["expected"] == pytest.approx(n_w * n_g / n)
        assert line["p"] == pytest.approx(fisher_exact(cells).pvalue)
        assert (line["lo"], line["hi"]) == npmi_interval(k, n_w, n_g, n)
    for _, of_group in lines.groupby("group"):
        np.testing.assert_allclose(of_group["q"], false_discovery_control(of_group["p"]))


def test_the_gap_and_the_bias_against_loops(shards):
    frame = ld.read_shards(shards)
    text = frame["text"].compute().tolist()
    jobs, people = present(text, JOBS), present(text, PEOPLE)
    table = ld.statistics(frame, cooccurrence(JOBS, by=PEOPLE))
    each = table[table["measure"] == "nPMI"].set_index(["term", "group"])
    pairs = table[table["measure"] != "nPMI"]
    sizes = {g: sum(g in one for one in people) for g in PEOPLE.words}
    largest = sorted(sizes, key=sizes.get, reverse=True)
    shown = list(pairs[["group", "group_2"]].drop_duplicates().itertuples(index=False, name=None))
    assert shown == list(combinations(largest, 2)) and len(pairs) == 2 * 3 * 3
    for line in pairs.to_dict("records"):
        w, a, b = line["term"], line["group"], line["group_2"]
        n_w = sum(w in one for one in jobs)
        two = list(zip(jobs, people, strict=True))
        n_wa, n_wb = (sum(w in job and g in who for job, who in two) for g in (a, b))
        n_a, n_b = sizes[a], sizes[b]
        wanted = [min(n_w, n_a, n_b), n_wa, n_w, n_a, len(jobs)]
        assert [line[c] for c in NAMES] == wanted
        assert (line["k_2"], line["n_group_2"]) == (n_wb, n_b)
        if line["measure"] == "nPMI gap":
            gap = each.loc[(w, a), "value"] - each.loc[(w, b), "value"]
            assert line["value"] == pytest.approx(gap)
            twice = sum(a in who and b in who for who in people)
            thrice = sum(w in job and a in who and b in who for job, who in two)
            counts = (n_wa, n_a), (n_wb, n_b), (thrice, twice), n_w, len(jobs)
            assert (line["lo"], line["hi"]) == npmi_gap_interval(*counts)
        else:
            assert line["value"] == pytest.approx(math.log((n_wa / n_a) / (n_wb / n_b)))
            assert line["value"] == pytest.approx(each.loc[(w, a), "pmi"] - each.loc[(w, b), "pmi"])
            cells = [[n_wa, n_a - n_wa], [n_wb, n_b - n_wb]]
            odds = odds_ratio(cells, kind="sample").confidence_interval(0.95)
            width = math.log(odds.high) - math.log(odds.low)
            assert line["hi"] - line["lo"] == pytest.approx(width)
            assert line["p"] == pytest.approx(fisher_exact(cells).pvalue)
    bias = pairs[pairs["measure"] == "PMI bias"]
    for _, of_pair in bias.groupby(["group", "group_2"]):
        np.testing.assert_allclose(of_pair["q"], false_discovery_control(of_pair["p"]))


def test_rare_words_are_suppressed_and_counted(shards):
    frame = ld.read_shards(shards)
    table = ld.statistics(frame, cooccurrence(JOBS, by=PEOPLE))
    assert "rare" not in set(table["term"])
    assert table.n_suppressed == 3 + 2 * 3  # one row per group and two per pair of groups
    every = ld.statistics(frame, cooccurrence(JOBS, by=PEOPLE), min_n=0)
    assert len(every) == len(table) + 9 and "rare" in set(every["term"])


def test_intersections_against_loops(shards):
    frame = ld.read_shards(shards)
    plain = frame[["text", "language"]].compute()
    table = ld.statistics(frame, intersections(JOBS, PEOPLE, "language"))
    axes = list(table[["axis", "axis_2"]].drop_duplicates().itertuples(index=False, name=None))
    assert axes == [("jobs", "people"), ("jobs", "language"), ("people", "language")]
    groups = {
        "jobs": [JOBS.of(text) if isinstance(text, str) else None for text in plain["text"]],
        "people": [PEOPLE.of(text) if isinstance(text, str) else None for text in plain["text"]],
        "language": [None if pd.isna(value) else {value} for value in plain["language"]],
    }
    for line in table.to_dict("records"):
        rows = zip(groups[line["axis"]], groups[line["axis_2"]], strict=True)
        rows = [(a, b) for a, b in rows if a is not None and b is not None]
        in_a = [line["group"] in a for a, _ in rows]
        in_b = [line["group_2"] in b for _, b in rows]
        cells = table_of(in_a, in_b)
        k, n_a, n_b, n = cells[0][0], sum(in_a), sum(in_b), len(rows)
        wanted = [min(n_a, n_b), k, n_a, n_b, n, len(plain) - n]
        names = ["n", "k", "n_group", "n_group_2", "n_rows", "undecided"]
        assert [line[c] for c in names] == wanted
        assert line["expected"] == pytest.approx(n_a * n_b / n)
        assert line["value"] == pytest.approx(k / (n_a * n_b / n))
        ratio = observed_over_expected(k, n_a, n_b, n)
        assert (line["value"], line["lo"], line["hi"]) == ratio
        assert line["p"] == pytest.approx(fisher_exact(cells).pvalue)
    for _, of_axes in table.groupby(["axis", "axis_2"]):
        np.testing.assert_allclose(of_axes["q"], false_discovery_control(of_axes["p"]))
    assert table.n_suppressed == 3 + 3 and "rare" not in set(table["group"])


def test_it_does_not_depend_on_partitioning(shards):
    measures = (
        cooccurrence(JOBS, by=PEOPLE),
        cooccurrence("language", by=JOBS, pairs=[("cook", "pilot")]),
        intersections("language", JOBS, PEOPLE),
    )
    whole = ld.read_shards(shards)
    wanted = ld.statistics(whole, *measures, min_n=1)
    for frame in (
        ld.read_shards(shards, max_rows_per_partition=30),
        read_combined(shards),
        whole.repartition(npartitions=1),
        whole.repartition(npartitions=9),
        whole.shuffle("row", npartitions=13),
        dd.concat([whole.partitions[2:], whole.partitions[:2]]),
    ):
        table = ld.statistics(frame, *measures, min_n=1)
        assert table.equals(wanted) and table.n_suppressed == wanted.n_suppressed
    for scheduler in ("sync", "threads"):
        with dask.config.set(scheduler=scheduler):
            assert ld.statistics(whole, *measures, min_n=1).equals(wanted)


@pytest.mark.only_pandas
def test_pairs_are_those_that_were_asked_for(shards, monkeypatch):
    frame = ld.read_shards(shards)
    every = ld.statistics(frame, cooccurrence(JOBS, by=PEOPLE))
    measure = cooccurrence(JOBS, by=PEOPLE, pairs=[("he", "she"), ("he", "nobody")])
    table = ld.statistics(frame, measure)
    assert table["group_2"].dropna().eq("she").all()  # no caption mentions "nobody"
    monkeypatch.setattr(module, "MAX_PAIRED", 2)
    assert ld.statistics(frame, measure).equals(table)
    alone = ld.statistics(frame, cooccurrence(JOBS, by=PEOPLE))
    assert "group_2" not in alone and len(alone) == 9
    gap = every[(every["measure"] == "nPMI gap") & (every["group"] == "she")]
    turned = table[(table["measure"] == "nPMI gap") & (table["group_2"] == "she")]
    gap = gap[gap["group_2"] == "he"].set_index("term")
    turned = turned.set_index("term").loc[gap.index]
    np.testing.assert_allclose(turned["value"], -gap["value"])
    np.testing.assert_allclose(turned["lo"], -gap["hi"])


@pytest.mark.only_pandas
def test_never_and_always_together():
    text = ["cook she"] * 40 + ["pilot he"] * 60 + ["nothing"] * 50 + [None] * 7
    frame = dd.from_pandas(pd.DataFrame({"text": text}), npartitions=3)
    table = ld.statistics(frame, cooccurrence(JOBS, by=PEOPLE))
    table = table.set_index(["measure", "term", "group"])
    always, never = table.loc[("nPMI", "cook", "she")], table.loc[("nPMI", "cook", "he")]
    assert always["value"] == pytest.approx(1, abs=1e-15) and always["hi"] <= 1
    assert (never["value"], never["lo"], never["pmi"]) == (-1, -1, -np.inf)
    assert -1 < never["hi"] < 0 and never["p"] < 0.001
    bias = table.loc[("PMI bias", "cook", "he")]
    assert (bias["value"], bias["lo"]) == (-np.inf, -np.inf) and bias["hi"] < 0
    apart = ld.statistics(frame, intersections(JOBS, PEOPLE)).set_index(["group", "group_2"])
    assert apart.loc[("cook", "he"), ["value", "lo"]].tolist() == [0, 0]
    assert 0 < apart.loc[("cook", "he"), "hi"] < 1
    assert apart.loc[("cook", "she"), "value"] == pytest.approx(150 / 40)


def test_zero_rows(shards, tmp_path):
    write_shard(tmp_path / "empty" / "e.parquet", laion_table(0))
    for frame in (
        ld.read_shards(shards, where="width > 99999"),
        ld.read_shards(tmp_path / "empty"),
    ):
        for measure, n in ((cooccurrence(JOBS, by=PEOPLE), 36), (intersections(JOBS, PEOPLE), 12)):
            table = ld.statistics(frame, measure)
            assert len(table) == 0 and table.n_suppressed == n
            table = ld.statistics(frame, measure, min_n=0)
            assert len(table) == n and table["n"].eq(0).all()
        for measure in (cooccurrence("language", by=PEOPLE), intersections("language", JOBS)):
            assert len(ld.statistics(frame, measure, min_n=0)) == 0


@pytest.mark.only_pandas
def test_words_may_be_any_text():
    words = ["<b>x</b>", "a|b\n", "\u202e", "(all)"]
    frame = pd.DataFrame({"w": words * 50, "g": ["1", "2"] * 100})
    table = ld.statistics(dd.from_pandas(frame, npartitions=3), cooccurrence("w", by="g"))
    assert set(table["term"]) == set(words)
    assert "<b>" not in table._repr_html_() and "<b>" not in table.to_markdown()


def test_only_the_named_columns_are_read_and_all_pickles():
    column_types = {"text": "string", "language": "string", "width": "integer"}
    for measure, reads in (
        (cooccurrence(JOBS, by="language"), ("text", "language")),
        (cooccurrence(JOBS, by=PEOPLE, pairs=[("he", "she")]), ("text",)),
        (intersections("width", JOBS, "language"), ("width", "text", "language")),
    ):
        bound = measure.bind(column_types)
        assert bound.reads == reads
        assert pickle.loads(pickle.dumps(bound)) == bound and hash(bound) == hash(bound)


@pytest.mark.only_pandas
def test_what_makes_no_sense_is_refused_at_once(shards):
    frame = ld.read_shards(shards)
    with dask.config.set(scheduler=refuse):
        for make in (
            lambda: cooccurrence(JOBS, by=JOBS),
            lambda: cooccurrence(3, by=JOBS),
            lambda: cooccurrence(JOBS, by=PEOPLE, pairs=[("he",)]),
            lambda: cooccurrence(JOBS, by=PEOPLE, pairs=[("he", "he")]),
            lambda: cooccurrence(JOBS, by=PEOPLE, pairs="he"),
            lambda: intersections(),
            lambda: intersections(JOBS),
            lambda: intersections(JOBS, JOBS),
            lambda: intersections(JOBS, 3),
        ):
            with pytest.raises(OptionError, match="Expected"):
                make()
        with pytest.raises(ColumnError, match="Did you mean"):
            ld.statistics(frame, intersections("langage", JOBS))
        with pytest.raises(ColumnError, match="Did you mean"):
            ld.statistics(frame, cooccurrence(JOBS, by="langage"))
        with pytest.raises(OptionError, match=r"'femal'.* Did you mean 'female'"):
            two = ld.terms({"female": ["she"], "male": ["he"]})
            ld.statistics(frame, cooccurrence(JOBS, by=two, pairs=[("femal", "male")]))


@pytest.mark.only_pandas
def test_pairs_that_would_fill_the_memory_are_refused(monkeypatch):
    monkeypatch.setattr(contingency, "MAX_CELLS", 1000)
    frame = pd.DataFrame({"a": np.arange(60), "b": np.arange(60) % 50})
    for npartitions in (1, 4):
        with pytest.raises(OptionError, match="coarser grouping"):
            ld.statistics(dd.from_pandas(frame, npartitions=npartitions), intersections("a", "b"))


@pytest.mark.only_pandas
def test_the_planted_skew_of_occupations_is_recovered():
    """The PMI bias of a job between "she" and "he" is the log of the ratio of planted shares."""
    rows = plan_rows(20_000, 3)
    jobs = Words("jobs", tuple(P_SHE))
    text = [
        " ".join(filter(None, (row.picture.occupation, row.gender_word))) or "none" for row in rows
    ]
    frame = dd.from_pandas(pd.DataFrame({"text": text}), npartitions=4)
    table = ld.statistics(frame, cooccurrence(jobs, by=PEOPLE, pairs=[("she", "he")]))
    bias = table[table["measure"] == "PMI bias"].set_index("term")
    assert set(bias.index) == set(P_SHE)
    share = sum(P_SHE.values()) / len(P_SHE)  # every occupation is planted equally often
    for job, p in P_SHE.items():
        wanted = math.log((p / share) / ((1 - p) / (1 - share)))
        assert bias.loc[job, "lo"] <= wanted <= bias.loc[job, "hi"]
        assert (bias.loc[job, "value"] > 0) == (p > share)


def multinomial_interval(of, p: np.ndarray, n: int) -> float:
    """Delta-method standard error of a function of cell shares, with numerical derivatives."""
    slopes, step = [], 1e-6
    for i in range(len(p)):
        up, down = p.copy(), p.copy()
        up[i] += step * p[i]
        down[i] -= step * p[i]
        slopes.append((of(up) - of(down)) / (2 * step * p[i]))
    slopes = np.array(slopes)
    return math.sqrt(slopes @ (np.diag(p) - np.outer(p, p)) @ slopes / n)


@pytest.mark.only_pandas
def test_standard_errors_against_slopes_by_differences():
    """Cells: rows with the word and a, b, both or neither; then the same without the word."""
    n, cells = 100_000, np.array([900, 500, 120, 2480, 9100, 8500, 800, 77600])
    p = cells / n

    def shares(p):
        w, a, b = p[:4].sum(), p[[0, 2, 4, 6]].sum(), p[[1, 2, 5, 6]].sum()
        return w, a, b, p[0] + p[2], p[1] + p[2]

    def npmi(w, g, both):
        return math.log(both / (w * g)) / -math.log(both)

    def of_a(p):
        w, a, _, wa, _ = shares(p)
        return npmi(w, a, wa)

    def gap(p):
        w, a, b, wa, wb = shares(p)
        return npmi(w, a, wa) - npmi(w, b, wb)

    def log_ratio(p):
        w, a, _, wa, _ = shares(p)
        return math.log(wa / (w * a))

    w, a, b, wa, wb = (round(s * n) for s in shares(p))
    ratio, lo, hi = observed_over_expected(wa, w, a, n)
    assert ratio == pytest.approx(wa * n / (w * a))
    z = 1.959963984540054
    error = multinomial_interval(log_ratio, p, n)
    assert (math.log(lo), math.log(hi)) == pytest.approx(
        (log_ratio(p) - z * error, log_ratio(p) + z * error), rel=1e-6
    )
    lo, hi = npmi_interval(wa, w, a, n)
    error = multinomial_interval(of_a, p, n)
    assert (hi - lo) / (2 * z) == pytest.approx(error, rel=0.01)  # symmetric on its own scale
    assert lo < of_a(p) < hi
    twice, thrice = round((p[2] + p[6]) * n), round(p[2] * n)
    lo, hi = npmi_gap_interval((wa, a), (wb, b), (thrice, twice), w, n)
    assert (hi - lo) / (2 * z) == pytest.approx(multinomial_interval(gap, p, n), rel=0.01)
    apart = npmi_gap_interval((wa, a), (wb, b), (0, 0), w, n)
    assert hi - lo < apart[1] - apart[0]  # overlap narrows the interval of the difference


@pytest.mark.only_pandas
def test_intervals_where_there_is_nothing_to_go_by():
    assert npmi_interval(0, 0, 10, 100) == npmi_interval(5, 5, 100, 100) == (-1, 1)
    assert npmi_interval(0, 0, 0, 0) == (-1, 1)
    assert npmi_gap_interval((0, 0), (5, 10), (0, 0), 9, 100) == (-2, 2)
    ratio, lo, hi = observed_over_expected(0, 0, 10, 100)
    assert math.isnan(ratio) and (lo, hi) == (0, np.inf)
    lo, hi = npmi_interval(np.array([10, 10]), 20, 40, 100, level=1 - 1e-12)
    assert (lo >= -1).all() and (hi <= 1).all()
    for bad in ((-1, 2, 2, 9), (1, 2, 2, math.inf), ("x", 2, 2, 9)):
        with pytest.raises(OptionError):
            npmi_interval(*bad)
        with pytest.raises(OptionError):
            observed_over_expected(*bad)
    with pytest.raises(OptionError):
        npmi_interval(1, 2, 2, 9, level=1)
