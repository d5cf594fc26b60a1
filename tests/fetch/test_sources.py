from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from ptb_core.errors import DataError
from ptb_core.fetch import FetchContext, resolve_source
from ptb_core.specs import FileSource
from tests.fetch.conftest import COMMIT, Hub, make_wheel

CONTENT = b'{"a": 1}\n'
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PARQUET = FileSource(hub="org/set", revision=COMMIT, path="main/test-00000-of-00001.parquet")


@pytest.fixture
def mirrored(context: FetchContext, tmp_path: Path) -> FetchContext:
    folder = tmp_path / "mirror"
    folder.mkdir()
    return replace(context, mirror=folder, offline=True)


def put(context: FetchContext, name: str, content: bytes = CONTENT) -> Path:
    assert context.mirror is not None
    path = context.mirror / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_an_address_is_fetched_once_and_identified_by_its_digest(
    hub: Hub, context: FetchContext
) -> None:
    hub.plain["/file.jsonl"] = CONTENT
    source = FileSource(url=f"{hub.url}/file.jsonl", sha256=SHA256)
    first = resolve_source(source, "t-test", context)
    again = resolve_source(source, "t-test", replace(context, offline=True))
    assert first == again
    assert first.path.read_bytes() == CONTENT
    assert (first.revision, first.origin) == (f"sha256:{SHA256}", f"url {source.url}")
    assert len(hub.requests) == 1


def test_an_address_that_is_gone_says_what_to_do(hub: Hub, context: FetchContext) -> None:
    source = FileSource(url=f"{hub.url}/gone", sha256=SHA256)
    with pytest.raises(DataError, match=r"t-test: .*/gone answered with HTTP 404 .* --mirror"):
        resolve_source(source, "t-test", context)


def test_an_address_without_a_digest_is_refused(context: FetchContext) -> None:
    with pytest.raises(DataError, match="its manifest gives no sha256 for http://x/y"):
        resolve_source(FileSource(url="http://x/y"), "t-test", context)


def test_a_cached_file_that_was_damaged_is_refused(hub: Hub, context: FetchContext) -> None:
    hub.plain["/file.jsonl"] = CONTENT
    source = FileSource(url=f"{hub.url}/file.jsonl", sha256=SHA256)
    resolve_source(source, "t-test", context).path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"has the sha256 .*; delete the file and run"):
        resolve_source(source, "t-test", context)


def test_a_hub_file_is_identified_by_its_commit(hub: Hub, context: FetchContext) -> None:
    assert PARQUET.path is not None
    hub.files["datasets/org/set"] = {PARQUET.path: CONTENT}
    found = resolve_source(PARQUET, "t-test", context)
    assert (found.revision, found.origin) == (COMMIT, "hub org/set")


def test_a_glob_that_matches_several_files_is_refused(hub: Hub, context: FetchContext) -> None:
    hub.files["datasets/org/set"] = {"a.jsonl": CONTENT, "b.jsonl": CONTENT}
    source = FileSource(hub="org/set", revision=COMMIT, path="*.jsonl")
    with pytest.raises(DataError, match=r"\*.jsonl in org/set matches 2 files, expected exactly"):
        resolve_source(source, "t-test", context)


def test_a_packaged_file_is_used_where_it_lies(context: FetchContext) -> None:
    found = resolve_source(FileSource(packaged="registry/prices.json"), "t-test", context)
    assert found.path.name == "prices.json"
    assert found.origin == "packaged registry/prices.json"


def test_a_packaged_file_that_is_missing_means_a_broken_installation(
    context: FetchContext,
) -> None:
    with pytest.raises(DataError, match="is missing although it ships with posttrainbench"):
        resolve_source(FileSource(packaged="registry/none.json"), "t-test", context)


def test_one_file_of_a_wheel_is_kept_and_the_rest_is_not(
    index: Path, context: FetchContext
) -> None:
    make_wheel(index, "some-data", "1.0", {"some_data/rows.jsonl": CONTENT.decode(), "x.py": ""})
    source = FileSource(wheel="some-data==1.0", path="some_data/rows.jsonl", sha256=SHA256)
    killed = context.root / "wheels" / "some-data-1.0" / "some_data" / ".wheel.x1y2"
    killed.mkdir(parents=True)
    (killed / "half.whl").write_text("what a killed process left", "utf-8")
    found = resolve_source(source, "t-test", context)
    assert found.path.read_bytes() == CONTENT
    assert resolve_source(source, "t-test", replace(context, offline=True)) == found
    kept = [p.name for p in (context.root / "wheels").rglob("*") if p.is_file()]
    assert kept == ["rows.jsonl"]


