"""`darumeru adapt` as typed: plan, board, one line for a mistake; the recipes that come with the project."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from darumeru.adaptation.recipe import load_recipe
from darumeru.adaptation.registry import step_registry
from darumeru.adaptation.variants import expand
from tests.adaptation.conftest import write_recipe
from tests.cli.command import darumeru

RECIPES = Path(__file__).parents[2] / "recipes"
NEEDS = {"pretrain", "base_model", "instruct_tune", "self_calibration", "instruction_calibration"}
STEPS = """
  - {name: vocab, step: vocab_bpe, from: base, with: {corpus: data.corpus, size: 700}}
  - name: lep
    step: lep
    from: vocab
    matrix: {method: [swap, overlap]}
    inputs: {base: base, target: chat}
    with: {method: "{method}", force: true}
"""


def test_plan_run_and_plan_again(
    kitchen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = str(write_recipe(kitchen, "cli", STEPS))
    words = ("adapt", recipe, "--output", str(tmp_path / "out"), "--set", "score.limit=2")
    plan = darumeru(capsys, monkeypatch, *words, "--dry-run")
    assert plan.code == 0 and plan.out.splitlines()[0] == "cli: 3 steps, 0 done"
    assert re.search(r"base \(.*\): \d+\.\d kB, 150\.\dK parameters\n", plan.out)
    assert re.search(r"│   └── vocab \[vocab_bpe\] to do; about \d+\.\d kB; from base\n", plan.out)
    assert re.search(r"│       ├── lep-swap \[lep\] to do; .*from vocab; base = base, target = chat", plan.out)
    assert not (tmp_path / "out").exists(), "a plan writes nothing"

    ran = darumeru(capsys, monkeypatch, *words, "--json")
    board = {one["label"]: one for one in json.loads(ran.out)["candidates"]}
    assert ran.code == 0 and set(board) == {"vocab", "lep-swap", "lep-overlap"}
    assert board["lep-swap"]["parents"] == ["vocab", "base", "chat"] and board["lep-swap"]["value"] is not None
    assert board["lep-swap"]["parameters"]["method"] == "swap"

    planned = darumeru(capsys, monkeypatch, *words, "--dry-run", "--json")
    states = {one["name"]: (one["state"], one["scored"]) for one in json.loads(planned.out)["plan"]}
    assert states["lep-overlap"] == ("done", 1) and states["base"] == ("given", 0)
    stored = {
        path.parent.name: json.loads(path.read_text())["seconds"] for path in tmp_path.glob("out/steps/*/done.json")
    }
    seconds = {one["name"]: one["seconds"] for one in json.loads(planned.out)["plan"]}
    assert seconds["base"] is None and {name.rsplit("-", 1)[0]: round(took, 1) for name, took in stored.items()} == {
        name: took for name, took in seconds.items() if name != "base" and name != "chat"
    }
    again = darumeru(capsys, monkeypatch, *words)
    assert again.code == 0 and re.search(r"lep-swap +\d\.\d{3} .*vocab\s*\n", again.out)
    assert max(map(len, again.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--set", "lep.metod=swap"), r"cli.yaml:\d+: step lep has no parameter `metod`; did you mean method\?"),
        (("--set", "score.limit"), r"--set score.limit: is not KEY=VALUE"),
        (("--set", "nothing.here=1"), r"--set nothing.here=1: nothing is called `nothing`"),
    ],
)
def test_a_mistake_is_one_line(
    kitchen: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    recipe = str(write_recipe(kitchen, "cli", STEPS))
    said = darumeru(capsys, monkeypatch, "adapt", recipe, "--output", str(tmp_path / "out"), *words)
    assert said.code == 2 and said.out == "" and said.err.count("\n") == 1
    assert re.match(f"error: .*{message}", said.err), said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", sorted(path.name for path in RECIPES.glob("*.yaml")))
def test_the_projects_recipes_are_right(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing := NEEDS - set(step_registry().names()):
        pytest.skip(f"not installed yet: {', '.join(sorted(missing))}")
    _fill(RECIPES / name, tmp_path, monkeypatch)
    recipe = load_recipe(RECIPES / name)
    variants = expand(recipe)
    said = darumeru(
        capsys, monkeypatch, "adapt", str(RECIPES / name), "--output", str(tmp_path / "out"), "--dry-run", "--json"
    )
    assert said.code == 0, said.err
    planned = [one["name"] for one in json.loads(said.out)["plan"]]
    assert planned == [*recipe.models, *(one.name for one in variants)]


def _fill(recipe: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files where the recipe's environment variables point, and those of a recipe that it extends."""
    text = recipe.read_text(encoding="utf-8")
    if extended := re.search(r"^extends: (.*)$", text, re.MULTILINE):
        text = (recipe.parent / extended[1]).read_text(encoding="utf-8")
    for variable, rest in set(re.findall(r"\$\{(\w+)\}([\w./-]*)", text)):
        monkeypatch.setenv(variable, str(folder / variable))
        path = folder / f"{variable}{rest}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("Кошка спит на окне.\n", encoding="utf-8")


