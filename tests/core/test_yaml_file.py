"""One safe reader of YAML: plain values, a line for each of them, and an end within a second for every input."""

import os
import time
from pathlib import Path

import pytest

from darumeru.core.errors import UserError
from darumeru.core.yaml_file import read_yaml
from tests.shared_data import case


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "file.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_values_are_plain_and_remember_their_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "a: 1\nb:\n  - x\n  - {c: [1.5, null]}\n7: yes\n")
    file = read_yaml(path)
    assert file.values == {"a": 1, "b": ["x", {"c": [1.5, None]}], "7": True}
    assert file.where("b", 1, "c") == f"{path}:4"
    assert file.where("b", 1, "nothing of that name") == f"{path}:4"
    assert file.error("is wrong", "7").line() == f"{path}:5: is wrong"


def test_a_small_number_with_an_exponent_is_a_number_and_a_date_is_its_text(tmp_path: Path) -> None:
    file = read_yaml(written(tmp_path, "a: 1e-4\nb: '1e-4'\nc: 2026-01-02\n"))
    assert file.values == {"a": 0.0001, "b": "1e-4", "c": "2026-01-02"}


def test_a_mapping_may_take_over_another(tmp_path: Path) -> None:
    file = read_yaml(written(tmp_path, "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n"))
    assert file.values["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "the key `a` stands twice"),
        ("a: 1\nb: [1, 2\n", 2, "is not YAML"),
        ("a: &x [*x]\n", 1, "inside its own value"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "the tag `python/object:os.system` is not known"),
        ("a:\n  ? [1]\n  : 2\n", 2, "a key must be text"),
        ("a: 1\nb: " + "[" * 70 + "]" * 70, 2, "nested deeper than 64"),
        ("a: " + "[" * 100_000, 1, "nest"),
        ("a: 1\nb: " + "9" * 101, 2, "a number of 101 digits"),
        (b"a: 1\nb: \xff", 2, "is not UTF-8"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
    ],
)
def test_what_cannot_be_read_is_refused_by_file_and_line(
    tmp_path: Path, text: str | bytes, line: int, what: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert caught.value.where == f"{path}:{line}"
    assert what in caught.value.what


@pytest.mark.parametrize("text", ["[1, 2]", "", "x" * (1 << 21)])
def test_only_a_mapping_of_a_reasonable_size_is_a_file_of_fields(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"must be a mapping|bytes"):
        read_yaml(written(tmp_path, text))


def test_a_pipe_and_a_folder_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", tmp_path):
        with pytest.raises(UserError, match="is not a regular file"):
            read_yaml(path)
    with pytest.raises(UserError, match="No such file"):
        read_yaml(tmp_path / "nothing.yaml")


def exploding(levels: int) -> str:
    """10 ** levels values from a few lines."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


def test_aliases_that_explode_are_refused_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match="when its aliases are written out"):
        read_yaml(written(tmp_path, exploding(levels=9)))
    assert time.monotonic() - began < 0.5
    assert len(read_yaml(written(tmp_path, exploding(levels=3))).values["a2"]) == 10


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("endless_inputs/aliases_in_stop.yaml", ":16: holds more than 100000 values when its aliases are written out"),
        ("nonsense_task_files/number_of_10000_digits.yaml", ":11: a number of 10000 digits"),
    ],
)
def test_the_given_endless_files_end_at_once(name: str, what: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        read_yaml(case(name))
    assert f"{Path(name).name}{what}" in caught.value.line()
    assert time.monotonic() - began < 0.5
