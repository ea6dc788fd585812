"""One self-contained page that describes a frame: tables, the four counts, a plot. No network."""

from __future__ import annotations

import html
import os
import uuid
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from laion_dask.explore.gallery import plain
from laion_dask.verbs.summary import SHARES, Summary, readable

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1f2933;max-width:1080px;margin:32px auto;
padding:0 24px;background:#fff}
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:32px 0 8px}
.counts{display:flex;flex-wrap:wrap;gap:12px;margin:20px 0}
.counts div{padding:10px 16px;border:1px solid #d8dde3;border-radius:8px;min-width:110px}
.counts b{display:block;font-size:22px;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:4px 10px;border-bottom:1px solid #e4e8ec;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
thead th{border-bottom:2px solid #9aa5b1}
.bar{display:inline-block;height:9px;background:#3b7dd8;border-radius:2px;vertical-align:middle}
.note{color:#52606d;font-size:13px}svg{max-width:100%;height:auto}
"""
_COUNTS = ("read", "kept", "dropped", "unscored", "rejected")
_NOTES = """
Unsafe means punsafe above 0.5, watermarked means pwatermark above 0.8, as in LAION's own figures;
rows without a score are counted apart and never as safe. Intervals are Wilson's at 95 % and take
rows as independent, which rows of one crawl are not quite. Quantiles carry a relative error of at
most 0.0005. Captions and domains are shown as they were found; they say what is in the data, not
what is true of anyone.
"""


def write_report(
    summary: Summary, path: str | os.PathLike, *, title: str = "What is in this frame"
) -> Path:
    """Write a summary as one HTML page that refers to nothing outside itself. Eager.

    The page appears in one step. Text from the data is escaped.

    Parameters
    ----------
    summary : Summary
    path : str or path
        Of the page, such as ``"report.html"``.
    title : str

    Raises
    ------
    OSError
        When the page cannot be written there.
    """
    path = Path(path)
    sections = [
        f"<h2>{html.escape(heading)}</h2>{_table(table)}"
        for heading, table in summary.tables().items()
    ]
    page = (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<meta http-equiv='Content-Security-Policy' "
        f"content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{html.escape(title)}</h1><p class='note'>laion_dask {version('laion_dask')}</p>"
        f"{_counts(summary)}{_curves(summary)}{''.join(sections)}"
        f"<h2>How to read this</h2><p class='note'>{html.escape(_NOTES.strip())}</p></body></html>"
    )
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    staged.write_text(page, encoding="utf-8")
    os.replace(staged, path)
    return path


def _counts(summary: Summary) -> str:
    counts = {"rows": summary.n_rows}
    if summary.rows is not None:
        counts = {name: getattr(summary.rows, name) for name in _COUNTS}
    boxes = "".join(f"<div><b>{n:,}</b>{name}</div>" for name, n in counts.items())
    return f"<div class='counts'>{boxes}</div>"


def _table(table: pd.DataFrame) -> str:
    head = "".join(f"<th>{html.escape(str(c))}</th>" for c in (table.index.name, *table.columns))
    shares = 90 * table["share"] / table["share"].max() if "share" in table else None
    rows = []
    for i, (label, row) in enumerate(readable(table).iterrows()):
        cells = "".join(
            f"<td>{_bar(shares.iloc[i]) if name == 'share' else ''}{text}</td>"
            for name, text in row.items()
        )
        rows.append(f"<tr><td><bdi>{plain(label, 80)}</bdi></td>{cells}</tr>")
    return (
        f"<div class='scroll'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _bar(pixels: float) -> str:
    return f"<span class='bar' style='width:{pixels:.0f}px'></span> " if pixels >= 1 else ""


def _curves(summary: Summary) -> str:
    """Quantiles of width, height and text length as one plot in SVG, on a logarithmic scale."""
    from math import log10

    names = [n for n in ("width", "height", "text_length") if n in summary.quantiles.index]
    values = summary.quantiles.loc[names, list(SHARES)] if names else pd.DataFrame()
    if not len(values) or values.isna().any(axis=None) or (values <= 0).any(axis=None):
        return ""
    lo, hi = log10(values.min(axis=None)) - 0.05, log10(values.max(axis=None)) + 0.05

    def at(share: float, value: float) -> tuple[float, float]:
        return 60 + 620 * share, 20 + 240 * (hi - log10(value)) / (hi - lo)

    parts = []
    for value in (m * 10**e for e in range(6) for m in (1, 2, 5)):
        if lo <= log10(value) <= hi:
            y = at(0, value)[1]
            parts.append(f"<line x1='60' x2='680' y1='{y:.1f}' y2='{y:.1f}' stroke='#e4e8ec'/>")
            parts.append(f"<text x='52' y='{y + 4:.1f}' text-anchor='end'>{value:,}</text>")
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        x = at(share, 10**lo)[0]
        parts.append(f"<text x='{x:.1f}' y='278' text-anchor='middle'>{share:.2f}</text>")
    colours = {"width": "#3b7dd8", "height": "#d9822b", "text_length": "#2f9e6e"}
    for name in names:
        points = " ".join("{:.1f},{:.1f}".format(*at(s, values.loc[name, s])) for s in SHARES)
        x, y = at(SHARES[-1], values.loc[name, SHARES[-1]])
        parts.append(
            f"<polyline points='{points}' fill='none' stroke='{colours[name]}' stroke-width='2'/>"
            f"<text x='{x + 8:.1f}' y='{_apart(name, y):.1f}' fill='{colours[name]}'>"
            f"{name.replace('_', ' ')}</text>"
        )
    return (
        "<h2>Size and caption length by quantile (pixels; characters)</h2>"
        "<svg viewBox='0 0 760 290' width='760' font-size='12' fill='#52606d'>"
        f"{''.join(parts)}</svg>"
    )


def _apart(name: str, y: float) -> float:
    """Width and height nearly coincide; their labels are set above and below."""
    return y + {"width": -4, "height": 14}.get(name, 4)
