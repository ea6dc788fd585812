"""How each number of a page came about, in the words of the field: formula and source."""

from __future__ import annotations

#: By the statistic's name: what it is, and who says so.
METHODS: dict[str, tuple[str, ...]] = {
    "describe": (
        "Quantile at q: the smallest value that at least a share q of the values do not exceed; "
        "exact while a column has at most 10,000 distinct values, else from a sketch with a "
        "relative error of at most 0.0005 (DDSketch; Masson, Rim and Lee 2019).",
        "Unsafe means punsafe above 0.5, watermarked means pwatermark above 0.8, as in LAION's "
        "own figures (announcement of LAION-5B, 2022). A row without a score is counted apart and "
        "is never safe.",
    ),
    "rates": (
        "A rate is k / n, n being the rows on which the expression can be decided. Its interval "
        "is Wilson's (1927): (p + z2 / 2n ± z sqrt(p (1 - p) / n + z2 / 4n2)) / (1 + z2 / n), with "
        "p = k / n, z the normal quantile and z2 its square.",
        "The ratio compares the rate of a group with that of all rows outside it; its interval is "
        "symmetric in the logarithm, with variance 1/k1 - 1/n1 + 1/k2 - 1/n2 (Katz et al. 1978). "
        "p is two-sided, by Fisher's exact test where fewer than 500 rows are expected in a cell, "
        "else by the pooled z test; q is p adjusted for the number of groups compared (Benjamini "
        "and Hochberg 1995).",
        "The bootstrap draws whole shards with replacement, because rows of one shard are not "
        "independent: its interval is the standard error of such draws with Student's t, in logits "
        "(Efron and Tibshirani 1993, 6.2 and 12.2). Where it is much wider than "
        "Wilson's, believe it.",
    ),
    "concentration": (
        "Domains are registered domains by the public suffix list packaged with tldextract. Gini: "
        "half the mean absolute difference over the mean (0 equal, towards 1 all in one). "
        "Herfindahl: the sum of squared shares, the probability that two rows share a domain. "
        "Entropy is divided by the logarithm of the number of domains.",
    ),
    "duplicate_share": (
        "Repeats: rows less distinct values. Exact while there are at most 65,536 distinct values; "
        "beyond, estimated from the values of so many smallest hashes, to about 1 % (Bar-Yossef et "
        "al. 2002; Beyer et al. 2007).",
    ),
    "cooccurrence": (
        "nPMI(w, g) = ln[p(w,g) / (p(w) p(g))] / -ln p(w,g), p being shares of captions that "
        "mention them (Bouma 2009). The PMI bias of w is PMI(w, a) - PMI(w, b), with the interval "
        "of the log odds ratio (Valentini et al. 2021). A term that is in both lists, as actress "
        "is, goes with its group by that alone.",
    ),
    "intersections": (
        "Observed captions that mention both, over those expected if the two mentions were "
        "independent (interval: log of the observed share, delta method). A word may be of both "
        "lists, such as girl: then the two go together by definition.",
    ),
    "curve": ("The share of a group's scored rows above each threshold, with Wilson's interval.",),
    "exclusion": (
        "E_g = 1 - kept / n for each group, after Hong et al. (2024); its verdict is "
        "amplified when it was under-represented before and is excluded more than the rest, at a "
        "false discovery rate of 1 - level.",
    ),
    "comparison": (
        "The share of each group in two overlapping subsets. The interval of the difference puts "
        "together those of the rows that only one has and of the rows in both (Zou, Huang and "
        "Zhang 2009); p is by Fisher's exact test of the rows that only one has (Gart 1969).",
    ),
}

CAVEATS = (
    "A group is the captions that mention certain words, from versioned lists in English; it is "
    "no statement about who is in an image, nor about anybody's identity.",
    "A caption that mentions nobody may well show somebody; words have more than one meaning; "
    "other languages than English are found only where they share the word.",
    "Scores are what published models say, and those models are wrong in known ways, not equally "
    "for all groups.",
    "A share of all rows is shown even if few rows have it, since it rests on all of them; a rate "
    "within a group is left out where the group has too few rows.",
    "Intervals take rows as independent, unless they are named bootstrap; rows of one crawl are "
    "not quite.",
    "Captions, domains and labels are shown as they were found.",
)