def test_every_hint_of_the_nano_recipe_is_a_command_that_plans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The case adapt_recipe_cannot_run: hints parse, files of the user's are found where the command is given, and the
    plan shows sizes (the base model's from its shape: 2 x 2,560 x 160 embeddings and 4 x (4 x 160^2 +
    3 x 160 x 400 + 2 x 160) + 160 in the layers make 1,998,240)."""
    hints = re.findall(
        r"^#   (?:CORPORA=\S+ )?darumeru (.*)$", (RECIPES / "nano.yaml").read_text("utf-8"), re.MULTILINE
    )
    assert len(hints) == 2
    _fill(RECIPES / "nano.yaml", tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    for name in ("en.txt", "ru.txt"):
        (tmp_path / name).write_text("Кошка спит на окне.\n", encoding="utf-8")
    for hint in hints:
        if "--set" in hint:
            monkeypatch.delenv("CORPORA")
        words = hint.replace("recipes/nano.yaml", str(RECIPES / "nano.yaml")).split()
        said = darumeru(capsys, monkeypatch, *words, "--dry-run")
        assert said.code == 0, said.err
        assert "base [base_model] to do; about 8.0 MB, 2.0M parameters" in said.out and "not known" not in said.out


def test_a_plan_says_how_long_its_steps_will_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: 100 steps of 8 blocks of 256 tokens, 4 operations a parameter of the base and token, at 0.4 of a machine
    of 10^9 operations a second."""
    measured: set[str] = set()
    monkeypatch.setattr("darumeru.adaptation.estimates.machine_speed", lambda dtype: measured.add(dtype) or 1e9)
    words = ("adapt", str(RECIPES / "quick.yaml"), "--output", str(tmp_path / "out"), "--dry-run")
    plan = {one["name"]: one for one in json.loads(darumeru(capsys, monkeypatch, *words, "--json").out)["plan"]}
    work = 100 * 8 * 256 * 4 * plan["base"]["parameters_count"]
    assert plan["donor"]["seconds"] == pytest.approx(work / 0.4e9, abs=0.1) and plan["vocab"]["seconds"] is None
    assert measured == {"float32"}  # as the demo model's weights are
    said = darumeru(capsys, monkeypatch, *words)
    assert re.search(r"7 steps, 0 done; about \d+ h \d+ min of work on this machine, scoring not counted", said.out), (
        said.out
    )
    assert re.search(r"donor \[pretrain\] to do; about \d", said.out)


def test_the_quick_recipe_runs_on_bundled_text_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make adapt`, shortened: no variable, a board and a figure; the lowest bits per byte are calibrated."""
    for name in ("CORPORA", "CORPUS"):
        monkeypatch.delenv(name, raising=False)
    lines = (RECIPES / "nano" / "instructions.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "few.jsonl").write_text("".join(lines[:16]), encoding="utf-8")
    shorter = {
        "data.instructions": tmp_path / "few.jsonl",
        "instruct.copies": 8,
        "donor.max_steps": 2,
        "donor.evaluate_every": 2,
        "calibrated.copies": 8,
        "score.tasks": "[perplexity/text_ru, nano/copy_ru]",
        "score.limit": 2,
        "score.resamples": 20,
    }
    words = [word for key, value in shorter.items() for word in ("--set", f"{key}={value}")]
    output = tmp_path / "out"
    said = darumeru(
        capsys, monkeypatch, "adapt", str(RECIPES / "quick.yaml"), "--output", str(output), *words, "--json"
    )
    assert said.code == 0, said.err
    board = {one["label"]: one for one in json.loads(said.out)["candidates"]}
    bits = {name: one["value"] for name, one in board.items() if name.startswith("lep-")}
    assert set(bits) == {"lep-swap", "lep-overlap", "lep-conversion"} and all(value > 0 for value in bits.values())
    (calibrated,) = [one for name, one in board.items() if name.startswith("calibrated")]
    assert calibrated["parents"][0] == min(bits, key=bits.__getitem__)
    for name in ("board.md", "board.html", "board.json", "scores_by_step.png"):
        assert (output / name).stat().st_size > 0


def test_a_type_that_is_none_is_refused_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--set", "donor.dtype=bf16", "--output", str(tmp_path / "out"), "--dry-run")
    said = darumeru(capsys, monkeypatch, "adapt", str(RECIPES / "quick.yaml"), *words)
    assert said.code == 2 and re.search(r"quick.yaml:\d+: `dtype` of step pretrain .*did you mean bfloat16", said.err)
