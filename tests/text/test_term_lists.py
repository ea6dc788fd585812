"""Term lists: the packaged ones, and the user's own files with their mistakes."""

import unicodedata
from collections import Counter

import pyarrow as pa
import pytest
import yaml

from laion_dask.aggregations.grouping.terms import terms
from laion_dask.demo.concepts import OCCUPATIONS
from laion_dask.errors import ExportError, OptionError
from laion_dask.text import TermList, matcher, term_lists, write_term_list
from laion_dask.text.packaged_lists import packaged
from laion_dask.text.word_boundaries import folded

NAMES = term_lists().name.tolist()


def every_term(one: TermList) -> list[str]:
    return [term for _, listed in (*one.groups, *one.homographs) for term in listed]


def test_the_lists_of_the_issue_are_there():
    asked = {"gender", "age", "religion", "nationality", "ethnicity", "orientation"}
    assert asked | {"disability", "occupations", "people"} == set(NAMES)
    lists = term_lists()
    assert (lists.terms > 20).all() and (lists.version.str.len() > 0).all()
    assert (lists.about.str.startswith("Captions that mention")).all()
    assert (lists.sources.str.contains("https://")).all()
    assert terms("gender").labels == ("woman", "man", "non-binary")
    assert set(OCCUPATIONS) <= set(terms("occupations").labels)
    assert len(terms("nationality").labels) > 180


@pytest.mark.parametrize("name", NAMES)
def test_a_packaged_list_is_in_order(name):
    one = packaged(name)
    assert one.name == name and one.language == "en"
    assert len(one.sources) >= 1
    assert all(any(c.isdigit() for c in source) for source in one.sources)
    counted = Counter(map(folded, every_term(one)))
    assert [term for term, n in counted.items() if n > 1] == []
    for term in every_term(one):
        assert term == term.lower() == unicodedata.normalize("NFC", term).strip()
    masks = terms(name).words().masks([f"{t} woman" for t in terms(name).words().labels])
    assert masks.diagonal().all()


def test_homographs_have_person_nouns():
    for name in NAMES:
        one = packaged(name)
        if one.homographs:
            assert {"woman", "men", "people"} <= set(one.before)
            assert not {*map(folded, one.before)} & {*map(folded, one.between)}
            words = [w for _, listed in one.homographs for w in listed]
            assert not any(terms(name).words().masks(words).diagonal())


