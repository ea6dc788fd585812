"""How pages look: in the reader's light or dark scheme, on narrow screens and wide ones."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--ink:#1f2933;--grey:#52606d;--faint:#e4e8ec;--edge:#d8dde3;
--strong:#9aa5b1;--paper:#fff;--code:#f1f4f7;--warm:#fdf3e1;--link:#2f6cc0}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ec;--grey:#a9b4bf;--faint:#2c343c;--edge:#3a444e;
--strong:#66727e;--paper:#15191e;--code:#232a31;--warm:#3a2c14;--link:#7fb0f0}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);max-width:1200px;margin:32px auto;
padding:0 24px;background:var(--paper);overflow-wrap:break-word}
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:32px 0 8px}
h3{font-size:15px;margin:22px 0 6px}p{margin:8px 0;max-width:78ch}
.counts{display:flex;flex-wrap:wrap;gap:12px;margin:20px 0}
.counts div{padding:10px 16px;border:1px solid var(--edge);border-radius:8px;min-width:110px}
.counts b{display:block;font-size:22px;font-variant-numeric:tabular-nums}
.scroll,.plots{overflow-x:auto;margin:8px 0}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:4px 9px;border-bottom:1px solid var(--faint);text-align:right;white-space:nowrap}
th.left,td.left,th:first-child,td:first-child{text-align:left}
thead th{border-bottom:2px solid var(--strong)}
table.facts td{white-space:normal}
tr.marked td{background:var(--warm)}
.bar{display:inline-block;height:9px;background:#3b7dd8;border-radius:2px;vertical-align:middle}
.note,.note p,.note li{color:var(--grey);font-size:13px}.note ul{padding-left:20px;max-width:98ch}
.caveat{border-left:4px solid #d9822b;background:var(--warm);padding:8px 14px;
border-radius:0 6px 6px 0;max-width:76ch}
code{font:13px ui-monospace,monospace;background:var(--code);border-radius:4px;padding:1px 5px;
overflow-wrap:anywhere}
details{margin:6px 0}summary{cursor:pointer;color:var(--link);font-size:13px}
.plots{display:flex;flex-wrap:wrap;align-items:flex-end;gap:8px 28px}
.plots svg{display:block;max-width:100%;height:auto}
"""
