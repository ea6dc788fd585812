"""File discovery with folders and patterns: suffixes, links, hidden names, braces, exports."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_dask.errors import DiscoveryWarning, OptionError, ShardError, ShardNotFoundError
from laion_dask.io.parquet.read_shards import read_shards
from laion_dask.io.storage.braces import expand_braces
from laion_dask.io.storage.discovery import PARQUET
from laion_dask.io.storage.paths import expand


@pytest.fixture
def tree(tmp_path):
    """A function that creates empty files, and links given as ``name -> target``."""

    def make(*names: str) -> Path:
        root = tmp_path / "root"
        for name in names:
            name, _, target = name.partition(" -> ")
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if target:
                os.symlink(target, path)
            else:
                path.write_bytes(b"x")
        return root

    return make


def below(root: Path, source) -> list[str]:
    return [Path(p).relative_to(root).as_posix() for p in expand(source, PARQUET)]


def test_suffixes_in_any_case(tree):
    root = tree("0.parquet", "1.parq", "2.PARQUET", "3.pq", "4.snappy.parquet", "5.npy", "6.txt")
    right = ["0.parquet", "1.parq", "2.PARQUET", "3.pq", "4.snappy.parquet"]
    for source in (root, f"{root}/*", f"{root}/**", f"{root}/**/*", f"{root}/[0-9]*"):
        assert below(root, source) == right, source


def test_tables_and_unfinished_downloads_are_named(tree):
    root = tree("0.parquet", "a/1.csv.gz", "2.parquet.tmp", "3.jsonl", "0_stats.json", "0.md5")
    for source in (root, f"{root}/**/*"):
        with pytest.warns(DiscoveryWarning, match=r"3 not named .parquet .*\.tmp") as caught:
            assert below(root, source) == ["0.parquet"]
        assert len(caught) == 1 and "stats" not in str(caught[0].message)
    assert below(root, f"{root}/*.parquet") == ["0.parquet"]  # explicit, so no warning


def test_a_pattern_that_matches_no_such_name_stands_for_what_it_matches(tree):
    root = tree("part-00000", "part-00001", "_SUCCESS", "readme.md")
    assert below(root, f"{root}/part-*") == ["part-00000", "part-00001"]
    with pytest.raises(ShardNotFoundError, match=r"contains no \.parquet or"):
        expand(root, PARQUET)


@pytest.mark.parametrize("name", ["0.tar", "train/00000.TAR", "a/b/1.webp"])
def test_a_folder_of_archives_or_pictures_says_what_reads_it(tree, name):
    root = tree(name)
    with pytest.raises(ShardNotFoundError, match=rf"It contains .*{name}: embed makes"):
        expand(root, PARQUET)


def test_linked_folders_are_followed_and_loops_end(tree, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    (store / "0.parquet").write_bytes(b"x")
    (store / "back").symlink_to(tmp_path / "root")
    root = tree("en/0.parquet", f"multi -> {store}", "en/self -> .", "en/up -> ..")
    for source in (root, f"{root}/**", f"{root}/**/*.parquet", f"{root}/*/*.parquet"):
        assert below(root, source) == ["en/0.parquet", "multi/0.parquet"], source


def test_each_real_file_counts_once(tree):
    root = tree("a/0.parquet", "a/latest.parquet -> 0.parquet", "b -> a", "c/1.parquet")
    os.link(root / "c/1.parquet", root / "c/2.parquet")
    for source in (root, f"{root}/*/*.parquet", f"{root}/**/*.parquet"):
        with pytest.warns(DiscoveryWarning, match="already included under another name"):
            assert below(root, source) == ["a/0.parquet", "c/1.parquet"], source
    with pytest.raises(OptionError, match="is named twice"):
        expand([root / "c/1.parquet", root / "c/2.parquet"], PARQUET)
    with pytest.raises(OptionError, match="is named twice"):
        expand([root / "a/0.parquet", root / "a/latest.parquet"], PARQUET)


def test_a_link_out_of_a_hidden_folder_is_the_name(tree):
    root = tree("snapshots/0.parquet -> ../.blobs/x", ".blobs/x", ".store/en/1.parquet",
                "en -> .store/en")  # fmt: skip
    assert below(root, root) == ["en/1.parquet", "snapshots/0.parquet"]


def test_links_that_lead_nowhere_are_named(tree):
    root = tree("0.parquet", "1.parquet -> .git/annex/1")
    for source in (root, f"{root}/*.parquet"):
        with pytest.warns(DiscoveryWarning, match="broken link"):
            assert below(root, source) == ["0.parquet"]


def test_hidden_names_that_are_asked_for(tree):
    root = tree("_out/.x/0.parquet", "_out/1.parquet", "2.parquet")
    assert below(root, f"{root}/_*/*.parquet") == ["_out/1.parquet"]
    assert below(root, f"{root}/_out/.x") == ["_out/.x/0.parquet"]
    assert below(root, root / "_out/1.parquet") == ["_out/1.parquet"]


def test_patterns_of_folders(tree):
    root = tree("laion2B-en/0.parquet", "laion2B-multi/x/1.parquet", "other/2.parquet")
    assert below(root, f"{root}/laion2B-*") == ["laion2B-en/0.parquet", "laion2B-multi/x/1.parquet"]
    assert below(root, f"{root}/laion2B-*/") == below(root, f"{root}/laion2B-*")


def test_braces(tree):
    root = tree(*(f"{i:05d}.parquet" for i in range(12)), "a.parq", "x{y}.parquet")
    assert len(below(root, f"{root}/{{00000..00011}}.parquet")) == 12
    assert below(root, f"{root}/{{00003,a}}.par*") == ["00003.parquet", "a.parq"]
    assert below(root, f"{root}/*.{{parq,nothing}}") == ["a.parq"]
    assert below(root, f"{root}/x{{y}}.parquet") == ["x{y}.parquet"]
    with pytest.raises(ShardNotFoundError, match=r"00012\.parquet \(2 of its 4 names\)"):
        expand(f"{root}/{{00010..00013}}.parquet", PARQUET)
    assert expand_braces("{1..3}") == ["1", "2", "3"] and expand_braces("{3..1..2}") == ["3", "1"]
    assert expand_braces("{-1..1}") == ["-1", "0", "1"] and expand_braces("{09..10}") == [
        "09",
        "10",
    ]
    assert expand_braces("{a,b{c,d}}e") == ["ae", "bce", "bde"]
    assert expand_braces("{a}{b") == ["{a}{b"] and expand_braces("") == [""]
    with pytest.raises(OptionError, match="at most"):
        expand_braces("{0..99999999}")
    with pytest.raises(OptionError, match="expands to 25,000,000 names"):
        expand_braces("{1..5000}/{1..5000}")


def test_names_that_are_there_as_they_are_written(tree):
    root = tree(
        "[old]/1.parquet", "o/2.parquet", "a{1,2}/3.parquet", "a1/4.parquet", "x*/5.parquet"
    )
    assert below(root, f"{root}/[old]/*.parquet") == ["[old]/1.parquet"]
    assert below(root, f"{root}/a{{1,2}}/*") == ["a{1,2}/3.parquet"]
    assert below(root, f"{root}/x*") == ["x*/5.parquet"]


def test_exports_in_a_pattern(tree):
    root = tree("0.parquet", "out/part-0.parquet", "out/part-1.parquet")
    (root / "out/recipe.json").write_text('{"parts": [{"file": "part-0.parquet"}]}')
    for source in (root, f"{root}/**/*.parquet", f"{root}/*"):
        with pytest.raises(OptionError, match="is an export"):
            expand(source, PARQUET)
    with pytest.warns(DiscoveryWarning, match="not in the manifest"):
        assert below(root, f"{root}/out/*.parquet") == ["out/part-0.parquet"]


def test_a_folder_that_cannot_be_listed(tree, monkeypatch):
    root = tree("0.parquet", "closed/1.parquet")
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(ShardError, match="closed cannot be listed: Permission denied"):
        expand(root, PARQUET)


def test_what_is_written_beside_shards_is_left_out_where_a_shell_names_it(tmp_path):
    collected = []
    for i in range(2):
        table = pa.table({"URL": [f"u{i}"], "TEXT": ["t"]})
        pq.write_table(table, tmp_path / f"part-{i}.parquet", metadata_collector=collected)
        collected[i].set_file_path(f"part-{i}.parquet")
    collected[0].append_row_groups(collected[1])
    collected[0].write_metadata_file(tmp_path / "_metadata")
    pq.write_metadata(table.schema, tmp_path / "_common_metadata")
    for name in ("_SUCCESS", "part-0_stats.json", "part-0.tar"):
        (tmp_path / name).touch()
    with pytest.warns(
        DiscoveryWarning, match="5 that lie beside shards but are not shards"
    ) as caught:
        frame = read_shards(sorted(tmp_path.iterdir()))
    assert len(caught) == 1 and frame.compute()["url"].tolist() == ["u0", "u1"]
    for source in (tmp_path / "_metadata", f"{tmp_path}/_m*"):
        with pytest.raises(ShardError, match="lists the row groups of other files"):
            read_shards(source)


def test_part_of_a_name_cannot_be_two_stars(tree):
    with pytest.raises(OptionError, match=r"combines '\*\*' with other"):
        expand(f"{tree('a/0.parquet')}/a**.parquet", PARQUET)


def test_the_same_rule_in_a_store():
    fs = fsspec.filesystem("memory")
    names = ["a/0.parquet", "a/1.PARQ", "a/_2.parquet", "_b/3.parquet", "c/_SUCCESS", "c/4.pq"]
    for name in names:
        fs.pipe_file(f"/store/{name}", b"x")
    right = ["memory:///store/a/0.parquet", "memory:///store/a/1.PARQ", "memory:///store/c/4.pq"]
    try:
        for source in ("memory://store", "memory://store/**", "memory://store/*"):
            with pytest.warns(DiscoveryWarning, match="2 hidden"):
                result = expand(source, PARQUET)
            assert [f.replace("memory:///", "memory://") for f in result] == [
                f.replace("memory:///", "memory://") for f in right
            ]
        assert len(expand("memory://store/{a/0.parquet,c/4.pq}", PARQUET)) == 2
        assert len(expand("memory://store/{a,c}/[!_]*.p{arquet,q}", PARQUET)) == 2
    finally:
        fs.rm("/store", recursive=True)


class _Offline(fsspec.AbstractFileSystem):
    """A store that is unreachable and raises its own error type."""

    protocol = "offline"

    def info(self, path, **kwargs):
        raise RuntimeError("no route to host\nsecond line")

    ls = info


def test_a_store_that_cannot_be_reached():
    fsspec.register_implementation("offline", _Offline, clobber=True)
    for source in ("offline://bucket/x", "offline://bucket/*.parquet"):
        with pytest.raises(
            ShardError, match=r"cannot be reached: no route to host\. Check"
        ) as error:
            expand(source, PARQUET)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cc3m.tsv", 'a "dog\thttp://a.example/1.jpg\nits\thttp://b/2\n'),
        ("o k.csv", 'url,caption\nhttp://a.example/1.jpg,"a ""dog"\nhttp://b/2,its\n'),
        ("$x.jsonl", '{"url":"http://a.example/1.jpg","caption":"a \\"dog"}\n'
                     '{"url":"http://b/2","caption":"its"}\n'),
    ],
)  # fmt: skip
def test_tables_of_text_are_refused_with_the_command_that_converts_them(tree, name, text):
    root = tree("readme.md")
    (root / name).write_text(text)
    messages = []
    for source in (root, root / name):
        with pytest.raises((ShardNotFoundError, ShardError), match="Convert it first: ") as error:
            read_shards(source)
        messages.append(str(error.value).partition("Convert it first: ")[2])
    assert messages[0] == messages[1]
    program, _, code = shlex.split(messages[0].partition(" It has no header")[0])
    assert program == "python"
    exec(code)
    read = read_shards(root).compute(scheduler="sync")
    assert read["url"].tolist() == ["http://a.example/1.jpg", "http://b/2"]
    assert read["text"].tolist() == ['a "dog', "its"]


def test_a_pointer_of_git_lfs_is_told(tree):
    root = tree("0.parquet")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    (root / "0.parquet").write_text(pointer)
    with pytest.raises(ShardError, match="git lfs pull"):
        read_shards(root)


def test_a_delta_table_is_told(tree):
    root = tree("0.parquet", "_delta_log/0.json")
    with pytest.warns(DiscoveryWarning, match="log of a Delta table"):
        assert below(root, root) == ["0.parquet"]


def test_a_chain_of_file_systems_is_refused_and_a_path_with_colons_read(tree):
    with pytest.raises(OptionError, match="a chain of file systems"):
        expand("zip://*.parquet::/none.zip", PARQUET)
    assert below(tree("a::b/0.parquet"), f"{tree('a::b/0.parquet')}/a::b/*") == ["a::b/0.parquet"]


def test_a_copy_under_another_name_is_told(write, tmp_path):
    table = {"URL": ["u", "v"], "TEXT": ["a", "b"], "WIDTH": [1, 2]}
    one = Path(write("set/a.parquet", table))
    write("set/b.parquet", {**table, "TEXT": ["a", "c"]})
    assert len(read_shards(one.parent)) == 4  # they differ in one value
    for name in ("a (1).parquet", "a copy.parquet"):
        (one.parent / name).write_bytes(one.read_bytes())
    message = r"2 files have the size.*may be a copy \(.*a \(1\)\.parquet and .*\)"
    with pytest.warns(DiscoveryWarning, match=message):
        assert len(read_shards(one.parent)) == 8
    empty = write("empty/a.parquet", {"URL": [], "TEXT": []})
    (tmp_path / "empty" / "b.parquet").write_bytes(Path(empty).read_bytes())
    assert len(read_shards(tmp_path / "empty")) == 0
