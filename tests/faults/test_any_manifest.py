"""Any manifest at all: its component is sound, or every fault is listed; never a traceback."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_core.component_checks import check_contributions
from ptb_core.data import data_dir
from ptb_core.entry_points import Plugin
from ptb_core.errors import InputFileError
from ptb_core.manifests import FOLDERS, SPEC_TYPES, load_manifest
from ptb_core.plugins import Contribution
from ptb_core.specs import Kind

from .documents import broken_files, documents
from .profiles import FEW, MANY
from .sentences import assert_lists_faults

SHIPPED = {
    kind: [
        json.loads(path.read_text("utf-8"))
        for path in sorted((data_dir() / "registry" / folder).glob("*.json"))
    ]
    for kind, folder in FOLDERS.items()
}
FILES = st.one_of(
    *(
        st.tuples(st.just(kind), broken_files(manifest))
        for kind, manifests in SHIPPED.items()
        for manifest in manifests[:3]
    ),
    *(
        st.tuples(st.just(kind), documents(kind).map(lambda d: json.dumps(d).encode()))
        for kind in FOLDERS
    ),
)


PLUGIN = Plugin(name="mine", distribution="ptb-mine", version="1.0")


def check(kind: Kind, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.json"
        path.write_bytes(content)
        try:
            spec = load_manifest(path, SPEC_TYPES[kind])
        except InputFileError as error:
            assert_lists_faults(f"ptb: {error}", str(path))
            return
        contribution = Contribution(
            kind=kind, name=spec.name, plugin=PLUGIN, component=spec, spec=spec, manifest=path
        )
        (checked,) = check_contributions([contribution])
        if checked.contribution.fault:
            assert_lists_faults(f"ptb: {checked.contribution.fault}", str(path))


@settings(FEW)
@given(FILES)
def test_any_manifest_is_sound_or_its_faults_are_listed(file: tuple[Kind, bytes]) -> None:
    check(*file)


@pytest.mark.slow
@settings(MANY)
@given(FILES)
def test_any_of_very_many_manifests_is_sound_or_its_faults_are_listed(
    file: tuple[Kind, bytes],
) -> None:
    check(*file)


@pytest.mark.parametrize("kind", list(FOLDERS))
def test_a_manifest_cut_after_any_byte_is_no_json(kind: Kind) -> None:
    content = json.dumps(SHIPPED[kind][0]).encode()
    for keep in range(0, len(content), 5):
        check(kind, content[:keep])


def test_a_manifest_that_is_no_utf8_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes(b'{"name": "caf\xe9"}')
    with pytest.raises(InputFileError) as caught:
        load_manifest(tmp_path / "mine.json", SPEC_TYPES["task"])
    assert str(caught.value) == (
        f"{tmp_path}/mine.json: 1 fault\n  $: found byte 0xe9 in line 1, which is no UTF-8; "
        "expected a file in UTF-8: save it in that encoding"
    )


def test_a_manifest_that_is_nested_too_deeply_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes(b"[" * 100_000)
    with pytest.raises(InputFileError, match="values nested too deeply"):
        load_manifest(tmp_path / "mine.json", SPEC_TYPES["task"])
