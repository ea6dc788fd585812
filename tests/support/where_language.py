"""A second implementation of ``where=``, row by row in plain Python, and random expressions."""

from __future__ import annotations

import math
import re

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from laion_dask.text.domains import host_of, registered_domain, top_level_domain

# --- the language, row by row; three values: True, False and None (unknown) --------------------

TYPES = {
    "f32": pa.float32(),
    "g32": pa.float32(),
    "f64": pa.float64(),
    "i64": pa.int64(),
    "i32": pa.int32(),
    "u64": pa.uint64(),
    "flag": pa.bool_(),
    "text": pa.string(),
    "lang": pa.large_string(),
}
KIND = {"f32": "float32", "g32": "float32", "f64": "float64"}
KIND |= {"i64": "int", "i32": "int", "u64": "int"}


def missing(value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def nearest_float32(value) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def within_float32(value) -> float:
    """A constant as compared with a float32 column; unchanged if beyond the range of float32."""
    near = nearest_float32(value)
    return near if near != 0 and math.isfinite(near) else float(value)


def compare_values(op, left, right, kinds):
    """Compare two numbers, strings or booleans; ``kinds`` decides how numbers are converted."""
    if missing(left) or missing(right):
        return None
    if "literal" in kinds:
        other = kinds[0] if kinds[1] == "literal" else kinds[1]
        meet = {"int": lambda x: x, "float32": within_float32}.get(other, float)
        left = meet(left) if kinds[0] == "literal" else left
        right = meet(right) if kinds[1] == "literal" else right
    elif kinds[0] != kinds[1]:
        left, right = float(left), float(right)
    return {
        "==": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[op]


def calculate(op, left, right):
    if left is None or right is None:
        return None
    left, right = float(left), float(right)
    if op == "/":
        return None if right == 0 else float(np.float64(left) / np.float64(right))
    return {"+": left + right, "-": left - right, "*": left * right}[op]


def extreme(op, values):
    if any(missing(value) for value in values):
        return None
    return min(values) if op == "min" else max(values)


def kind_of_extreme(parts):
    """The kind of ``min`` and ``max`` of (text, kind, row -> value), literals included."""
    literals = [part[2](None) for part in parts if part[1] == "literal"]
    whole = all(isinstance(v, int) and -(2**63) <= v < 2**64 for v in literals)
    kinds = {kind for _, kind, _ in parts} - {"literal"}
    if kinds == {"int"} and whole:
        return "int"
    with np.errstate(over="ignore"):
        narrow = all(abs(as_float(v)) == math.inf or float(np.float16(v)) == v for v in literals)
    return "float32" if kinds == {"float32"} and narrow else "float64"


def negate(value):
    return None if value is None else not value


def all_of(values):
    return False if False in values else None if None in values else True


def any_of(values):
    return True if True in values else None if None in values else False


# --- expressions: their text, and their value for a row ----------------------------------------

#: Parts of regular expressions that mean the same in RE2 and in Python.
REGEX = ["a", "A", "漢", ".", "[^a]", "[b-z]", "a*", "(?:b|é)", "^", r"\z", "\n", "'", "%", r"\\"]
REGEX += [r"\x00", "\x00", "z{2}", "(?:)", r"\.", "_+", "🙂?"]
ALPHABET = "aAbBzéÉßİ\u0131\u03a3\u03c2'\"\\%_\x00\n \x1c\xa0\u202e🙂漢"
texts = st.text(ALPHABET, max_size=4)
URLS = ["http://a.b.co.uk/x", "https://A.DE", "data:,", "http://10.0.0.1/", "https://\u00e9.a.de/"]
#: Texts with domains, and what a filter may compare a domain with.
addresses = st.one_of(texts, st.sampled_from(URLS))
labels = st.one_of(texts, st.sampled_from(["b.co.uk", "a.de", "uk", "de", "10.0.0.1"]))
small = st.integers(-3, 3)
INTEGERS = [2**53, 2**53 + 1, 2**63 - 1, 2**63 - 2, -(2**63), 0, 16777217]
BEYOND = [2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**30, -(10**400), 10**400]
FLOATS = [0.0, -0.0, 0.28, 0.1, 0.5, 1e-45, 3.4e38, 3.5e38, 1e300, 9007199254740993.0, 2.5]
literals = st.one_of(
    small,
    st.sampled_from(INTEGERS + BEYOND),
    st.sampled_from([*FLOATS, math.inf]),
    st.floats(allow_nan=False, allow_infinity=False),
)


def literal_text(value) -> str:
    text = "1e999" if value == math.inf else repr(value)
    return f"-{text}" if value == -math.inf else text


def as_float(value) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


@st.composite
def numbers(draw, depth=1):
    """(text, kind, row -> value) of a number with a column in it."""
    if depth and draw(st.integers(0, 2)) == 0:
        left, right = draw(numbers(depth - 1)), draw(operands(depth - 1))
        if draw(st.booleans()):
            left, right = right, left
        op = draw(st.sampled_from("+-*/"))
        meaning = lambda row, a=left[2], b=right[2]: calculate(op, a(row), b(row))  # noqa: E731
        return f"({left[0]} {op} {right[0]})", "float64", meaning
    if depth and draw(st.integers(0, 3)) == 0:
        parts = [
            draw(numbers(depth - 1)),
            *draw(st.lists(operands(depth - 1), min_size=1, max_size=2)),
        ]
        parts = draw(st.permutations(parts))
        op, kind = draw(st.sampled_from(["min", "max"])), kind_of_extreme(parts)
        to = (lambda v: v) if kind == "int" else (lambda v: v if v is None else as_float(v))
        chosen = lambda row: extreme(op, [to(part[2](row)) for part in parts])  # noqa: E731
        return f"{op}({', '.join(part[0] for part in parts)})", kind, chosen
    if depth and draw(st.integers(0, 7)) == 0:
        text, kind, of = draw(numbers(depth - 1))
        return f"abs({text})", kind, lambda row: None if of(row) is None else abs(of(row))
    if draw(st.integers(0, 5)) == 0:
        name, measure = draw(st.sampled_from([("len", len), ("words", lambda t: len(t.split()))]))
        subject = draw(st.sampled_from(["text", "text.lower()"])) if name == "words" else "text"
        length = lambda row: None if row["text"] is None else measure(row["text"])  # noqa: E731
        return f"{subject}.{name}()", "int", length
    name = draw(st.sampled_from(list(KIND)))
    if draw(st.integers(0, 7)) == 0:
        return f"-{name}", "float64", lambda row: calculate("-", 0.0, row[name])
    return name, KIND[name], lambda row: row[name]


def operands(depth=1):
    def of_literal(value):
        whole = value if abs(as_float(value)) < math.inf else as_float(value)
        return literal_text(value), "literal", lambda row: whole

    return st.one_of(numbers(depth), literals.map(of_literal))


@st.composite
def number_checks(draw):
    left = draw(numbers())
    form = draw(st.sampled_from(["compare", "flipped", "chain", "in", "not in", "is", "is not"]))
    if form in ("is", "is not"):
        here = lambda row: missing(left[2](row))  # noqa: E731
        return f"{left[0]} {form} None", (
            here if form == "is" else lambda row: not missing(left[2](row))
        )
    if form in ("in", "not in"):
        values = draw(st.lists(literals, min_size=1, max_size=4))
        text = f"{left[0]} {form} ({''.join(literal_text(v) + ', ' for v in values)})"

        def among(row):
            kinds = (left[1], "literal")
            sides = [as_float(v) if abs(as_float(v)) == math.inf else v for v in values]
            member = any_of([compare_values("==", left[2](row), v, kinds) for v in sides])
            return member if form == "in" else negate(member)

        return text, among
    others = [draw(operands()) for _ in range(2 if form == "chain" else 1)]
    if form == "chain":
        sides = [others[0], left, others[1]]
    else:
        sides = [left, others[0]] if form == "compare" else [others[0], left]
    ops = [draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="])) for _ in sides[1:]]
    text = sides[0][0] + "".join(f" {o} {s[0]}" for o, s in zip(ops, sides[1:], strict=True))

    def meaning(row):
        values = [side[2](row) for side in sides]
        kinds = [side[1] for side in sides]
        return all_of(
            [compare_values(o, *values[i : i + 2], kinds[i : i + 2]) for i, o in enumerate(ops)]
        )

    return text, meaning


def domain(url: str | None) -> str | None:
    host = None if url is None else host_of(url)
    return None if host is None else registered_domain(host)


def tld(url: str | None) -> str | None:
    host = None if url is None else host_of(url)
    return None if host is None else top_level_domain(host)


#: Values of text by their names; the last two are null for what has no host.
TEXT_VALUES = {"lower": lambda text: text and text.lower(), "domain": domain, "tld": tld}


@st.composite
def text_checks(draw):
    name = draw(st.sampled_from(["text", "lang"]))
    method = draw(st.sampled_from([None, None, "lower", "lower", "domain", "tld"]))
    subject = f"{name}.{method}()" if method else name
    of = TEXT_VALUES.get(method, lambda text: text)
    value = lambda row: of(row[name])  # noqa: E731
    forms = ["contains", "startswith", "endswith", "matches", "compare", "in", "is"]
    form = draw(st.sampled_from(forms))
    if form == "matches":
        regex = "".join(draw(st.lists(st.sampled_from(REGEX), max_size=3)))
        found = re.compile(regex.replace(r"\z", r"\Z")).search
        return f"{subject}.matches({regex!r})", (
            lambda row: None if value(row) is None else found(value(row)) is not None
        )
    pattern = draw(labels)
    if form == "is":
        return f"{subject} is None", lambda row: value(row) is None
    if form == "compare":
        op = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
        return f"{subject} {op} {pattern!r}", (
            lambda row: compare_values(op, value(row), pattern, ("text", "text"))
        )
    if form == "in":
        values = draw(st.lists(labels, min_size=1, max_size=3))
        return f"{subject} in {values!r}", (
            lambda row: None if value(row) is None else value(row) in values
        )
    has = {
        "contains": lambda text: pattern in text,
        "startswith": lambda text: text.startswith(pattern),
        "endswith": lambda text: text.endswith(pattern),
    }[form]
    return f"{subject}.{form}({pattern!r})", (
        lambda row: None if value(row) is None else has(value(row))
    )


flag_checks = st.sampled_from(
    [
        ("flag", lambda row: row["flag"]),
        ("flag == True", lambda row: row["flag"]),
        ("flag != True", lambda row: negate(row["flag"])),
        ("flag in (True, False)", lambda row: None if row["flag"] is None else True),
        ("flag is not None", lambda row: row["flag"] is not None),
    ]
)


def join_with(parts):
    def build(word, meet):
        text = f" {word} ".join(f"({t})" for t, _ in parts)
        return text, lambda row: meet([m(row) for _, m in parts])

    return st.sampled_from([("and", all_of), ("or", any_of)]).map(lambda w: build(*w))


expressions = st.recursive(
    st.one_of(number_checks(), number_checks(), text_checks(), flag_checks),
    lambda inner: st.one_of(
        inner.map(lambda e: (f"not ({e[0]})", lambda row: negate(e[1](row)))),
        st.lists(inner, min_size=2, max_size=3).flatmap(join_with),
    ),
    max_leaves=5,
)


def cells(name):
    if name in ("text", "lang"):
        return st.one_of(st.none(), addresses)
    if name == "flag":
        return st.sampled_from([None, True, False])
    if name == "u64":
        return st.one_of(st.none(), st.sampled_from([0, 1, 2**53 + 1, 2**63, 2**64 - 1]))
    if name == "i64":
        return st.one_of(st.none(), small, st.sampled_from(INTEGERS))
    if name == "i32":
        return st.one_of(st.none(), small, st.sampled_from([16777217, 2**31 - 1, -(2**31)]))
    special = [math.nan, math.inf, -math.inf, *FLOATS]
    width = 64 if name == "f64" else 32
    special = special if width == 64 else [nearest_float32(v) for v in special]
    return st.one_of(st.none(), small.map(float), st.sampled_from(special), st.floats(width=width))


tables = st.lists(st.fixed_dictionaries({n: cells(n) for n in TYPES}), max_size=12)
