"""Plots of tables: panels, points, intervals and curves; hostile text stays text."""

from __future__ import annotations

import json
import math

import dask.dataframe as dd
import holoviews as hv
import numpy as np
import pandas as pd
import pytest
from support.plots import hover_texts

import laion_dask as ld
from laion_dask.aggregations.describe import describe
from laion_dask.aggregations.engine.statistics import statistics
from laion_dask.errors import MissingExtraError, OptionError
from laion_dask.plots.interval_plot import describe_table, interval_plot
from laion_dask.plots.panels import panels
from laion_dask.plots.plain_text import plain_text
from laion_dask.stats.table import table


def rate(group, value, term="punsafe > 0.5", axis="language", **more) -> dict:
    lo, hi = max(0.0, value - 0.1), min(1.0, value + 0.2)
    return {"statistic": "rates", "term": term, "axis": axis, "group": group, "n": 100,
            "rate": value, "lo": lo, "hi": hi, **more}  # fmt: skip


def by_language(n=3):
    rows = [rate("(all)", 0.3, axis=None)]
    return table(rows + [rate(f"l{i}", 0.1 + 0.8 * i / n) for i in range(n)])


def figure(plot):
    return hv.render(plot, backend="bokeh")


def elements(plot, kind):
    return [e for e in plot.traverse(lambda e: e, [kind]) if type(e) is kind]


def test_points_intervals_and_the_line_of_all_rows():
    plot = by_language().plot()
    (points,), (bars,), (line,) = (elements(plot, k) for k in (hv.Points, hv.Segments, hv.VLine))
    assert points.dimension_values("x").tolist() == pytest.approx(
        [0.1, 0.1 + 0.8 / 3, 0.1 + 1.6 / 3]
    )
    assert points.dimension_values("y").tolist() == [0, -1, -2]
    assert bars.dimension_values("from").tolist() == pytest.approx([0, 0.8 / 3, 1.6 / 3])
    assert bars.dimension_values("to").tolist() == pytest.approx(
        [0.3, 0.3 + 0.8 / 3, 0.3 + 1.6 / 3]
    )
    assert line.data == 0.3
    first = {name: hover_texts(points, name)[0] for name in ("rate", "interval", "what", "n")}
    assert first["rate"] == "10 %" and first["interval"] == "0 % to 30 %"
    assert first["what"] == "punsafe > 0.5 · l0" and first["n"] == "100"
    shown = figure(plot)
    assert shown.title.text == "rates: punsafe > 0.5 by language"
    assert list(shown.yaxis[0].major_label_overrides.values()) == ["l0", "l1", "l2"]


def test_all_rows_alone_are_points():
    (panel,) = panels(table([rate("(all)", 0.3, axis=None, term=t) for t in "ab"]), None, 40)
    assert panel.frame["label"].tolist() == ["a", "b"] and math.isnan(panel.line)


def test_many_groups_are_cut_and_counted():
    (panel,) = panels(by_language(100), None, 40)
    assert len(panel.frame) == 40 and panel.title.endswith("(40 of 100 groups)")
    shown = figure(by_language(100).plot(top=7, width=500))
    assert len(shown.yaxis[0].major_label_overrides) == 7 and shown.width == 500
    assert figure(by_language(40).plot()).height > figure(by_language(5).plot()).height


def test_title_order_and_limit():
    found = by_language(100)
    plot = found.plot(title="{Unsafe} rows", sort="rate", top=3)
    assert list(figure(plot).yaxis[0].major_label_overrides.values()) == ["l99", "l98", "l97"]
    assert figure(plot).title.text == "{Unsafe} rows (3 of 100 groups)"
    assert figure(plot).xaxis[0].axis_label == "share of rows (dashed: all rows, 30 %)"
    two = table([rate("a", 0.1, term=t) for t in "xy"] + [rate("b", 0.2, term=t) for t in "xy"])
    assert "Both of them" in ld.show(two.plot(title="Both of them")).html


