"""The demo's words for colors and objects in six languages besides English.

Each language has a phrase that takes the words without inflection: "étoile de couleur rouge",
"звезда красного цвета", "赤色の星".
"""

from __future__ import annotations

from laion_dask.demo.concepts import COLORS, OBJECTS

_COLOR_WORDS = {
    "de": "Rot Orange Gelb Grün Blau Lila Rosa Braun Schwarz Weiß",
    "fr": "rouge orange jaune verte bleue violette rose brune noire blanche",
    "es": "rojo naranja amarillo verde azul morado rosa marrón negro blanco",
    "ru": "красного оранжевого жёлтого зелёного синего фиолетового розового коричневого "
    "чёрного белого",
    "ja": "赤 オレンジ 黄 緑 青 紫 ピンク 茶 黒 白",
    "zh": "红 橙 黄 绿 蓝 紫 粉 棕 黑 白",
}
_OBJECT_WORDS = {
    "de": "Kreis Quadrat Dreieck Stern Herz Haus Baum Auto Boot Fisch Blume Schlüssel Tasse "
    "Regenschirm Pilz Wolke Mond Sonne Vogel Katze Pfeil Ring Kreuz Blatt",
    "fr": "cercle carré triangle étoile cœur maison arbre voiture bateau poisson fleur clé tasse "
    "parapluie champignon nuage lune soleil oiseau chat flèche anneau croix feuille",
    "es": "círculo cuadrado triángulo estrella corazón casa árbol coche barco pez flor llave taza "
    "paraguas seta nube luna sol pájaro gato flecha anillo cruz hoja",
    "ru": "круг квадрат треугольник звезда сердце дом дерево машина лодка рыба цветок ключ чашка "
    "зонт гриб облако луна солнце птица кошка стрела кольцо крест лист",
    "ja": "円 四角形 三角形 星 ハート 家 木 車 ボート 魚 花 鍵 カップ 傘 きのこ 雲 月 太陽 鳥 "
    "猫 矢印 指輪 十字 葉",
    "zh": "圆形 正方形 三角形 星星 心形 房子 树 汽车 船 鱼 花 钥匙 杯子 雨伞 蘑菇 云 月亮 太阳 鸟 "
    "猫 箭头 戒指 十字 叶子",
}
_PHRASES = {
    "de": ("{o} in {c}", "Foto: {o} in {c}", "Bild mit {o} in {c}", "{o} in {c} kaufen"),
    "fr": ("{o} de couleur {c}", "photo : {o} de couleur {c}", "image, {o} de couleur {c}"),
    "es": ("{o} de color {c}", "foto: {o} de color {c}", "imagen, {o} de color {c}"),
    "ru": ("{o} {c} цвета", "фото: {o} {c} цвета", "картинка, {o} {c} цвета"),
    "ja": ("{c}色の{o}", "{c}色の{o}の写真", "{c}色の{o}のイラスト"),
    "zh": ("{c}色的{o}", "{c}色的{o}照片", "一张{c}色{o}的图片"),
}

LANGUAGES: tuple[str, ...] = tuple(_PHRASES)
"""ISO 639-1 codes of the languages besides "en"."""


def phrase(language: str, color: str, object_name: str, choice: int) -> str:
    """A caption for a color and an object in one of `LANGUAGES`; ``choice`` picks the wording."""
    phrases = _PHRASES[language]
    return phrases[choice % len(phrases)].format(
        c=_COLOR_WORDS[language].split()[list(COLORS).index(color)],
        o=_OBJECT_WORDS[language].split()[OBJECTS.index(object_name)],
    )
