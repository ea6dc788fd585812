"""Whether pages and Markdown show hostile text as text."""

from __future__ import annotations

import unicodedata
from html.parser import HTMLParser

from markdown_it import MarkdownIt

#: Elements of our own templates.
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "h4", "p", "div", "b"),
    *("i", "br", "table", "thead", "tbody", "tr", "th", "td", "bdi", "code", "pre", "span", "ul"),
    *("ol", "li", "details", "summary", "figure", "figcaption", "img", "a", "button", "em"),
    *("strong", "hr", "s"),
    *("svg", "g", "rect", "line", "circle", "polygon", "polyline", "path", "text"),
}
_LINKS = {"href", "src", "action", "formaction", "srcdoc", "data", "background", "xlink:href"}
#: Joiners, which scripts and emoji need.
_SEEN = "\u200c\u200d"


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.text: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag, attributes) -> None:
        if tag not in TAGS:
            self.faults.append(f"<{tag}>")
        for name, value in attributes:
            if name.startswith("on"):
                self.faults.append(f"{name}={value}")
            if name in _LINKS and not (value or "").startswith(("data:image/", "#", "_")):
                self.faults.append(f"{name}={value}")
        if tag in ("style", "title"):
            self._inside.append(tag)

    def handle_endtag(self, tag) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_comment(self, data) -> None:
        self.faults.append(f"<!--{data[:20]}")

    def handle_data(self, data) -> None:
        if self._inside[-1:] != ["style"]:
            self.text.append(data)


def text_of_page(page: str) -> str:
    """The text of a page, which must have no element, link or script of the data's own."""
    parser = _Page()
    parser.feed(page)
    parser.close()
    assert parser.faults == []
    text = "".join(parser.text)
    assert _hidden(text) == []
    return text


def text_of_markdown(markdown: str) -> str:
    """The text of Markdown as GitHub and the Hub render it: with HTML, tables and bare links."""
    renderer = MarkdownIt("gfm-like", {"html": True, "linkify": True})
    body = markdown.split("\n---\n", 1)[1] if markdown.startswith("---\n") else markdown
    assert _hidden(markdown.replace("\n", "")) == []
    return text_of_page(renderer.render(body))


def _hidden(text: str) -> list[str]:
    """Characters that one cannot see, or that change the order of others."""
    return sorted(
        {
            c
            for c in text
            if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")
            and c not in _SEEN
            and c not in "\n\t"
        }
    )
