"""Config classes: what they refuse, what they do to values, and that an option exists everywhere or is declared why
not."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darumeru.core.config_file import config_text, read_config
from darumeru.core.errors import UserError
from darumeru.core.options import WrongValue, declared, takes
from darumeru.core.secrets import is_secret
from darumeru.runs.config import RunConfig
from darumeru.training.config import LiveConfig, WatchConfig

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("surface", [WatchConfig, LiveConfig])
def test_an_option_of_run_is_on_every_surface_or_is_declared_why_not(surface: Any) -> None:
    names = {one.name for one in declared(surface)}
    of_run = {one.name for one in declared(RunConfig)}
    assert set(surface.ABSENT) == of_run - names
    assert all(surface.ABSENT.values())


def test_the_same_option_is_the_same_on_every_surface() -> None:
    """Except for what a surface says of it in its own words: output, and the number of records of a callback."""
    of_run = {one.name: one for one in declared(RunConfig)}
    for surface, own in ((WatchConfig, {"output"}), (LiveConfig, {"output", "limit"})):
        for one in declared(surface):
            if one.name in of_run and one.name not in own:
                assert (one.option, one.default) == (of_run[one.name].option, of_run[one.name].default), one.name


def test_records_of_a_training_are_drawn_with_the_seed() -> None:
    assert LiveConfig(seed=7).subset_seed == 7 and LiveConfig().limit == 64
    assert WatchConfig(folder="x", limit=3, seed=7).subset_seed == 7
    assert WatchConfig(folder="x", limit=3, subset_seed=1, seed=7).subset_seed == 1
    assert WatchConfig(folder="x", seed=7).subset_seed is None
    assert RunConfig("x", limit=3, seed=7).subset_seed is None


def test_values_are_made_uniform() -> None:
    made = RunConfig("x", tasks="a, b", include="c", output=Path("d"))
    assert (made.tasks, made.include, made.output) == (("a", "b"), ("c",), "d")
    assert made == RunConfig("x", tasks=["a", "b"], include=["c"], output="d")
    assert WatchConfig(folder=Path("x")).folder == "x"


@pytest.mark.parametrize(
    ("config", "values", "line"),
    [
        (RunConfig, {"limit": "5"}, "limit: must be a whole number of 1 or more, not '5'"),
        (RunConfig, {"limit": True}, "limit: must be a whole number of 1 or more, not True"),
        (RunConfig, {"limit": 10**5000}, f"limit: must be {2**63 - 1} or less, not a number of more than 60 digits"),
        (RunConfig, {"thinking": 1}, "thinking: must be true or false, not 1"),
        (RunConfig, {"tasks": 5}, "tasks: must be text or a list of texts, not 5"),
        (RunConfig, {"tasks": ["a", 5]}, "tasks: must be text or a list of texts, not ['a', 5]"),
        (RunConfig, {"data": "a\0"}, "data: holds a zero byte: 'a\\x00'"),
        (RunConfig, {"engine_args": {1: 2}}, "engine_args: must be a JSON object"),
        (LiveConfig, {"share": 1.0}, "share: must be between 0 and 1, not 1.0"),
        (LiveConfig, {"share": -0.5}, "share: must be 0 or more, not -0.5"),
        (LiveConfig, {"every_steps": 0}, "every_steps: must be 1 or more, not 0"),
        (LiveConfig, {"early_stopping_patience": 0}, "early_stopping_patience: must be 1 or more, not 0"),
        (WatchConfig, {"folder": "x", "poll": float("inf")},
         "poll: must be a number of 0.1 or more and 86400 or less, not inf"),
        (WatchConfig, {"folder": "x", "idle": -1}, "idle: must be 0 or more, not -1"),
    ],
)  # fmt: skip
def test_what_a_config_refuses(config: Any, values: dict[str, Any], line: str) -> None:
    with pytest.raises(WrongValue) as error:
        config(**({"model": "x"} if config is RunConfig else {}), **values)
    assert error.value.line() == line


def test_a_copy_is_checked_again() -> None:
    with pytest.raises(UserError, match="seed: must be 0 or more"):
        replace(RunConfig("x"), seed=-1)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**50), 10**50)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT.filter(lambda t: not is_secret(t)), inner),
    max_leaves=6,
)


def _no_address(value: Any) -> Iterator[bool]:
    if isinstance(value, dict):
        yield from (fine for inner in value.values() for fine in _no_address(inner))
    elif isinstance(value, list):
        yield from (fine for inner in value for fine in _no_address(inner))
    else:
        yield not isinstance(value, str) or "://" not in value


@given(TEXT, st.dictionaries(TEXT.filter(lambda t: not is_secret(t)), JSON, max_size=3))
def test_every_config_file_reads_back_as_it_was_written(tmp_path_factory: Any, text: str, arguments: Any) -> None:
    if "://" in text or not all(_no_address(arguments)):
        return
    values = {"model": text, "system_prompt": text, "engine_args": arguments}
    file = tmp_path_factory.mktemp("config") / "run.yaml"
    file.write_text(config_text(RunConfig, values, "title"), encoding="utf-8", newline="")
    read = read_config(RunConfig, file).values
    assert {name: read[name] for name in values} == values
    assert RunConfig(**read) == RunConfig(**values)


def test_secret_names() -> None:
    assert all(
        map(is_secret, ("api_key", "API-KEY", "hf_token", "token", "Authorization", "password", "client_secret"))
    )
    assert not any(
        map(is_secret, ("tokenizer", "max_tokens", "tokenizer_mode", "keys", "concurrency", "kv_cache_dtype"))
    )


SNIPPET = """
import darumeru
from darumeru.core.options import takes
from darumeru.runs.config import RunConfig

