"""All caption and metadata statistics of generated rows, by us and by polars written by hand.

``python full_pass_ways.py WAY SOURCE`` prints one line of JSON: what it took, imports apart, and
some of the counts, which both ways must agree on.
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
    """A regex for each group of a packaged term list.

    Groups with words that count only before a noun for a person are left out: a regex without
    looking ahead cannot tell.
    """
    import laion_dask as ld

    table = ld.terms(name).table()
    table = table[~table.groupby("group")["only_before_person_noun"].transform("any")]
    words = table.groupby("group", sort=False)["term"]
    return {label: r"(?i)\b(?:" + "|".join(map(_escaped, some)) + r")\b" for label, some in words}


def _escaped(word: str) -> str:
    return "".join(c if c.isalnum() or c == " " else f"\\{c}" for c in word)


def polars_way(lists: tuple[str, ...]) -> Callable[[str], dict]:
    """One lazy query for the numbers, one for languages, one for domains, one for the terms."""
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
        """The quantiles, from one sorting."""
        ranks = pl.concat([(numbers.count() * q).ceil().cast(pl.Int64) - 1 for q in QUANTILES])
        return numbers.drop_nulls().sort().gather(ranks)

    def _numbers(shape, languages, domains) -> dict:
        found, spoken, hosts = pl.collect_all([shape, languages, domains])
        return {
            "rows": found["len"][0],
            "sides 512": found["sides 512"][0],
            "median width": found["quantiles width"][0][9],
            "punsafe ru": spoken.filter(pl.col("LANGUAGE") == "ru")["punsafe"][0],
            "distinct domains": len(hosts),
            "top domain": hosts["len"][0],
        }

    def _terms(rows, masks: dict) -> dict:
        marked = rows.with_columns(**masks)
        names = list(masks)
        told = {}
        for name in names:
            in_group = pl.col(name)
            told[name] = in_group.sum()
            for column, threshold in SCORES.items():
                told[f"{name}, {column}"] = (in_group & (pl.col(column) > threshold)).sum()
                told[f"{name}, n {column}"] = (in_group & pl.col(column).is_not_null()).sum()
        genders = [n for n in names if n.startswith("gender: ")]
        for group in genders:
            for column in SCORES:
                for threshold in THRESHOLDS:
                    key = f"{group}, {column} > {threshold}"
                    told[key] = (pl.col(group) & (pl.col(column) > threshold)).sum()
        jobs = [n for n in names if n.startswith("occupations: ")]
        crossed = [n for n in names if n.split(": ")[0] in CROSSED]
        pairs = [(a, b) for a in jobs for b in genders]
        pairs += [(a, b) for a in crossed for b in crossed if a.split(":")[0] < b.split(":")[0]]
        told |= {f"{a} & {b}": (pl.col(a) & pl.col(b)).sum() for a, b in pairs}
        found = marked.select(**told).collect(engine="streaming").row(0, named=True)
        return {name: found[name] for name in names}

    return run


def our_way(lists: tuple[str, ...]) -> Callable[[str], dict]:
    """``frame.laion.statistics(*ld.standard_statistics(frame))``, with intervals and tests."""
    import laion_dask as ld

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
        told = frame.laion.statistics(*wanted, min_n=0)
        describe, rates = told.of("describe"), told.of("rates")
        shares = rates[rates["term"] == "rows"]
        domains = told.of("concentration").query("axis == 'domain'")
        unsafe = rates[(rates["term"] == "punsafe > 0.5") & (rates["group"] == "ru")]
        sides = describe[(describe["term"] == "both sides") & (describe["threshold"] == 512)]
        median = describe[(describe["term"] == "width") & (describe["group"] == "quantile 0.50")]
        groups = shares[shares["axis"].isin(lists)]
        return {
            "rows": told.attrs["rows"]["kept"],
            "sides 512": int(sides["k"].iloc[0]),
            "median width": float(median["value"].iloc[0]),
            "punsafe ru": int(unsafe["k"].iloc[0]),
            "distinct domains": int(domains.loc[domains["term"] == "distinct", "value"].iloc[0]),
            "top domain": int(domains.loc[domains["group"] == "label", "k"].max()),
            **{f"{a}: {g}": int(k) for a, g, k in groups[["axis", "group", "k"]].to_numpy()},
        }

    return run


#: The makers of a way, and whether the terms in captions are counted too.
WAYS = {
    "polars, by hand": (polars_way, True),
    "laion_dask": (our_way, True),
    "polars, no terms": (polars_way, False),
    "laion_dask, no terms": (our_way, False),
}


def main() -> None:
    """Run one way and print what it took."""
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