def test_a_wheel_that_the_index_lacks_is_told_in_pips_words(
    index: Path, context: FetchContext
) -> None:
    source = FileSource(wheel="some-data==1.0", path="x", sha256=SHA256)
    with pytest.raises(DataError, match=r"`pip download some-data==1.0` failed: ERROR: No match"):
        resolve_source(source, "t-test", context)


def test_a_wheel_without_the_file_is_refused(index: Path, context: FetchContext) -> None:
    make_wheel(index, "some-data", "1.0", {"x.py": ""})
    source = FileSource(wheel="some-data==1.0", path="y.py", sha256=SHA256)
    with pytest.raises(DataError, match=r"some_data-1.0-py3-none-any.whl holds no y.py"):
        resolve_source(source, "t-test", context)


def test_a_wheel_is_taken_from_the_mirror(mirrored: FetchContext) -> None:
    assert mirrored.mirror is not None
    make_wheel(mirrored.mirror, "some-data", "1.0", {"rows.jsonl": CONTENT.decode()})
    source = FileSource(wheel="some-data==1.0", path="rows.jsonl", sha256=SHA256)
    assert resolve_source(source, "t-test", mirrored).path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "name",
    [
        "org/set/main/test-00000-of-00001.parquet",
        "org/set/main/test.parquet",
        "org/set/main/test.jsonl",
        "org/set/main/test.jsonl.gz",
        "t-test.jsonl.gz",
        "t-test.csv",
    ],
)
def test_a_mirror_may_hold_a_hub_file_under_these_names(mirrored: FetchContext, name: str) -> None:
    path = put(mirrored, name)
    found = resolve_source(PARQUET, "t-test", mirrored)
    assert found.origin == f"mirror {path}"
    assert found.path.read_bytes() == path.read_bytes()
    assert (found.path.name, mirrored.root in found.path.parents) == (path.name, True)
    assert found.revision == f"sha256:{SHA256}"


@pytest.mark.parametrize("name", ["file.jsonl", "file.jsonl.gz", "t-test.jsonl", "t-test.jsonl.gz"])
def test_a_mirror_may_hold_an_address_under_these_names(mirrored: FetchContext, name: str) -> None:
    path = put(mirrored, name, gzip.compress(CONTENT) if name.endswith(".gz") else CONTENT)
    source = FileSource(url="http://x/file.jsonl", sha256=SHA256)
    assert resolve_source(source, "t-test", mirrored).path.read_bytes() == path.read_bytes()


def test_what_a_mirror_gave_is_there_without_it(mirrored: FetchContext) -> None:
    path = put(mirrored, "t-test.jsonl")
    first = resolve_source(PARQUET, "t-test", mirrored)
    path.unlink()
    later = resolve_source(PARQUET, "t-test", replace(mirrored, mirror=None, offline=True))
    assert (later.path, later.revision) == (first.path, first.revision)
    assert later.origin == f"mirror, kept as {first.path}"


def test_what_has_changed_in_the_mirror_is_copied_anew(mirrored: FetchContext) -> None:
    put(mirrored, "t-test.jsonl")
    resolve_source(PARQUET, "t-test", mirrored)
    put(mirrored, "t-test.jsonl", b"other rows")
    assert resolve_source(PARQUET, "t-test", mirrored).path.read_bytes() == b"other rows"


def test_a_mirrors_copy_with_another_digest_is_refused(mirrored: FetchContext) -> None:
    put(mirrored, "file.jsonl", b"other")
    source = FileSource(url="http://x/file.jsonl", sha256=SHA256)
    with pytest.raises(DataError, match=r"the mirror's .*file.jsonl has the sha256 .* expected"):
        resolve_source(source, "t-test", mirrored)


def test_a_mirrors_damaged_archive_is_refused(mirrored: FetchContext) -> None:
    put(mirrored, "file.jsonl.gz", b"no gzip")
    source = FileSource(url="http://x/file.jsonl", sha256=SHA256)
    with pytest.raises(DataError, match=r"the mirror's .*file.jsonl.gz is damaged"):
        resolve_source(source, "t-test", mirrored)


def test_offline_without_a_copy_names_cache_mirror_and_source(mirrored: FetchContext) -> None:
    source = FileSource(url="http://x/file.jsonl", sha256=SHA256)
    sentence = f"t-test is not in the cache .* nor in the mirror {mirrored.mirror}, .*http://x/file"
    with pytest.raises(DataError, match=sentence):
        resolve_source(source, "t-test", mirrored)


def test_a_source_that_names_nothing_is_refused(context: FetchContext) -> None:
    with pytest.raises(DataError, match="its manifest names no packaged, hub, wheel or url"):
        resolve_source(FileSource(), "t-test", context)
