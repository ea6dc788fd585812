"""Neutral figures at work: one body for everyone, and the tools of twelve occupations.

The figures show no skin tone, face or gender: a cool gray head and a plain body. Only captions say
"she" or "he".
"""

from __future__ import annotations

from collections.abc import Callable

from laion_dask.demo.pen import Pen

_WHITE, _DARK, _GREY = (248, 248, 250), (45, 48, 60), (150, 155, 165)
_RED, _WOOD, _STRAW = (215, 40, 45), (140, 90, 50), (232, 196, 95)
_STEEL, _GREEN, _YELLOW = (120, 130, 145), (60, 150, 70), (250, 205, 30)


def _body(pen: Pen, coat: tuple[int, int, int]) -> None:
    pen.disc(coat, 0, 0.45, 0.5, 0.42, start=180, stop=360)
    pen.box(coat, -0.5, 0.44, 0.5, 0.98)
    pen.box("head", -0.1, -0.1, 0.1, 0.15)
    pen.disc("head", 0, -0.3, 0.31)


def _doctor(pen: Pen) -> None:
    _body(pen, _WHITE)
    pen.line(_STEEL, (-0.2, 0.1), (-0.16, 0.5), 0.07)
    pen.line(_STEEL, (0.2, 0.1), (0.16, 0.5), 0.07)
    pen.line(_STEEL, (-0.16, 0.5), (0.16, 0.5), 0.07)
    pen.disc(_DARK, 0, 0.62, 0.12)
    pen.disc(_STEEL, 0, -0.5, 0.12)


def _nurse(pen: Pen) -> None:
    _body(pen, (120, 190, 200))
    pen.poly(_WHITE, (-0.34, -0.5), (-0.4, -0.85), (0.4, -0.85), (0.34, -0.5))
    pen.box(_RED, -0.05, -0.82, 0.05, -0.54)
    pen.box(_RED, -0.14, -0.73, 0.14, -0.63)
    pen.box(_WHITE, 0.1, 0.45, 0.4, 0.75)
    pen.box(_RED, 0.22, 0.48, 0.28, 0.72)
    pen.box(_RED, 0.13, 0.57, 0.37, 0.63)


def _teacher(pen: Pen) -> None:
    pen.box(_WOOD, -0.98, -0.95, 0.98, 0.35)
    pen.box((35, 85, 65), -0.9, -0.87, 0.9, 0.27)
    for y, x in ((-0.65, 0.75), (-0.4, 0.6), (-0.15, 0.8)):
        pen.line(_WHITE, (0.42, y), (x, y), 0.06)
    _body(pen, (90, 100, 150))
    pen.line(_WOOD, (-0.4, 0.6), (-0.8, -0.5), 0.07)


def _cook(pen: Pen) -> None:
    _body(pen, _WHITE)
    for x in (-0.22, 0.0, 0.22):
        pen.disc(_WHITE, x, -0.82, 0.17)
    pen.box(_WHITE, -0.27, -0.8, 0.27, -0.5)
    pen.box(_GREY, -0.27, -0.54, 0.27, -0.48)
    pen.line(_WOOD, (0.35, 0.75), (0.9, 0.45), 0.1)
    pen.disc(_DARK, -0.45, 0.72, 0.38, 0.2)


def _farmer(pen: Pen) -> None:
    _body(pen, (70, 105, 170))
    pen.box(_RED, -0.5, 0.44, -0.28, 0.98)
    pen.box(_RED, 0.28, 0.44, 0.5, 0.98)
    pen.disc(_STRAW, 0, -0.48, 0.62, 0.13)
    pen.disc(_STRAW, 0, -0.5, 0.3, 0.34, start=180, stop=360)
    pen.line(_WOOD, (0.75, 0.98), (0.75, -0.4), 0.08)
    for x in (0.58, 0.75, 0.92):
        pen.line(_STEEL, (x, -0.4), (x, -0.8), 0.06)
    pen.line(_STEEL, (0.55, -0.4), (0.95, -0.4), 0.08)


def _builder(pen: Pen) -> None:
    _body(pen, (245, 130, 30))
    pen.box(_YELLOW, -0.5, 0.6, 0.5, 0.74)
    pen.disc(_YELLOW, 0, -0.42, 0.37, 0.42, start=180, stop=360)
    pen.box(_YELLOW, -0.46, -0.48, 0.46, -0.38)
    pen.line(_WOOD, (0.72, 0.95), (0.72, 0.1), 0.1)
    pen.box(_STEEL, 0.5, -0.08, 0.95, 0.16)


