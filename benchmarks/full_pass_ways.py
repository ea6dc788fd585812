"""All caption and metadata statistics of generated rows, by laion_dask and by polars.

``python full_pass_ways.py WAY SOURCE`` prints one line of JSON: time and memory, with imports timed
separately, and the counts on which both must agree.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable

QUANTILES = [i / 20 for i in range(1, 20)]
SCORES = {"punsafe": 0.5, "pwatermark": 0.8}
THRESHOLDS = [i / 100 for i in range(1, 100)]
CROSSED = ("gender", "age", "ethnicity")


def patterns(name: str) -> dict[str, str]:
    """One regular expression per group of a packaged term list.

    Skips groups with words that count only before a noun for a person, which cannot be expressed
    without lookahead.
    """
    import laion_dask as ld

    table = ld.terms(name).table()
    table = table[~table.groupby("group")["only_before_person_noun"].transform("any")]
    words = table.groupby("group", sort=False)["term"]
    return {label: r"(?i)\b(?:" + "|".join(map(_escaped, terms)) + r")\b" for label, terms in words}


def _escaped(word: str) -> str:
    return "".join(c if c.isalnum() or c == " " else f"\\{c}" for c in word)


def polars_way(lists: tuple[str, ...]) -> Callable[[str], dict]:
    """Separate lazy queries for the numbers, the languages, the domains and the terms."""
    import polars as pl

    masks = {
        f"{name}: {label}": pl.col("TEXT").str.contains(pattern).fill_null(False)
        for name in lists
        for label, pattern in patterns(name).items()
    }

    def run(source: str) -> dict:
        rows = pl.scan_parquet(f"{source}/*.parquet")
        numbers = {
            "width": pl.col("WIDTH"),
            "height": pl.col("HEIGHT"),
            "text_length": pl.col("TEXT").str.len_chars(),
            "similarity": pl.col("similarity").fill_nan(None),
        }
        width, height = pl.col("WIDTH"), pl.col("HEIGHT")
        shape = rows.select(
            pl.len(),
            *(pl.col(c).null_count().alias(f"null {c}") for c in rows.collect_schema()),
            *(_ranks(e).alias(f"quantiles {n}").implode() for n, e in numbers.items()),
            *(e.mean().alias(f"mean {n}") for n, e in numbers.items()),
            *(((width >= s) & (height >= s)).sum().alias(f"sides {s}") for s in (256, 512, 1024)),
        )
        above = [(pl.col(c) > t).sum().alias(c) for c, t in SCORES.items()]
        scored = [pl.col(c).count().alias(f"n {c}") for c in SCORES]
        languages = rows.group_by("LANGUAGE").agg(pl.len(), *above, *scored)
        host = pl.col("URL").str.extract(r"^[A-Za-z][A-Za-z0-9+.\-]*://(?:[^/?#@]*@)?([^/?#:]*)")
        domains = rows.group_by(host.alias("host")).len().sort("len", descending=True)
        return {**_numbers(shape, languages, domains), **(_terms(rows, masks) if masks else {})}

    def _ranks(numbers):
        """The quantiles, from a single sort."""
        ranks = pl.concat([(numbers.count() * q).ceil().cast(pl.Int64) - 1 for q in QUANTILES])
        return numbers.drop_nulls().sort().gather(ranks)

    def _numbers(shape, languages, domains) -> dict:
        totals, by_language, hosts = pl.collect_all([shape, languages, domains])
        return {
            "rows": totals["len"][0],
            "sides 512": totals["sides 512"][0],
            "median width": totals["quantiles width"][0][9],
            "punsafe ru": by_language.filter(pl.col("LANGUAGE") == "ru")["punsafe"][0],
            "distinct domains": len(hosts),
            "top domain": hosts["len"][0],
        }

    def _terms(rows, masks: dict) -> dict:
        marked = rows.with_columns(**masks)
        names = list(masks)
        counts = {}
        for name in names:
            in_group = pl.col(name)
            counts[name] = in_group.sum()
            for column, threshold in SCORES.items():
                counts[f"{name}, {column}"] = (in_group & (pl.col(column) > threshold)).sum()
                counts[f"{name}, n {column}"] = (in_group & pl.col(column).is_not_null()).sum()
        genders = [n for n in names if n.startswith("gender: ")]
        for group in genders:
            for column in SCORES:
                for threshold in THRESHOLDS:
                    key = f"{group}, {column} > {threshold}"
                    counts[key] = (pl.col(group) & (pl.col(column) > threshold)).sum()
        jobs = [n for n in names if n.startswith("occupations: ")]
        crossed = [n for n in names if n.split(": ")[0] in CROSSED]
        pairs = [(a, b) for a in jobs for b in genders]
        pairs += [(a, b) for a in crossed for b in crossed if a.split(":")[0] < b.split(":")[0]]
        counts |= {f"{a} & {b}": (pl.col(a) & pl.col(b)).sum() for a, b in pairs}
        results = marked.select(**counts).collect(engine="streaming").row(0, named=True)
        return {name: results[name] for name in names}

    return run


def our_way(lists: tuple[str, ...]) -> Callable[[str], dict]:
    """``frame.laion.statistics(*ld.standard_statistics(frame))``, with intervals and tests."""

    import laion_dask as ld

    for name in ("read_shards", "statistics", "standard_statistics"):
        getattr(ld, name)  # imports its module

    def run(source: str) -> dict:
        frame = ld.read_shards(source)
        unsafe = [ld.rates(f"{name} > {t}", by="language") for name, t in SCORES.items()]
        metadata = [
            ld.describe(),
            ld.concentration("domain"),
            *unsafe,
            ld.rates(None, by="language"),
        ]
        wanted = ld.standard_statistics(frame) if lists else metadata
        table = frame.laion.statistics(*wanted, min_n=0)
        describe, rates = table.of("describe"), table.of("rates")
        shares = rates[rates["term"] == "rows"]
        domains = table.of("concentration").query("axis == 'domain'")
        unsafe = rates[(rates["term"] == "punsafe > 0.5") & (rates["group"] == "ru")]
        sides = describe[(describe["term"] == "both sides") & (describe["threshold"] == 512)]
        median = describe[(describe["term"] == "width") & (describe["group"] == "quantile 0.50")]
        groups = shares[shares["axis"].isin(lists)]
        return {
            "rows": table.attrs["rows"]["kept"],
            "sides 512": int(sides["k"].iloc[0]),
            "median width": float(median["value"].iloc[0]),
            "punsafe ru": int(unsafe["k"].iloc[0]),
            "distinct domains": int(domains.loc[domains["term"] == "distinct", "value"].iloc[0]),
            "top domain": int(domains.loc[domains["group"] == "label", "k"].max()),
            **{f"{a}: {g}": int(k) for a, g, k in groups[["axis", "group", "k"]].to_numpy()},
        }

    return run


#: The factory of each contender, and whether it also counts terms in captions.
WAYS = {
    "polars, by hand": (polars_way, True),
    "laion_dask": (our_way, True),
    "polars, no terms": (polars_way, False),
    "laion_dask, no terms": (our_way, False),
}


def main() -> None:
    """Run one contender and print its time, memory and counts."""
    way, source = sys.argv[1:3]
    start = time.perf_counter()
    make, with_terms = WAYS[way]
    lists: tuple[str, ...] = ()
    if with_terms:
        from laion_dask.aggregations.default_set import LISTS

        lists = (*LISTS, "occupations")
    run = make(lists)
    imported = time.perf_counter()
    before = time.process_time()
    counts = run(source)
    wall, cpu = time.perf_counter() - imported, time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    took = {"wall_s": wall, "cpu_s": cpu, "peak_bytes": peak, "import_s": imported - start}
    print(json.dumps({**took, "counts": counts}))


if __name__ == "__main__":
    main()