def test_a_list_can_be_written_and_edited(tmp_path):
    path = write_term_list("ethnicity", tmp_path / "mine.yaml")
    assert terms(path) == terms(str(path)) == terms("ethnicity")
    edited = path.read_text(encoding="utf-8").replace('version: "2"', 'version: "1 of mine"')
    edited = edited.replace("[caucasian,", "[caucasian, Europid,")
    path.write_text(edited, encoding="utf-8")
    mine = terms(path)
    assert mine != terms("ethnicity") and mine.version == "1 of mine"
    assert mine.masks(["an EUROPID word"]).any() and mine.masks(["a white man"]).any()
    with pytest.raises(ExportError, match="exists"):
        write_term_list("ethnicity", path)
    with pytest.raises(OptionError, match=r"\.yaml"):
        write_term_list("ethnicity", tmp_path / "mine.txt")
    with pytest.raises(OptionError, match="Did you mean 'ethnicity'"):
        write_term_list("ethnicty", tmp_path / "other.yaml")
    with pytest.raises(ExportError, match="cannot be written"):
        write_term_list("ethnicity", tmp_path / "no" / "folder.yaml")


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "pets.yaml"
    path.write_text(
        "name: pets\nversion: 2\nsources: [Somebody 2020]\n"
        "groups: {cat: [cat, Cats, cats], dog: [dog, hot dog]}\n"
        "homographs: {cat: [tom]}\nbefore: [cat, cats]\nbetween: [old]\n",
        encoding="utf-8",
    )
    pets = terms(path)
    assert (pets.axis, pets.labels, pets.version) == ("pets", ("cat", "dog"), "2")
    assert pets.source == "Somebody 2020"
    assert dict(pets.terms.groups)["cat"] == ("cat", "Cats")
    assert pets.masks(["tom cat", "Tom old cats", "tom"])[:, 0].tolist() == [True, True, False]
    assert pets.words().labels == ("cat", "Cats", "dog", "hot dog", "tom")
    tom = pets.words().masks(["tom dog", "tom old cats"])[:, -1]
    assert tom.tolist() == [False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not valid YAML"),
        ("- a", "is not a mapping"),
        ("", "is not a mapping"),
        ("groups: {a: [b]}", "name is ''"),
        ("name: 3\ngroups: {a: [b]}", "name is 3"),
        ("name: x\ngroup: {a: [b]}", "Did you mean 'groups'"),
        ("name: x", "has no groups"),
        ("name: x\ngroups: [a]", "groups is a list"),
        ("name: x\ngroups: {a: b}", "'a' is 'b'. Expected a list"),
        ("name: x\ngroups: {a: []}", "'a' has no terms"),
        ("name: x\ngroups: {a: null}", "'a' is None. Expected a list"),
        ("name: x\ngroups: {no: [b]}", "group False is not a string"),
        ("name: x\ngroups: {a: [no]}", "False is not a string. Quote it"),
        ("name: x\ngroups: {a: [1999]}", "1999 is not a string"),
        ("name: x\ngroups: {a: [[b]]}", "is not a string"),
        ("name: x\ngroups: {a: ['!!']}", "does not begin and end with a letter"),
        ("name: x\ngroups: {a: ['']}", "does not begin and end with a letter"),
        ("name: x\ngroups: {a: ['c++']}", "does not begin and end with a letter"),
        ("name: x\ngroups: {a: ['b .:- c']}", "at most 3 punctuation marks"),
        ("name: x\ngroups: {a: [b], a: [c]}", "the key 'a' occurs twice"),
        ("name: x\nhomographs: {a: [two words]}", "'two words' has several words"),
        ("name: x\nhomographs: {a: [b]}\nbefore: [c]\nbetween: [C]", "both before and between"),
        ("name: x\nhomographs: {abc: [b]}\nnot_after: {abd: [d]}", "Did you mean 'abc'"),
        ("name: x\ngroups: {a: [b]}\nsources: me", "sources is not a list"),
        ("name: x\ngroups: {a: [b]}\nsources: [{}]", "is empty"),
        ("name: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("name: x\ngroups: {a: [" + "[" * 3000, "not valid YAML"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path, text, message):
    path = tmp_path / "wrong.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OptionError) as error:
        terms(path)
    assert message in str(error.value) and "wrong.yaml" in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(OptionError, match="There is no file"):
        terms(tmp_path / "missing.yaml")
    with pytest.raises(OptionError, match="There is no file"):
        terms("folder/missing")
    (tmp_path / "bytes.yaml").write_bytes(b"name: \xff\xfe")
    for wrong in (tmp_path, tmp_path / "bytes.yaml"):
        with pytest.raises(OptionError, match="cannot be read"):
            terms(wrong)


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("gendr", "Did you mean 'gender'"),
        ("", "Available: "),
        (5, "The terms are 5"),
        (None, "The terms are None"),
        (b"she", "The terms are"),
        ({}, "has no groups"),
        ([], "has no terms"),
        ({"a": "she"}, "Expected a list of terms"),
        ({"a": []}, "has no terms"),
        ({3: ["a"]}, "group 3 is not a string"),
        ({"a": [None]}, "None is not a string"),
        ([True], "True is not a string"),
        (["...", "she"], "'...' does not begin and end"),
    ],
)
def test_what_is_wrong_with_terms_is_told(which, message):
    with pytest.raises(OptionError) as error:
        terms(which)
    assert message in str(error.value)


def test_names_of_column_and_axis():
    for wrong in ({"column": 3}, {"column": ""}, {"axis": 3}):
        with pytest.raises(OptionError, match="Expected a name"):
            terms("gender", **wrong)


def test_lists_are_as_their_files_say():
    """The reader drops nothing: there are as many terms as in the YAML."""
    from importlib.resources import files

    for name in NAMES:
        text = (files("laion_dask.text") / "lists" / f"{name}.yaml").read_text(encoding="utf-8")
        data = yaml.safe_load(text)
        count = sum(map(len, [*data["groups"].values(), *data.get("homographs", {}).values()]))
        assert count == len(every_term(packaged(name)))


#: Captions from the web, and the groups of a list that they mention.
HOMOGRAPHS = {
    "ethnicity": [
        ("Garment Bag Hanger Cover - Asian Floral", []),
        ("Asian Broccoli Slaw", []),
        ("Raided the Asian Markets for Millions", []),
        ("an Asian woman, Asian girls", ["Asian"]),
        ("Crazy Rich Asians", ["Asian"]),
        ("Asian American art", ["Asian"]),
        ("Desi Leather Knee Boots", []),
        ("Desi Laurel Real Estate", []),
        ("desi girl", ["Asian"]),
        ("United Arab Emirates", []),
        ("an Arab man", ["Middle Eastern or North African"]),
        ("Warthog in Masai Mara", []),
        ("Maasai men", ["other peoples"]),
        ("Zulu, Indiana", []),
        ("Tamil Movie Poster", []),
        ("Tibetan silver necklace", []),
        ("Berber carpet", []),
        ("African American Visual Art", ["Black"]),
        ("DVDRIP LATINO", []),
    ],
    "age": [
        ("Elder Scrolls Online", []),
        ("Under the elder tree", []),
        ("village elders", ["older adult"]),
        ("an elder man", ["older adult"]),
        ("elderly couple", ["older adult"]),
    ],
    "disability": [
        ("Depression Glass Sugar Bowl", []),
        ("Great Depression photographs", []),
        ("Living with depression", ["mental health"]),
        ("Anxiety and Depression", ["mental health"]),
        ("postpartum depression", ["mental health"]),
        ("tropical depression Eta", []),
    ],
    "nationality": [
        ("African American Twins", []),
        ("African-American woman", []),
        ("Native American mug", []),
        ("North American Headquarters", []),
        ("American flag", ["United States"]),
        ("African American and American art", ["United States"]),
        ("an American", ["United States"]),
        ("American Indian basket", ["United States"]),
        ("Indian wedding", ["India"]),
        ("Huckleberry Finn", []),
        ("Finn Raccoon", []),
        ("a Finnish sauna", ["Finland"]),
        ("Great Dane", []),
        ("Kiwis growing in Monterosso", []),
    ],
}


@pytest.mark.parametrize("name", HOMOGRAPHS)
def test_words_that_also_mean_other_things(name):
    which = terms(name)
    for caption, groups in HOMOGRAPHS[name]:
        [row] = which.masks([caption])
        assert [which.labels[j] for j in row.nonzero()[0]] == groups, caption
        assert which.words().masks([caption]).any() == bool(groups), caption


def test_lists_side_by_side_guard_their_own_words_alone():
    mine = terms({"us": ["american"]})
    found = terms("nationality").masks(["African American"]), mine.masks(["African American"])
    assert not found[0].any() and found[1].all()
    one, two = terms("nationality").terms, mine.terms
    rows, groups = matcher.mentions(
        pa.chunked_array([["African American", "American"]]), (one, two)
    )
    us = one.labels.index("United States")
    pairs = list(zip(rows.tolist(), groups.tolist(), strict=True))
    assert sorted(pairs) == [(0, len(one.labels)), (1, us), (1, len(one.labels))]


@pytest.mark.parametrize(
    ("caption", "woman", "man"),
    [
        ("S/he is a doctor", True, True),
        ("(s)he", True, True),
        ("he/she, him/her", True, True),
        ("(wo)man and wo(men)", True, True),
        ("fe/male model", True, True),
        ("a wo-man", False, True),  # a hyphen is a word boundary
        ("class s: he", False, True),
        ("he (s) her", True, True),
        ("wo&shyman", True, False),
        ("wo&SHY;man", False, True),  # not an HTML 5 reference: names are case-sensitive
    ],
)
def test_spellings_of_two_genders_at_once(caption, woman, man):
    assert terms("gender").masks([caption]).tolist() == [[woman, man, False]]
