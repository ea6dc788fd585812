"""The twenty-four objects and the hazard disc as drawings in unit coordinates.

Paints: "main" is the color of the object, "shade" a darker and "light" a lighter tone of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from laion_dask.demo.pen import Pen

GLASS = (205, 225, 240)
DARK = (45, 48, 60)


def _circle(pen: Pen) -> None:
    pen.disc("main", 0, 0, 0.88)


def _square(pen: Pen) -> None:
    pen.box("main", -0.8, -0.8, 0.8, 0.8)


def _triangle(pen: Pen) -> None:
    pen.poly("main", (0, -0.9), (0.95, 0.78), (-0.95, 0.78))


def _star(pen: Pen) -> None:
    spokes = [(1.0 if i % 2 == 0 else 0.42, math.radians(36 * i - 90)) for i in range(10)]
    pen.poly("main", *((r * math.cos(a), r * math.sin(a)) for r, a in spokes))


def _heart(pen: Pen) -> None:
    turns = [math.radians(6 * i) for i in range(60)]
    pen.poly(
        "main",
        *(
            (
                0.92 * math.sin(t) ** 3,
                -0.06 * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t)
                         - math.cos(4 * t)) - 0.1,
            )
            for t in turns
        ),
    )  # fmt: skip


def _house(pen: Pen) -> None:
    pen.box("main", -0.68, -0.15, 0.68, 0.88)
    pen.poly("shade", (0, -0.95), (0.95, -0.1), (-0.95, -0.1))
    pen.box("light", -0.45, 0.1, -0.08, 0.45)
    pen.box("shade", 0.12, 0.2, 0.46, 0.88)


def _tree(pen: Pen) -> None:
    pen.box("shade", -0.14, 0.4, 0.14, 0.95)
    pen.disc("main", -0.4, 0.05, 0.45)
    pen.disc("main", 0.4, 0.05, 0.45)
    pen.disc("main", 0, -0.42, 0.52)
    pen.disc("main", 0, 0.1, 0.5)


def _car(pen: Pen) -> None:
    pen.poly("main", (-0.5, 0.0), (-0.3, -0.48), (0.32, -0.48), (0.6, 0.0))
    pen.poly("main", (-0.98, 0.05), (-0.5, -0.05), (0.6, -0.05), (0.98, 0.12), (0.98, 0.45),
             (-0.98, 0.45))  # fmt: skip
    pen.poly(GLASS, (-0.36, -0.05), (-0.22, -0.36), (-0.02, -0.36), (-0.02, -0.05))
    pen.poly(GLASS, (0.08, -0.05), (0.08, -0.36), (0.26, -0.36), (0.44, -0.05))
    for x in (-0.52, 0.52):
        pen.disc(DARK, x, 0.45, 0.24)
    for x in (-0.52, 0.52):
        pen.disc((200, 200, 205), x, 0.45, 0.1)


def _boat(pen: Pen) -> None:
    pen.poly("main", (0.06, -0.92), (0.8, 0.25), (0.06, 0.25))
    pen.poly("light", (-0.06, -0.7), (-0.06, 0.25), (-0.62, 0.25))
    pen.poly("main", (-0.98, 0.4), (0.98, 0.4), (0.62, 0.85), (-0.62, 0.85))


def _fish(pen: Pen) -> None:
    pen.poly("shade", (0.4, 0.0), (0.98, -0.5), (0.86, 0.0), (0.98, 0.5))
    pen.disc("main", -0.15, 0, 0.78, 0.5)
    pen.poly("shade", (-0.1, -0.12), (0.3, 0.1), (-0.1, 0.24))
    pen.disc((255, 255, 255), -0.58, -0.12, 0.14)
    pen.disc(DARK, -0.6, -0.12, 0.07)


def _flower(pen: Pen) -> None:
    pen.box((50, 120, 60), -0.06, 0.2, 0.06, 0.98)
    for i in range(6):
        a = math.radians(60 * i + 30)
        pen.disc("main", 0.46 * math.cos(a), -0.28 + 0.46 * math.sin(a), 0.28)
    pen.disc("shade", 0, -0.28, 0.24)


def _key(pen: Pen) -> None:
    pen.disc("main", -0.52, 0, 0.44)
    pen.disc("cut", -0.52, 0, 0.19)
    pen.box("main", -0.15, -0.12, 0.95, 0.12)
    pen.box("main", 0.45, 0, 0.6, 0.42)
    pen.box("main", 0.78, 0, 0.95, 0.46)


def _cup(pen: Pen) -> None:
    pen.disc("main", 0.52, -0.02, 0.4)
    pen.disc("cut", 0.52, -0.02, 0.2)
    pen.poly("main", (-0.78, -0.55), (0.55, -0.55), (0.4, 0.75), (-0.63, 0.75))
    pen.disc("shade", -0.115, -0.55, 0.665, 0.16)


def _umbrella(pen: Pen) -> None:
    pen.box(DARK, -0.06, -0.1, 0.06, 0.75)
    pen.disc(DARK, -0.16, 0.72, 0.22, start=0, stop=180)
    pen.disc("cut", -0.16, 0.72, 0.1, start=0, stop=180)
    pen.disc("main", 0, 0.05, 0.98, 0.95, start=180, stop=360)
    for x in (-0.65, 0.0, 0.65):
        pen.disc("cut", x, 0.07, 0.325, 0.16)
    pen.box(DARK, -0.05, -0.08, 0.05, 0.4)


def _mushroom(pen: Pen) -> None:
    pen.poly((240, 228, 205), (-0.26, 0.0), (0.26, 0.0), (0.36, 0.88), (-0.36, 0.88))
    pen.disc("main", 0, 0.14, 0.95, 1.0, start=180, stop=360)
    for x, y, r in ((-0.5, -0.18, 0.15), (0.05, -0.5, 0.18), (0.52, -0.12, 0.14)):
        pen.disc("light", x, y, r)


def _cloud(pen: Pen) -> None:
    pen.disc("main", -0.5, 0.15, 0.42)
    pen.disc("main", 0.52, 0.18, 0.4)
    pen.disc("main", -0.1, -0.18, 0.5)
    pen.disc("main", 0.3, -0.05, 0.42)
    pen.box("main", -0.5, 0.1, 0.52, 0.57)


def _moon(pen: Pen) -> None:
    pen.disc("main", -0.05, 0, 0.9)
    pen.disc("cut", 0.38, -0.18, 0.74)


def _sun(pen: Pen) -> None:
    for i in range(10):
        a = math.radians(36 * i)
        left, right = a - 0.2, a + 0.2
        pen.poly(
            "main", (0.6 * math.cos(left), 0.6 * math.sin(left)),
            (1.0 * math.cos(a), 1.0 * math.sin(a)), (0.6 * math.cos(right), 0.6 * math.sin(right)),
        )  # fmt: skip
    pen.disc("main", 0, 0, 0.5)


def _bird(pen: Pen) -> None:
    pen.poly((240, 160, 40), (-0.98, -0.32), (-0.66, -0.5), (-0.66, -0.22))
    pen.poly("main", (0.3, 0.0), (0.98, -0.38), (0.9, 0.15), (0.3, 0.4))
    pen.disc("main", 0.0, 0.15, 0.6, 0.45)
    pen.disc("main", -0.48, -0.35, 0.33)
    pen.poly("shade", (-0.2, 0.0), (0.5, -0.1), (0.2, 0.38))
    for x in (-0.1, 0.15):
        pen.line((240, 160, 40), (x, 0.55), (x, 0.92), 0.08)
    pen.disc((255, 255, 255), -0.54, -0.4, 0.1)
    pen.disc(DARK, -0.55, -0.4, 0.06)


def _cat(pen: Pen) -> None:
    pen.poly("main", (-0.8, -0.9), (-0.15, -0.5), (-0.72, 0.05))
    pen.poly("main", (0.8, -0.9), (0.15, -0.5), (0.72, 0.05))
    pen.disc("main", 0, 0.12, 0.82, 0.7)
    for x in (-0.34, 0.34):
        pen.disc((255, 255, 255), x, -0.02, 0.16, 0.18)
    for x in (-0.34, 0.34):
        pen.disc(DARK, x, 0.0, 0.08, 0.15)
    pen.poly((235, 120, 140), (-0.1, 0.28), (0.1, 0.28), (0, 0.42))
    for y in (0.32, 0.48):
        pen.line("shade", (-0.95, y), (-0.35, 0.38), 0.05)
        pen.line("shade", (0.95, y), (0.35, 0.38), 0.05)


def _arrow(pen: Pen) -> None:
    pen.poly("main", (-0.92, -0.24), (0.15, -0.24), (0.15, -0.7), (0.97, 0.0), (0.15, 0.7),
             (0.15, 0.24), (-0.92, 0.24))  # fmt: skip


def _ring(pen: Pen) -> None:
    pen.disc("main", 0, 0, 0.9)
    pen.disc("cut", 0, 0, 0.52)


def _cross(pen: Pen) -> None:
    pen.box("main", -0.28, -0.9, 0.28, 0.9)
    pen.box("main", -0.9, -0.28, 0.9, 0.28)


def _leaf(pen: Pen) -> None:
    upper = [(x / 10, -0.52 * math.cos(x / 10 * math.pi / 1.8) ** 0.9) for x in range(-9, 10)]
    pen.poly("main", *upper, *((x, -y) for x, y in reversed(upper)))
    pen.line("shade", (-0.98, 0), (0.7, 0), 0.09)
    for x in (-0.45, -0.05, 0.35):
        pen.line("shade", (x, 0), (x + 0.22, -0.3), 0.06)
        pen.line("shade", (x, 0), (x + 0.22, 0.3), 0.06)


_DRAWERS: dict[str, Callable[[Pen], None]] = {
    "circle": _circle, "square": _square, "triangle": _triangle, "star": _star, "heart": _heart,
    "house": _house, "tree": _tree, "car": _car, "boat": _boat, "fish": _fish, "flower": _flower,
    "key": _key, "cup": _cup, "umbrella": _umbrella, "mushroom": _mushroom, "cloud": _cloud,
    "moon": _moon, "sun": _sun, "bird": _bird, "cat": _cat, "arrow": _arrow, "ring": _ring,
    "cross": _cross, "leaf": _leaf,
}  # fmt: skip


def draw_object(name: str) -> Pen:
    """Draw one of `concepts.OBJECTS`."""
    pen = Pen()
    _DRAWERS[name](pen)
    return pen


def draw_hazard() -> Pen:
    """Draw the hazard disc, the stand-in for unsafe content: black and yellow stripes in a ring."""
    pen = Pen()
    pen.disc((20, 20, 20), 0, 0, 0.98)
    pen.disc((255, 214, 0), 0, 0, 0.84)
    for shift in (-0.66, -0.22, 0.22, 0.66):
        reach = math.sqrt(max(0.0, 0.82**2 - shift**2))
        x, y = shift / math.sqrt(2), -shift / math.sqrt(2)
        step = reach / math.sqrt(2)
        pen.line((20, 20, 20), (x - step, y - step), (x + step, y + step), 0.2)
    return pen
