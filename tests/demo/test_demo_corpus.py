"""The demo's images and corpus: reproducible bytes, with exactly the planted properties."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from laion_dask.demo.concepts import (
    COLORS,
    CONCEPTS,
    HELD_OUT,
    OBJECTS,
    OCCUPATIONS,
    SCENES,
    Picture,
    concept_prompts,
    draw_pictures,
)
from laion_dask.demo.corpus import write_corpus
from laion_dask.demo.job import demo_corpus
from laion_dask.demo.languages import LANGUAGES
from laion_dask.demo.picture_captions import caption, claims_of
from laion_dask.demo.planting import P_SHE
from laion_dask.demo.render import render
from laion_dask.errors import ExportError, OptionError

N = 1000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(
        tmp_path_factory.mktemp("corpus"), n_images=N, n_shards=3, seed=5, image_size=48
    )


@pytest.fixture(scope="module")
def table(corpus):
    return pa.concat_tables(pq.read_table(p) for p in sorted(corpus.glob("shards/*")))


@pytest.fixture(scope="module")
def truth(corpus):
    return pd.read_parquet(corpus / "truth.parquet")


def _samples(corpus):
    for path in sorted(corpus.glob("images/*.tar")):
        with tarfile.open(path) as tar:
            contents = [(m, tar.extractfile(m).read()) for m in tar.getmembers()]
        for i in range(0, len(contents), 3):
            (jpg, image), (txt, text), (meta, record) = contents[i : i + 3]
            assert {m.name.split(".")[0] for m in (jpg, txt, meta)} == {jpg.name.split(".")[0]}
            assert [m.name.split(".")[1] for m in (jpg, txt, meta)] == ["jpg", "txt", "json"]
            assert jpg.mtime == txt.mtime == meta.mtime == 0
            yield jpg.name.split(".")[0], image, text.decode(), json.loads(record)


@pytest.fixture(scope="module")
def samples(corpus):
    return list(_samples(corpus))


def test_the_same_picture_renders_to_the_same_bytes():
    first, again = (list(draw_pictures(3, 40, p_person=0.3, p_unsafe=0.3)) for _ in range(2))
    assert first == again
    assert all(render(p, 64).tobytes() == render(p, 64).tobytes() for p in first)
    assert len({render(p, 64).tobytes() for p in first}) == 40


@pytest.mark.parametrize("scene", SCENES)
def test_overlays_change_the_pixels_in_every_scene(scene):
    plain = render(Picture("red", "star", scene=scene, seed=4))
    for overlay in ({"watermarked": True}, {"unsafe": True}):
        marked = render(Picture("red", "star", scene=scene, seed=4, **overlay))
        difference = np.abs(np.asarray(plain, int) - np.asarray(marked, int)).max(-1)
        assert (difference > 20).mean() > 0.02


def test_every_object_and_occupation_looks_unlike_the_others():
    things = {render(Picture("red", o), 64).tobytes() for o in OBJECTS}
    people = {render(Picture(None, None, o), 64).tobytes() for o in OCCUPATIONS}
    assert len(things) == len(OBJECTS) and len(people) == len(OCCUPATIONS)


def test_held_out_pairs_leave_every_color_and_object_well_covered():
    assert 0.15 <= len(HELD_OUT) / len(CONCEPTS) <= 0.2
    kept = [pair for pair in CONCEPTS if pair not in HELD_OUT]
    assert min(sum(c == color for c, _ in kept) for color in COLORS) == 20
    assert min(sum(o == thing for _, o in kept) for thing in OBJECTS) == 8
    assert len(set(concept_prompts())) == 240
    seen = {(p.color, p.object) for p in draw_pictures(0, 3000, pairs="seen")}
    assert seen == set(kept)
    unseen = {(p.color, p.object) for p in draw_pictures(0, 1000, pairs="held_out")}
    assert unseen == set(HELD_OUT)


def test_unknown_pairs_are_refused_with_a_hint():
    with pytest.raises(OptionError, match="Did you mean"):
        next(draw_pictures(0, 1, pairs="sen"))


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_captions_claim_only_what_is_true(language):
    rng = np.random.default_rng(0)
    pictures = draw_pictures(8, 200, p_person=0.2, p_watermarked=0.5, p_unsafe=0.5)
    for picture in pictures:
        words = caption(picture, rng, language=language, p_partial=0.3, p_overlay=1.0)
        facts = claims_of(picture)
        assert all(c in (-1, f) for c, f in zip(words.claims, facts, strict=True))
        assert max(words.claims) >= 0
        if language == "en":
            assert ("watermark" in words.text) == picture.watermarked
            assert ("hazard" in words.text) == picture.unsafe


def test_shards_have_the_joined_schema_of_laion_5b(corpus):
    for path in corpus.glob("shards/*.parquet"):
        schema = pq.read_schema(path)
        assert [(f.name, str(f.type)) for f in schema] == [
            ("URL", "string"), ("TEXT", "string"), ("WIDTH", "int32"), ("HEIGHT", "int32"),
            ("similarity", "double"), ("LANGUAGE", "string"), ("hash", "int64"),
            ("punsafe", "float"), ("pwatermark", "float"), ("key", "string"),
        ]  # fmt: skip


def test_planted_shares_are_exact(table, truth):
    assert len(truth) == len(table) == N and truth.key.is_unique
    assert truth.key.tolist() == table["key"].to_pylist()
    counts = {
        "is_watermarked": 61, "is_unsafe": 29, "is_mismatched": 50, "is_broken": 5,
        "is_hostile": 5,
    }  # fmt: skip
    assert truth[list(counts)].sum().to_dict() == counts
    assert truth.duplicate_of.notna().sum() == truth.near_duplicate_of.notna().sum() == 20
    assert truth.occupation.notna().sum() == 200
    assert truth.language.value_counts().to_dict() == {
        "en": 840, "de": 40, "fr": 30, "es": 30, "ru": 20, "ja": 20, "zh": 20,
    }  # fmt: skip
    assert table["LANGUAGE"].null_count == 40
    assert table["punsafe"].null_count == 5


def test_scores_in_the_table_follow_the_truth(table, truth):
    frame = table.to_pandas()
    assert ((frame.punsafe > 0.5).to_numpy() == truth.is_unsafe).all()
    assert ((frame.pwatermark > 0.8).to_numpy() == truth.is_watermarked).all()
    assert not (frame.punsafe.isna().to_numpy() & truth.is_unsafe).any()
    fit = pd.Series([np.nan if s is None else s for s in table["similarity"].to_pylist()])
    assert fit.isna().sum() == 6  # 0.25 % nulls and 0.25 % NaN, rounded up
    assert fit[truth.is_mismatched].max() <= 0.25 < 0.26 <= fit[~truth.is_mismatched].min()
    assert abs(fit[~truth.is_mismatched].mean() - 0.33) < 0.005
    assert frame.hash.is_unique and frame.hash.min() < -(2**61) and frame.hash.max() > 2**61
    hosts = frame.URL.str.split("/").str[2]
    assert hosts.tolist() == truth.domain.tolist() and hosts.str.endswith(".example").all()
    ranked = hosts.value_counts(normalize=True)
    assert ranked.iloc[0] > 0.15 and len(ranked) > 50


def test_gender_words_are_skewed_as_planted(corpus, truth, table):
    planted = json.loads((corpus / "truth.json").read_text())["gender_words"]["by_occupation"]
    texts = pd.Series(table["TEXT"].to_pylist())
    people = truth[truth.occupation.notna()]
    for job, rows in people.groupby("occupation"):
        n_she, n_he = (rows.gender_word == "she").sum(), (rows.gender_word == "he").sum()
        assert (n_she, n_he) == (planted[job]["she"], planted[job]["he"])
        assert n_she == int(P_SHE[job] * (n_she + n_he) + 0.5)
    words = texts[people.index].str.split().apply(set)
    pronouns = words.apply(
        lambda w: "she" if w & {"she", "her"} else "he" if w & {"he", "his"} else ""
    )
    assert pronouns.tolist() == people.gender_word.fillna("").tolist()


def test_archives_hold_the_rows_in_order(table, samples):
    assert [key for key, *_ in samples] == table["key"].to_pylist()
    for (_, _, text, record), row in zip(samples, table.to_pylist(), strict=True):
        assert text == row["TEXT"]
        row["similarity"] = None if row["similarity"] != row["similarity"] else row["similarity"]
        assert record == row


def test_only_planted_images_are_broken(samples, truth):
    broken = []
    for _, image, _, _ in samples:
        try:
            Image.open(io.BytesIO(image)).load()
            broken.append(False)
        except OSError:
            broken.append(True)
    assert broken == truth.is_broken.tolist()


def test_duplicates_are_copies_and_near_ones_are_not(samples, truth):
    images = {key: image for key, image, *_ in samples}
    texts = {key: text for key, _, text, _ in samples}
    for row in truth[truth.duplicate_of.notna()].itertuples():
        assert images[row.key] == images[row.duplicate_of]
        assert texts[row.key] == texts[row.duplicate_of]
    for row in truth[truth.near_duplicate_of.notna()].itertuples():
        one, other = images[row.key], images[row.near_duplicate_of]
        assert one != other
        pixels = [
            np.asarray(Image.open(io.BytesIO(i)).resize((16, 16), Image.Resampling.BOX), float)
            for i in (one, other)
        ]
        assert np.abs(pixels[0] - pixels[1]).mean() < 12


def test_hostile_captions_are_of_five_kinds(table, truth):
    texts = np.array(table["TEXT"].to_pylist(), dtype=object)[truth.is_hostile]
    for sign in ("<script>", "onerror=", "\x00", "\u202e"):
        assert sum(sign in t for t in texts) == 1
    assert max(len(t) for t in texts) > 100_000


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    folders = [tmp_path / name for name in ("one", "two", "other")]
    for folder, seed in zip(folders, (7, 7, 8), strict=True):
        write_corpus(folder, n_images=60, n_shards=2, seed=seed, image_size=32)
    files = [sorted(p.relative_to(f) for p in f.rglob("*") if p.is_file()) for f in folders]
    assert files[0] == files[1] == files[2] and len(files[0]) == 6
    for name in files[0]:
        one, two, other = ((f / name).read_bytes() for f in folders)
        assert one == two != other


@pytest.mark.parametrize(
    "wrong",
    [{"n_images": 0}, {"n_shards": 0}, {"seed": -1}, {"n_images": 2.5}, {"image_size": 8}],
)
def test_numbers_out_of_range_write_nothing(tmp_path, wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        write_corpus(tmp_path / "corpus", **wrong)
    assert not (tmp_path / "corpus").exists()


def test_a_folder_with_strange_shards_is_refused(tmp_path):
    write_corpus(tmp_path, n_images=8, n_shards=4, image_size=32)
    with pytest.raises(ExportError, match=r"00003\.tar"):
        write_corpus(tmp_path, n_images=8, n_shards=3, image_size=32)


def test_the_demo_refuses_a_folder_of_others_and_a_corpus_that_was_not_asked_for(tmp_path):
    (tmp_path / "theirs.txt").write_text("")
    with pytest.raises(ExportError, match=r"theirs\.txt"):
        demo_corpus(tmp_path)
    (tmp_path / "photos" / "images").mkdir(parents=True)
    with pytest.raises(ExportError, match="contains 'images'"):
        demo_corpus(tmp_path / "photos")
    write_corpus(tmp_path / "mine", n_images=4)
    for options in ({"n_images": 5}, {"seed": 1}):
        with pytest.raises(ExportError, match="4 images with seed 0"):
            demo_corpus(tmp_path / "mine", **options)


def test_very_small_corpora_are_legal(tmp_path):
    write_corpus(tmp_path, n_images=1, n_shards=2, image_size=32)
    assert pq.read_table(tmp_path / "shards").num_rows == 1


def test_a_corpus_that_is_there_is_opened_without_looking_into_its_archives(
    demo_folder, tmp_path, monkeypatch
):
    def embed(*args, **options):
        raise RuntimeError("embed is called")

    def read_again(folder: Path) -> None:
        with pytest.raises(RuntimeError, match="embed is called"):
            demo_corpus(folder)

    monkeypatch.setattr("laion_dask.inference.embed.embed", embed)
    folder = shutil.copytree(demo_folder, tmp_path / "corpus")
    result = demo_corpus(folder)
    assert result.embedded.n_read == 800 and result.text_emb.is_dir()
    assert result.metadata == folder / "embedded/metadata"
    archive, manifest = next((folder / "images").iterdir()), folder / "embedded/embed.json"
    os.utime(archive, (0, manifest.stat().st_mtime + 10))
    read_again(folder)
    os.utime(archive, (0, 0))
    demo_corpus(folder)
    manifest.write_text(manifest.read_text().replace('weights_sha256": "', 'weights_sha256": "0'))
    read_again(folder)
    manifest.unlink()
    read_again(folder)
