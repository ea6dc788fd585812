"""Captions in 26 languages and hostile ones, and the languages that are detected."""
# ruff: noqa: RUF001

from __future__ import annotations

import pyarrow as pa

from laion_dask.text.language_detection import Detector, detect

#: One sentence per language, written by us, of the kind found next to an image.
SENTENCES = {
    "en": "A beautiful photograph of a small dog playing in the grass",
    "de": "Der schnelle braune Fuchs springt über den faulen Hund im Garten.",
    "fr": "Le chien noir dort sur le canapé du salon pendant l'après-midi.",
    "es": "La niña pequeña juega con su perro en el parque de la ciudad.",
    "it": "Una bella vista del mare dalla finestra della camera da letto.",
    "pt": "Uma bela vista do mar a partir da janela do quarto do hotel.",
    "nl": "Een mooie foto van een kleine hond die in het gras speelt.",
    "sv": "En vacker bild av en liten hund som leker i gräset.",
    "pl": "Piękne zdjęcie małego psa bawiącego się na trawie.",
    "cs": "Krásná fotografie malého psa, který si hraje v trávě.",
    "tr": "Çimenlerde oynayan küçük bir köpeğin güzel bir fotoğrafı.",
    "ru": "Красивая фотография маленькой собаки, играющей в траве.",
    "uk": "Гарна фотографія маленького собаки, який грається у траві.",
    "el": "Μια όμορφη φωτογραφία ενός μικρού σκύλου που παίζει στο γρασίδι.",
    "he": "תמונה יפה של כלב קטן משחק על הדשא",
    "ar": "صورة جميلة لكلب صغير يلعب على العشب",
    "hi": "घास पर खेलते हुए एक छोटे कुत्ते की सुंदर तस्वीर",
    "ja": "芝生で遊ぶ小さな犬の美しい写真",
    "ko": "잔디밭에서 노는 작은 개의 아름다운 사진",
    "zh": "一只小狗在草地上玩耍的美丽照片",
    "th": "ภาพถ่ายสวยงามของสุนัขตัวเล็กที่เล่นบนหญ้า",
    "vi": "Một bức ảnh đẹp về một chú chó nhỏ đang chơi trên cỏ",
    "id": "Foto indah seekor anjing kecil yang sedang bermain di rumput",
    "fi": "Kaunis kuva pienestä koirasta, joka leikkii nurmikolla",
    "hu": "Gyönyörű fotó egy kis kutyáról, amely a fűben játszik",
    "ro": "O fotografie frumoasă a unui câine mic care se joacă în iarbă",
}
HOSTILE = [
    "\x00", "\x00A photograph of a small dog\x00 playing in the grass", "\u202egnp.exe", "\ufeff",
    "a\u0300" * 9000, "\U0001f600" * 50, "<script>alert(1)</script>", "'; DROP TABLE x; --",
    "\ufffe\uffff", "\u200d" * 100, "𝕬𝖇𝖈𝖉", "1234567890", "=1+1", "  \n\t ", "ꟸ" * 9,
]  # fmt: skip
CAPTIONS = [*SENTENCES.values(), None, "", "red", "IMG_2034.JPG", *HOSTILE]


def named(texts, min_letters=4, min_confidence=0.4) -> list:
    detected = detect(
        pa.chunked_array([pa.array(texts, pa.large_string())]), plain(min_letters, min_confidence)
    )
    return detected.to_pylist()


def plain(min_letters=4, min_confidence=0.4) -> Detector:
    return Detector("text", "language", min_letters, min_confidence)