def test_long_labels_are_in_lines_and_colors_in_a_legend():
    long = "https://images.example.org/a/very/long/path/of/a/host/in/it.jpg"
    rows = [rate(long, 0.2, verdict="amplified"), rate("en", 0.3, verdict="inconclusive")]
    shown = figure(table(rows).plot())
    label = next(iter(shown.yaxis[0].major_label_overrides.values()))
    assert "\n" in label and label.replace("\n", "") == long
    named = {item.label.value for item in shown.legend[0].items}
    assert named == {"amplified", "not amplified"}
    short = [rate("a", 0.2), rate("en", 0.3)]
    assert shown.height > figure(table(short).plot()).height


def test_a_panel_a_term_or_a_color_a_group():
    rows = [rate(g, 0.4, term=t) for t in ("t0", "t1", "t2") for g in ("a", "b")]
    found = panels(table(rows), None, 40)
    assert [p.title for p in found] == [f"rates: t{i} by language" for i in range(3)]
    rows = [rate(g, 0.4, term=f"t{i}") for i in range(20) for g in ("a", "b")]
    (panel,) = panels(table(rows), None, 40)
    assert panel.frame["series"].tolist() == ["a", "b"] * 20
    assert panel.frame["label"].nunique() == 20
    plot = interval_plot(table(rows))
    assert [e.label for e in elements(plot, hv.Points)] == ["a", "b"]
    assert len(figure(plot).legend[0].items) == 2
    rows = [rate(f"g{j}", 0.4, term=f"t{i}") for i in range(10) for j in range(10)]
    (panel,) = panels(table(rows), None, 40)  # more groups than colors
    assert panel.frame["label"].iloc[11] == "t1 · g1" and panel.title.endswith("(40 of 100 terms)")


def test_thresholds_make_curves():
    steps = np.linspace(0.1, 0.9, 9)
    rows = [
        rate(g, 1 - t, term="punsafe", axis=None if g == "(all)" else "gender", threshold=t)
        for t in steps[::-1]
        for g in ("(all)", "woman", "man")
    ]
    plot = table(rows).plot()
    curves, bands = elements(plot, hv.Curve), elements(plot, hv.Area)
    assert [c.label for c in curves] == ["(all)", "woman", "man"] and len(bands) == 3
    for curve in curves:
        assert curve.dimension_values(0).tolist() == steps.tolist()
        assert curve.dimension_values(1) == pytest.approx(1 - steps)
    assert bands[0].dimension_values("hi") == pytest.approx(np.minimum(1, 1.2 - steps))
    one = table([rate("(all)", 1 - t, term=c, axis=None, threshold=t) for c in "ab" for t in steps])
    assert [c.label for c in elements(one.plot(), hv.Curve)] == ["a", "b"]


def test_ratios_are_on_a_logarithmic_axis_with_a_line_at_one():
    rows = [
        rate("a", 0.4, ratio=2.0, ratio_lo=1.5, ratio_hi=3.0, overall=0.2, verdict="amplified"),
        rate("b", 0.1, ratio=0.0, ratio_lo=0.0, ratio_hi=1.2, overall=0.2, verdict="inconclusive"),
        rate(
            "c",
            0.1,
            ratio=np.inf,
            ratio_lo=1.0,
            ratio_hi=np.inf,
            overall=0.2,
            verdict="inconclusive",
        ),
        rate(
            "d",
            0.1,
            ratio=np.nan,
            ratio_lo=0.0,
            ratio_hi=np.inf,
            overall=0.2,
            verdict="inconclusive",
        ),
    ]
    found = table(rows)
    plot = found.plot(show="ratio")
    assert [line.data for line in elements(plot, hv.VLine)] == [1.0]
    every = np.concatenate([e.dimension_values("x") for e in elements(plot, hv.Points)])
    assert len(every) == 3 and np.isfinite(every).all() and (every > 0).all()
    ends = np.concatenate([e.dimension_values("to") for e in elements(plot, hv.Segments)])
    assert np.isfinite(ends).all()
    assert type(figure(plot).x_scale).__name__ == "LogScale"
    assert [line.data for line in elements(found.plot(), hv.VLine)] == [0.2]
    colors = [hv.Store.lookup_options("bokeh", e, "style").kwargs["color"]
               for e in elements(found.plot(), hv.Points)]  # fmt: skip
    assert colors == ["#3b7dd8", "#d9822b"]


