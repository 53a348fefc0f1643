"""The options of `run` and `watch`: from the command line, from a file, printed as a file, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from darumeru.runs.config import RunConfig
from darumeru.training.config import WatchConfig
from tests.cli.command import Said, darumeru

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "run-config.schema.json"


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """`say(*words)` runs the command as far as its work, which is not done: `say.made` holds the config value."""
    from darumeru.cli import run, watch
    from darumeru.cli.main import app, application

    application()

    class Say:
        made: list[Any] = []  # noqa: RUF012

        def __call__(self, *words: str) -> Said:
            self.made = []
            return darumeru(capsys, monkeypatch, *words)

    spoken = Say()
    for module in (run, watch):
        name = module.__name__.rsplit(".", 1)[-1]
        config = RunConfig if name == "run" else WatchConfig
        before = [one for one in app.registered_commands if one.name == name]
        monkeypatch.setattr(app, "registered_commands", [one for one in app.registered_commands if one not in before])

        def work(made: Any) -> None:
            spoken.made.append(made)

        from darumeru.cli.options import command

        command(app, name, config, work, "")
    return spoken


def refused(said: Said, *lines: str) -> None:
    assert (said.code, said.out) == (2, ""), said
    assert said.err.rstrip("\n").splitlines() == [f"error: {line}" for line in lines]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--seed", "-10000"], "--seed: must be 0 or more, not -10000"),
        (["--seed", "9" * 23], f"--seed: must be 4294967295 or less, not {'9' * 23}"),
        (["--subset-seed", "-1"], "--subset-seed: must be 0 or more, not -1"),
        (["--subset-seed", "9" * 23], f"--subset-seed: must be {2**63 - 1} or less, not {'9' * 23}"),
        (["--limit", "0"], "--limit: must be 1 or more, not 0"),
        (["--limit", "1_000"], "--limit: must be a whole number of 1 or more, not '1_000'"),
        (["--resamples", "9" * 99], f"--resamples: must be 1000000 or less, not {'a number of more than 60 digits'}"),
        (["--thinking-tokens", "-5"], "--thinking-tokens: must be 1 or more, not -5"),
        (["--max-length", "1.5"], "--max-length: must be a whole number of 16 or more, not '1.5'"),
        (["--num-fewshot", "²"], "--num-fewshot: must be auto or a whole number of 0 or more, not '²'"),
        (["--num-fewshot", "-1"], "--num-fewshot: must be 0 or more, not -1"),
        (["--dtype", "int8"], "--dtype: must be auto or float32 or bfloat16 or float16, not 'int8'"),
        (["--date", "2026-2-30"], "--date: must be a day as YYYY-MM-DD, not '2026-2-30'"),
        (["--output", ""], "--output: must not be empty"),
        (["--include", ""], "--include: must not be empty"),
        (["--tasks", ""], "--tasks: no task is named (see `darumeru tasks list`)"),
        (["--name", "\udcff"], "--name: is not Unicode text: '\\udcff'"),
        (["--engine-args", '{"seed": NaN}'], "--engine-args: is not JSON: NaN is no number of JSON"),
        (["--engine-args", "[" * 100_000], "--engine-args: is not JSON: it is nested too deeply"),
        (["--engine-args", "5"], "--engine-args: must be a JSON object"),
        (["--engine", "transformer"],
         "--engine: unknown engine `transformer`; did you mean transformers? (known: vllm, transformers, openai)"),
        (["--tsks", "x"], "no such option: --tsks (Possible options: --tasks)"),
    ],
)  # fmt: skip
def test_values_are_refused_before_anything_is_loaded(say: Any, words: list[str], line: str) -> None:
    refused(say("run", "--model", "x", *words), line)
    assert not say.made


def test_number_of_more_digits_than_python_reads_is_refused(say: Any) -> None:
    said = say("run", "--model", "x", "--seed", "9" * 5000)
    assert said.code == 2 and said.err.startswith("error: --seed: must be a whole number of 0 or more and 42949672")
    assert len(said.err) < 200


def test_what_a_run_needs_is_named(say: Any, tmp_path: Path) -> None:
    refused(say("run"), "--model: is needed (here or in the file of --config)")
    refused(say("watch"), "FOLDER: is needed (here or in the file of --config)")
    refused(
        say("run", "--model", str(tmp_path), "--revision", "abc"),
        "--revision: is of models on the Hub, and this one is a folder",
    )
    said = say("run", "--model", "http://h/v1", "--revision", "a")
    refused(said, "--revision: is of models on the Hub, and this one is a server")


def test_watch_names_an_engine_that_is_not_before_it_looks_at_checkpoints(say: Any, tmp_path: Path) -> None:
    said = say("watch", str(tmp_path), "--engine", "transformer", "--once")
    assert said.code == 2 and "did you mean transformers?" in said.err


def test_other_verbs_refuse_in_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = darumeru(capsys, monkeypatch, "compare", "a", "b", "--seed", "-1")
    assert said.code == 2 and said.err.startswith("error: invalid value for '--seed'") and said.err.count("\n") == 1
    said = darumeru(capsys, monkeypatch, "fetch", "--data-dir", str(tmp_path / "d"), "--tasks", "")
    refused(said, "--tasks: no task is named (see `darumeru tasks list`)")
    said = darumeru(capsys, monkeypatch, "wtach")
    assert said.code == 2 and said.err.startswith("error: no such command 'wtach'. Did you mean 'watch'")


def test_the_command_line_wins_over_the_file_and_the_file_over_the_defaults(say: Any, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "model: here\nlimit: 5\nseed: 3\nthinking: true\nnum_fewshot: 2\ntasks: [a, 'b,c']\n"
        "engine_args: {concurrency: 4}\ninclude: more.yaml\n"
    )
    words = ["--limit", "7", "--no-thinking", "--num-fewshot", "auto", "--seed", "0"]
    assert say("run", "--config", str(file), *words).code == 0
    assert say.made == [
        RunConfig(
            "here", limit=7, seed=0, tasks=("a", "b", "c"), engine_args={"concurrency": 4}, include=("more.yaml",)
        )
    ]
    said = say("run", "--config", str(file), "--include", "a", "--include", "b", "--engine-args", '{"x": [1]}')
    assert said.code == 0
    [made] = say.made
    assert (made.limit, made.thinking, made.num_fewshot, made.max_length) == (5, True, 2, 4096)
    assert (made.include, made.engine_args) == (("a", "b"), {"x": [1]})


def test_a_watch_reads_a_file_with_its_folder(say: Any, tmp_path: Path) -> None:
    file = tmp_path / "watch.yaml"
    file.write_text(f"folder: {tmp_path}\npoll: 1e-1\nonce: true\nlimit: 3\nseed: 5\n")
    assert say("watch", "--config", str(file)).code == 0
    assert say.made == [WatchConfig(folder=str(tmp_path), poll=0.1, once=True, limit=3, seed=5)]
    assert say.made[0].subset_seed == 5
    assert say("watch", "elsewhere", "--config", str(file), "--subset-seed", "9").code == 0
    assert (say.made[0].folder, say.made[0].subset_seed) == ("elsewhere", 9)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed: 0\ntsks: all\n", "{file}:2: no option `tsks`; did you mean tasks?"),
        ("model: x\n\nseed: -10000\n", "{file}:3: seed: must be 0 or more, not -10000"),
        ("seed: true\n", "{file}:1: seed: must be a whole number of 0 or more and 4294967295 or less, not True"),
        ("name: 5\n", "{file}:1: name: must be text, not 5"),
        ("engine_args: [1]\n", "{file}:1: engine_args: must be a JSON object"),
        ("engine_args: {seed: .nan}\n", "{file}:1: engine_args: cannot be written as JSON: Out of range float values"
                                        " are not JSON compliant"),
        ("dtype: int8\n", "{file}:1: dtype: must be auto or float32 or bfloat16 or float16, not 'int8'"),
        ("# comment\nengine: vlm\n", "{file}:2: engine: unknown engine `vlm`; did you mean vllm? "
                                     "(known: vllm, transformers, openai)"),
        ("seed: 1\nseed: 2\n", "{file}:2: the key `seed` stands twice"),
        ("- seed\n", "{file}: must be a mapping of fields, not a list"),
    ],
)  # fmt: skip
def test_mistakes_in_a_file_are_named_with_line_and_field(say: Any, tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    refused(say("run", "--model", "x", "--config", str(file)), line.format(file=file))
    assert not say.made


def test_a_file_that_is_not_there_is_named(say: Any, tmp_path: Path) -> None:
    refused(say("run", "--config", str(tmp_path / "no.yaml")), f"{tmp_path}/no.yaml: cannot be read: No such file or "
            "directory")  # fmt: skip


def test_the_printed_file_reads_back_to_the_same_options(say: Any, tmp_path: Path) -> None:
    words = ["--model", "no/such-model", "--system-prompt", 'Отвечай: "да"\nили «нет» 😀', "--limit", "3",
             "--name", "on", "--include", "x y.yaml",
             "--engine-args", '{"a b": [1, 2.5, null, "1e-4", {"c": false}]}']  # fmt: skip
    said = say("run", *words, "--print-config")
    assert (said.code, said.err, say.made) == (0, "", [])
    (tmp_path / "run.yaml").write_text(said.out, encoding="utf-8")
    say("run", *words)
    [made] = say.made
    say("run", "--config", str(tmp_path / "run.yaml"))
    assert say.made == [made]
    help_line, value = said.out.splitlines()[said.out.splitlines().index("limit: 3") - 1 :][:2]
    assert (help_line, value) == ("# Only this many records a task; results say so.", "limit: 3")


def test_a_printed_file_holds_what_is_needed_as_a_comment(say: Any, tmp_path: Path) -> None:
    said = say("run", "--print-config")
    assert said.code == 0 and "\n# model:\n" in said.out
    (tmp_path / "run.yaml").write_text(said.out)
    say("run", "--model", "x", "--config", str(tmp_path / "run.yaml"))
    assert say.made == [RunConfig("x")]
    assert "\n# folder:\n" in say("watch", "--print-config").out


def test_of_several_models_the_options_that_they_share_are_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = darumeru(capsys, monkeypatch, "run", "--model", "a", "--model", "b", "--limit", "3", "--print-config")
    assert (said.code, said.err) == (0, "")
    assert "\n# model:\n" in said.out and "\nlimit: 3\n" in said.out


def test_options_are_checked_before_they_are_printed(say: Any) -> None:
    refused(say("run", "--print-config", "--seed", "-1"), "--seed: must be 0 or more, not -1")


def test_no_key_is_printed(say: Any, tmp_path: Path) -> None:
    arguments = {
        "api_key": "sk-SECRET",
        "body": {"headers": {"Authorization": "Bearer sk-SECRET"}, "max_tokens": 5},
        "hf_token": "sk-SECRET",
        "tokenizer_mode": "auto",
    }
    said = say("run", "--model", "http://user:sk-SECRET@h/v1", "--engine-args", json.dumps(arguments), "--print-config")
    assert said.code == 0 and "SECRET" not in said.out + said.err
    assert "api_key: ***" in said.out and "OPENAI_API_KEY" in said.out and 'model: "http://h/v1"' in said.out
    (tmp_path / "run.yaml").write_text(said.out)
    say("run", "--config", str(tmp_path / "run.yaml"))
    assert say.made[0].engine_args == {"body": {"headers": {}, "max_tokens": 5}, "tokenizer_mode": "auto"}


def test_keys_are_not_in_error_lines(say: Any) -> None:
    said = say("run", "--model", "x", "--engine-args", '{"api_key": "sk-SECRET", "x": "\\ud800"}')
    assert said.code == 2 and said.err.startswith("error: --engine-args: cannot be written as JSON: 'utf-8' codec")
    assert "SECRET" not in said.err


def test_the_schema_for_editors_is_current_and_agrees_with_the_command(say: Any, tmp_path: Path) -> None:
    said = say("run", "--print-schema")
    assert said.out == SCHEMA.read_text(encoding="utf-8"), "darumeru run --print-schema > docs/schemas/" + SCHEMA.name
    schema = json.loads(said.out)
    jsonschema.Draft202012Validator.check_schema(schema)
    good: dict[str, Any]
    for good in (
        {},
        {"tasks": "a,b", "num_fewshot": "auto"},
        {"num_fewshot": 3, "limit": None, "engine_args": {"a": 1}},
    ):
        jsonschema.validate(good, schema)
    for bad in ({"seed": -1}, {"tsks": "a"}, {"dtype": "int8"}, {"thinking": "yes"}, {"num_fewshot": "few"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)