def _firefighter(pen: Pen) -> None:
    _body(pen, (60, 60, 70))
    pen.box(_YELLOW, -0.5, 0.66, 0.5, 0.78)
    pen.disc(_RED, 0, -0.42, 0.36, 0.42, start=180, stop=360)
    pen.disc(_RED, 0, -0.42, 0.52, 0.1)
    pen.disc(_YELLOW, 0, -0.58, 0.1)
    pen.poly((250, 150, 30), (-0.95, 0.95), (-0.85, 0.2), (-0.72, 0.5), (-0.62, 0.25), (-0.5, 0.95))
    pen.poly(_YELLOW, (-0.85, 0.95), (-0.72, 0.55), (-0.6, 0.95))


def _painter(pen: Pen) -> None:
    _body(pen, (225, 215, 235))
    pen.disc((110, 50, 120), -0.08, -0.56, 0.4, 0.17)
    pen.disc((190, 135, 80), 0.5, 0.62, 0.42, 0.32)
    for x, y, c in ((0.3, 0.52, _RED), (0.55, 0.42, _YELLOW), (0.74, 0.62, _GREEN)):
        pen.disc(c, x, y, 0.1)
    pen.disc((40, 90, 215), 0.45, 0.76, 0.1)
    pen.line(_WOOD, (-0.45, 0.8), (-0.85, 0.0), 0.07)
    pen.disc(_RED, -0.87, -0.06, 0.09, 0.13)


def _pilot(pen: Pen) -> None:
    _body(pen, (25, 40, 85))
    pen.poly((25, 40, 85), (-0.42, -0.75), (0.42, -0.75), (0.33, -0.46), (-0.33, -0.46))
    pen.disc(_DARK, 0, -0.44, 0.36, 0.08)
    pen.disc(_YELLOW, 0, -0.62, 0.08)
    pen.poly(_YELLOW, (-0.35, 0.42), (0.35, 0.42), (0.06, 0.58), (-0.06, 0.58))
    pen.poly(_WHITE, (-0.07, 0.1), (0.07, 0.1), (0.0, 0.38))
    for x in (-0.42, 0.42):
        pen.box(_YELLOW, x - 0.07, 0.3, x + 0.07, 0.36)


def _scientist(pen: Pen) -> None:
    _body(pen, _WHITE)
    pen.disc(_DARK, -0.14, -0.3, 0.13)
    pen.disc(_DARK, 0.14, -0.3, 0.13)
    pen.disc((190, 230, 245), -0.14, -0.3, 0.08)
    pen.disc((190, 230, 245), 0.14, -0.3, 0.08)
    pen.poly((200, 230, 245), (0.52, 0.0), (0.72, 0.0), (0.72, 0.35), (0.96, 0.9), (0.28, 0.9),
             (0.52, 0.35))  # fmt: skip
    pen.poly((60, 190, 120), (0.46, 0.5), (0.78, 0.5), (0.95, 0.88), (0.29, 0.88))


def _mechanic(pen: Pen) -> None:
    _body(pen, (50, 80, 120))
    pen.disc((50, 80, 120), 0, -0.42, 0.33, 0.3, start=180, stop=360)
    pen.box((50, 80, 120), -0.1, -0.48, 0.55, -0.4)
    pen.line(_STEEL, (0.35, 0.85), (0.75, 0.1), 0.13)
    pen.disc(_STEEL, 0.8, 0.0, 0.2)
    pen.poly("cut", (0.74, 0.0), (0.86, 0.02), (0.98, -0.26), (0.76, -0.26))
    pen.disc(_STEEL, -0.62, 0.7, 0.3)
    pen.disc(_DARK, -0.62, 0.7, 0.12)


def _gardener(pen: Pen) -> None:
    _body(pen, (95, 145, 80))
    pen.disc((120, 160, 70), 0, -0.5, 0.5, 0.11)
    pen.disc((120, 160, 70), 0, -0.52, 0.27, 0.25, start=180, stop=360)
    pen.poly((190, 95, 55), (0.4, 0.55), (0.95, 0.55), (0.85, 0.98), (0.5, 0.98))
    pen.line(_GREEN, (0.67, 0.55), (0.67, 0.1), 0.07)
    pen.disc(_GREEN, 0.52, 0.22, 0.18, 0.1)
    pen.disc(_GREEN, 0.82, 0.12, 0.18, 0.1)
    pen.disc((240, 120, 170), 0.67, 0.0, 0.15)


_DRAWERS: dict[str, Callable[[Pen], None]] = {
    "doctor": _doctor, "nurse": _nurse, "teacher": _teacher, "cook": _cook, "farmer": _farmer,
    "builder": _builder, "firefighter": _firefighter, "painter": _painter, "pilot": _pilot,
    "scientist": _scientist, "mechanic": _mechanic, "gardener": _gardener,
}  # fmt: skip


def draw_person(occupation: str) -> Pen:
    """Draw a neutral figure with the tools of one of `concepts.OCCUPATIONS`."""
    pen = Pen()
    _DRAWERS[occupation](pen)
    return pen