@takes(RunConfig)
def score(config: RunConfig) -> int:
    return 1

score("x", limit=3)
reveal_type(score)
reveal_type(darumeru.evaluate)
reveal_type(darumeru.__version__)
score(model="x", tsks="y")
score(model="x", dtype="int8")
darumeru.evaluate(model="x", output="o", tsks="y")
darumeru.evalute
"""


def test_mypy_knows_the_arguments_and_what_the_package_offers(tmp_path: Path) -> None:
    (tmp_path / "snippet.py").write_text(SNIPPET)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(ROOT / ".mypy_cache"),
         "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path / "snippet.py")],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    said: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        found = re.search(r"snippet\.py:(\d+): (.*)", line)
        assert found, line
        said.setdefault(SNIPPET.splitlines()[int(found[1]) - 1], []).append(found[2])
    assert 'Unexpected keyword argument "tsks"' in said['score(model="x", tsks="y")'][0]
    assert 'Argument "dtype"' in said['score(model="x", dtype="int8")'][0]
    assert 'Unexpected keyword argument "tsks"' in said['darumeru.evaluate(model="x", output="o", tsks="y")'][0]
    assert 'has no attribute "evalute"' in said["darumeru.evalute"][0]
    for name in ("model: ", "num_fewshot: ", "engine_args: "):
        assert name in said["reveal_type(score)"][0]
    assert "model: " in said["reveal_type(darumeru.evaluate)"][0]
    assert '"str"' in said["reveal_type(darumeru.__version__)"][0]
    assert 'score("x", limit=3)' not in said


def test_a_function_of_a_config_takes_its_fields() -> None:
    @takes(RunConfig)
    def score(config: RunConfig) -> RunConfig:
        """Score."""
        return config

    assert score("x", limit=3) == RunConfig("x", limit=3)
    assert score.__doc__ == "Score."
    import inspect

    assert set(inspect.signature(score).parameters) == {one.name for one in declared(RunConfig)}
    assert score("x", "a,b") == RunConfig(model="x", tasks=("a", "b"))
    with pytest.raises(TypeError, match="tsks"):
        score("x", tsks="y")  # type: ignore[call-arg]
