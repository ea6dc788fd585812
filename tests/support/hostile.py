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
