"""Captions as found on the web."""

ODD = [
    "bird\x00bird",
    "\u202egnp.drib\u202c",
    "",
    "\ufeffbom",
    "a\u0301",
    "\U0001f426" * 3,
    "'; DROP TABLE shards; --",
    "$path",
    "line\nbreak\r\t",
    "%_\\",
    "\uffff\x7f",
]

#: Text that tries to become markup, a link, a script or a formula, or to hide what it is.
ATTACKS = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "'><svg onload=alert(1)>",
    '" autofocus onfocus="alert(1)',
    "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "![x](https://evil.example/pixel.png)",
    "<https://evil.example/>",
    "https://evil.example/ and www.evil.example and a@evil.example",
    "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    "`x` *y* _z_ ~~s~~ # h | cell\n\n# heading\n\n---\n- item",
    "{{ 7 * 7 }} {% raw %} ${7*7} <%= 7 %>",
    "$$\\href{javascript:alert(1)}{x}$$ \\(x\\) \\[y\\]",
    "@{text} @text{custom} $index {x}",
    '=HYPERLINK("https://evil.example")',
    "<!-- --> ]]> <![CDATA[ x ]]> &lt;b&gt; &#60;b&#62;",
    "\u202egnp.drib\u202c \u2066x\u2069 \u200b\ufeff",
    "nul\x00 bell\x07 escape\x1b[31m\x1b]0;x\x07 \x7f \u2028 \u2029 \uffff",
    "x" * 5000,
]
