"""Configurations are read as they are meant, and every entry is where it is said to be."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ascend_guard_mcp.clients.configuration import ClientFileError, read
from hypothesis import given
from hypothesis import strategies as st
from install_world import configurations


def a_file(folder: Path, text: str) -> Path:
    """A configuration in a folder of its own."""
    path = Path(tempfile.mkdtemp(dir=folder), "mcp.json")
    path.write_bytes(text.encode("utf-8"))
    return path


@given(st.booleans(), st.data())
def test_every_entry_is_read_and_found(tmp_path: Path, comments: bool, data: st.DataObject) -> None:
    """Comments, blanks and trailing commas change no value; strict JSON is known; each span holds its entry."""
    text, servers = data.draw(configurations(comments))
    file = read(a_file(tmp_path, text))
    assert file.servers == servers
    assert file.strict is _is_json(text)
    for name, entry in servers.items():
        if file.strict:
            assert json.loads(file.raw(name)) == entry
        assert file.raw(name)[0] == json.dumps(entry)[0]
        assert file.line(name) == text[: file.spans[name][0]].count("\n") + 1


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@given(configurations(True), st.integers(0, 200), st.text(max_size=2))
def test_broken_text_is_refused_clearly(
    tmp_path: Path, made: tuple[str, dict[str, Any]], at: int, noise: str
) -> None:
    """Noise anywhere is either read or refused with the file's name; no other error is raised."""
    path = a_file(tmp_path, made[0][:at] + noise + made[0][at:])
    said = str(path)
    try:
        read(path)
    except ClientFileError as error:
        said = error.message
    assert said.startswith(str(path))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1, column 1"),
        (" // nothing\n", "line 2, column 1"),
        ('{"a": 1,\n "a": 2}', "the key 'a' occurs twice in one object. Delete one"),
        ('{"a": 1 "b": 2}', "line 1, column 9"),
        ("{a: 1}", "line 1, column 2"),
        ('// one\n/* two */ {"a": "b\n"}', "line 2, column 19"),
        ("{} {}", "line 1, column 4"),
        ("/* {}", "line 1, column 1"),
        ("[NaN]", "NaN is not a JSON number"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("9" * 5000, "cannot be read as JSON"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    """Every kind of mistake: the line and the column in the file as it is, comments counted."""
    with pytest.raises(ClientFileError) as caught:
        read(a_file(tmp_path, text))
    assert says in caught.value.message