def test_values_that_compare_two_groups():
    rows = [
        {"statistic": "cooccurrence", "measure": m, "term": t, "axis": "gender", "group": "woman",
         "group_2": None if m == "nPMI" else "man", "n": 50, "value": v, "lo": v - 1, "hi": v + 1}
        for m in ("nPMI", "nPMI gap") for t, v in (("nurse", 0.5), ("pilot", -0.5))
    ]  # fmt: skip
    one, two = panels(table(rows), None, 40)
    assert one.title == "cooccurrence: nPMI: woman by gender" and one.axis_label == "nPMI"
    assert two.title == "cooccurrence: nPMI gap: woman / man by gender" and two.line == 0
    crossed = [
        {"statistic": "intersections", "axis": "gender", "group": g, "axis_2": "age",
         "group_2": a, "n": 50, "value": 1.2, "lo": 1.1, "hi": 1.5}
        for g in ("woman", "man") for a in ("young", "old")
    ]  # fmt: skip
    found = panels(table(crossed), None, 40)
    assert found[0].title == "intersections: woman by gender and age"
    assert found[0].frame["label"].tolist() == ["young", "old"] and found[0].is_ratio


def test_a_whole_description_is_drawn():
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "text": ["abc", "defg", None] * 100,
            "width": draw.integers(10, 2000, 300),
            "height": draw.integers(10, 2000, 300),
            "punsafe": draw.uniform(0, 1, 300),
            "language": draw.choice(["en", "de"], 300),
        }
    )
    found = statistics(dd.from_pandas(frame, npartitions=2), describe())
    plot = found.plot()
    assert isinstance(plot, hv.Layout)
    titles = [p.title for p in panels(found, None, 40)]
    assert "describe: both sides" in titles and "describe: width" in titles
    page = ld.show(plot)
    assert page.height > 1000 and "<script src" not in page.html and "<link" not in page.html
    short = ld.show(found.plot(most_panels=2))
    assert "more panels are not drawn" in short.html and short.height < page.height


HOSTILE = [
    "</script><script>alert(1)</script>",
    "$$\\href{javascript:alert(1)}{x}$$",
    "\\(x\\) and \\[y\\]",
    "{boom} {0.__class__}",
    "@{told n}{safe} <img src=x onerror=alert(1)>",
    "\u202eevil\u2066\x00\n",
    "l" * 500,
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_stays_text(hostile):
    rows = [
        rate(hostile, 0.2, term=hostile, axis=hostile),
        rate("b", 0.3, term=hostile, axis=hostile),
    ]
    curves = [rate(g, 0.2, term=hostile, threshold=t) for g in (hostile, "b") for t in (0.1, 0.2)]
    many = [rate(g, 0.2, term=f"{hostile}{i}") for g in (hostile, "b") for i in range(9)]
    for table_rows in (rows, curves, many):
        page = ld.show(table(table_rows).plot())
        item = page.html[page.html.rindex("Bokeh.embed.embed_item(") :]
        assert page.html.count("</script>") == 2
        serialized = json.dumps(
            json.loads(item[23 : item.rindex(")</script>")].replace("<\\/", "</"))
        )
        assert "$$" not in serialized and "\\\\(" not in serialized and "\\\\[" not in serialized
        assert "\\u202e" not in serialized.replace("\\\\u202e", "") and "l" * 101 not in serialized


def test_plain_text():
    assert plain_text("a" * 36) == "a" * 36 and plain_text("a" * 37) == "a" * 35 + "…"
    assert plain_text("$$$", None).replace("\u200a", " ") == "$ $$"
    assert plain_text("caf\u00e9 \u5c71") == "caf\u00e9 \u5c71"


def test_a_plot_can_be_shown_twice():
    plot = by_language().plot()
    for _ in range(2):
        assert "0.[0000]%" in ld.show(plot).html


def test_a_caveat_of_the_table_stands_beneath():
    found = by_language()
    found.attrs["caveats"] = ("Seen by a model, " * 12 + "<b>not</b> true of anybody.",)
    page = ld.show(found.plot())
    for words in ("Seen by a model, Seen", "anybody."):
        assert words in page.html
    assert page.height > ld.show(by_language().plot()).height
    nothing = found.iloc[:0]
    assert "anybody." in ld.show(nothing.plot()).html


def test_nothing_to_draw():
    for nothing in (table([]), by_language().iloc[:0], by_language().assign(rate=np.nan)):
        assert "No results to draw" in ld.show(nothing.plot()).html


def test_one_result_and_no_interval():
    for value in (0.0, 1.0, 5.0, -3.0):
        figure(table([{"statistic": "s", "value": value}]).plot())
        figure(table([{"value": value, "lo": value, "hi": np.inf}]).plot())
    figure(table([{"statistic": "s", "value": np.inf}]).plot())
    figure(table([{"statistic": "s", "value": np.inf, "ratio": np.inf}]).plot(show="ratio"))


@pytest.mark.parametrize(
    "options",
    [{"show": "rates"}, {"show": "group"}, {"top": 0}, {"top": 2.5}, {"sort": "group"},
     {"most_panels": 0}, {"width": 10}],
)  # fmt: skip
def test_options_are_checked(options):
    with pytest.raises(OptionError):
        by_language().plot(**options)
    with pytest.raises(OptionError, match="Expected a table"):
        interval_plot([1, 2], **{"show": None})


def test_without_holoviews(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "holoviews", None)
    with pytest.raises(MissingExtraError, match="explore"):
        by_language().plot()


def test_axes_say_what_is_drawn():
    def panel_of(**row):
        rows = [{"n": 40, "group": group, **row} for group in ("a", "b")]
        return panels(table(rows), None, 40)[0]

    excluded = panel_of(statistic="exclusion", axis="language", rate=0.5, overall=0.4)
    assert excluded.axis_label == "share of rows excluded"
    assert panel_of(statistic="describe", term="width", value=3.0).axis_label == "width, pixels"
    sites = panel_of(statistic="concentration", term="label", axis="domain", rate=0.1)
    assert sites.title == "concentration: share of rows by domain"
    same = panel_of(statistic="describe", term="language", axis="language", rate=0.1)
    assert same.title == "describe: language"
    bias = panel_of(statistic="cooccurrence", measure="PMI bias", term="nurse", value=0.4)
    assert bias.axis_label == "PMI bias, nats"
    above = [{"threshold": t, "rate": t, "group": g, "n": 40} for t in (0.1, 0.2) for g in "ab"]
    curve = {"statistic": "curve", "term": "pwatermark", "side": "above", "axis": "language"}
    (drawn,) = panels(table([{**row, **curve} for row in above]), None, 40)
    assert drawn.threshold_label == "threshold of pwatermark"


def test_counts_have_an_axis_of_their_own():
    found = {"distinct": 276.0, "gini": 0.76, "effective number": 1.0, "theil": 1.6}
    whole = {"statistic": "concentration", "axis": "domain", "group": "all", "n": 300}
    rows = [{**whole, "term": term, "value": value} for term, value in found.items()]
    labels_and_terms = [
        (p.axis_label, p.frame["term"].tolist()) for p in panels(table(rows), None, 40)
    ]
    indexes = ("index, Theil's in nats", ["gini", "theil"])
    assert labels_and_terms == [indexes, ("count", ["distinct", "effective number"])]
    titles = [panel.title for panel in panels(table(rows), None, 40)]
    assert titles == [f"concentration by domain: {axis}" for axis, _ in labels_and_terms]


def test_a_concentration_is_drawn_as_the_shares_of_its_most_frequent_labels():
    def concentration(axis, **shares):
        common = {"statistic": "concentration", "axis": axis, "n": 300}
        rows = [{**common, "group": "label", "term": t, "rate": v} for t, v in shares.items()]
        rows += [{**common, "group": "all", "term": "top 10", "rate": 1.0}]
        return [*rows, {**common, "group": "all", "term": "gini", "value": 0.7}]

    found = table([*concentration("domain", a=0.5, b=0.2), *concentration("tld", com=1.0)])
    domains, tlds = panels(found, None, 40)
    assert (domains.title, domains.frame["label"].tolist()) == (
        "concentration: share of rows by domain",
        ["a", "b"],
    )
    assert (tlds.title, tlds.frame["label"].tolist()) == (
        "concentration: share of rows by tld",
        ["com"],
    )
    plot = describe_table(found)
    assert "in the table" in plot.notes[0]
    assert plot.panels[1].axis.ends[0] <= 0  # a single share has an axis from 0
    (of_domain, of_tld) = panels(found, "value", 40)  # the indices, if asked for
    assert of_domain.frame["term"].tolist() == of_tld.frame["term"].tolist() == ["gini"]


def test_what_all_labels_end_with_stands_once_in_the_title():
    row = {"statistic": "perceived", "axis": "said", "n": 40, "rate": 0.5}
    terms = [f"{job}: perceived occupation" for job in "abcdefg"]
    rows = [{**row, "term": term, "group": group} for term in terms for group in ("she", "he")]
    (panel,) = panels(table(rows), None, 40)
    assert panel.title == "perceived: perceived occupation by said"
    assert panel.frame["label"].unique().tolist() == list("abcdefg")


def test_all_rows_are_the_line_and_no_group():
    rows = [
        rate("(all)", 0.4, overall=0.4),
        rate("en", 0.5, overall=0.4),
        rate("de", 0.3, overall=0.4),
    ]
    (panel,) = panels(table(rows), None, 40)
    assert panel.frame["label"].tolist() == ["en", "de"] and panel.line == 0.4


def test_divergence_stands_beside_what_chance_makes_of_it():
    row = {"statistic": "divergence", "term": "domain", "axis": "language", "n": 90}
    row |= {"method": "Jensen-Shannon, bits", "expected": 0.3}
    plot = table([{**row, "group": g, "value": v} for g, v in (("en", 0.1), ("de", 0.2))]).plot()
    drawn = figure(plot)
    assert drawn.xaxis[0].axis_label == "Jensen-Shannon divergence, bits"
    assert [item.label.value for item in drawn.legend[0].items] == ["expected by chance"]
    assert drawn.x_range.end > 0.3
    assert "by chance" in ld.show(plot).html
    (between,) = panels(table([{**row, "term": None, "value": 0.1}]), None, 40)
    assert between.frame["label"].tolist() == ["language"]
    tiny = figure(table([{**row, "group": "en", "value": 0.00012, "expected": 0.0001}]).plot())
    assert not hasattr(tiny.xaxis[0].formatter, "format")


def test_many_curves_keep_their_legend():
    rows = [
        {"statistic": "curve", "term": "s", "axis": "language", "group": g, "threshold": t,
         "n": 40, "k": 20, "rate": 0.5, "lo": 0.4, "hi": 0.6}
        for g in ("(all)", *"abcdefgh") for t in (0.1, 0.2)
    ]  # fmt: skip
    assert len(figure(table(rows).plot()).legend[0].items) >= 8
