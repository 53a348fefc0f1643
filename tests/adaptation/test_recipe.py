"""Recipes are checked whole, with file and line, before anything runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from darumeru.adaptation.recipe import ScoreConfig, load_recipe
from darumeru.adaptation.variants import Ref, expand
from darumeru.core.errors import UserError
from darumeru.core.options import declared
from darumeru.runs.config import ModelConfig, RunConfig
from tests.adaptation.conftest import write_recipe
from tests.shared_data import ROOT, case

pytestmark = pytest.mark.usefixtures("small_steps")

GOOD = "  - {name: a, step: noise, from: base}\n"

BAD = {
    "unknown step": ("  - {name: a, step: vocab_extnd, from: base}", 14, "unknown step `vocab_extnd`.*vocab_extend"),
    "unknown parameter": (
        "  - name: a\n    step: noise\n    from: base\n    with:\n      cuont: 2",
        18,
        "step noise has no parameter `cuont`.*did you mean count",
    ),
    "wrong type": ("  - {name: a, step: noise, from: base, with: {count: many}}", 14, "`count` .*whole number.*'many'"),
    "no whole number": ("  - {name: a, step: noise, from: base, with: {count: true}}", 14, "`count` .*whole number"),
    "wrong item": ("  - {name: a, step: noise, from: base, with: {broken: [1, x]}}", 14, "`broken`.*each a whole"),
    "wrong choice": (
        "  - {name: a, step: vocab_bpe, from: base, with: {normalization: NFD}}",
        14,
        "`normalization` .*NFKC, NFC, none",
    ),
    "refused parameter": ("  - {name: a, step: fails, from: base, with: {at_once: true}}", 14, "never good"),
    "cycle": (
        "  - {name: a, step: noise, from: c}\n  - {name: b, step: noise, from: a}\n  - {name: c, step: noise, from: b}",
        14,
        "circle: a -> c -> b -> a",
    ),
    "missing parent": (GOOD + "  - {name: b, step: noise, from: aa}", 15, "`b` takes `from` from `aa`.*did you mean a"),
    "missing input": ("  - {name: a, step: lep, from: base, inputs: {target: caht}}", 14, "`caht`.*did you mean chat"),
    "no parent": ("  - {name: a, step: noise}", 14, "`a` needs `from`"),
    "name twice": (GOOD + GOOD, 15, "`a` is given twice"),
    "name of a model": ("  - {name: base, step: noise, from: chat}", 14, "`base` is given twice"),
    "unknown key": ("  - {name: a, step: noise, form: base}", 14, "unknown key `form`.*did you mean from"),
    "key twice": ("  - {name: a, step: noise, from: base, from: chat}", 14, "`from` stands twice"),
    "no step": ("  - {name: a, from: base}", 14, "needs `step`"),
    "not a list": ("  {name: a}", 13, "`steps` must be a list"),
    "select": ("  - {name: a, step: noise, from: base, select: first}", 14, "best, race, last or all"),
    "keep": ("  - {name: a, step: noise, from: base, keep: 0}", 14, "`keep` must be a number from 1 up"),
    "best without scores": (
        "  - {name: a, step: noise, from: base, score: false}\n  - {name: b, step: noise, from: {best: a}}",
        15,
        "`b` takes the best of `a`, which is not scored",
    ),
    "best of an unscored model": ("  - {name: a, step: noise, from: {best: base}}", 14, "best of `base`.*not scored"),
    "unknown data": (
        "  - {name: a, step: vocab_bpe, from: base, with: {corpus: data.corpse}}",
        14,
        "no data is called `corpse`.*did you mean corpus",
    ),
    "unknown axis": (
        '  - {name: a, step: noise, from: base, matrix: {n: [1]}, with: {count: "{m}"}}',
        14,
        "`{m}` is no axis",
    ),
    "clashing axes": (
        "  - {name: a, step: noise, from: base, matrix: {n: [1]}}\n"
        "  - {name: b, step: noise, from: a, matrix: {n: [1]}}",
        15,
        "axis `n` is one of the step",
    ),
    "many inputs": (
        "  - {name: a, step: noise, from: base, matrix: {n: [1, 2]}}\n"
        "  - {name: b, step: lep, from: base, inputs: {base: base, target: a}}",
        15,
        "`target` must be one model, `a` hands on 2 variants",
    ),
    "not YAML": ("  - {name: a, step: noise", 14, "not YAML"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_with_its_line(kitchen: Path, case: str) -> None:
    steps, line, message = BAD[case]
    path = write_recipe(kitchen, "bad", steps)
    with pytest.raises(UserError) as caught:
        expand(load_recipe(path))
    assert re.match(rf"{re.escape(str(path))}:{line}: ", caught.value.line()), caught.value.line()
    assert re.search(message, caught.value.line()), caught.value.line()
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize(
    ("more", "line", "message"),
    [
        ("scoer: {}\n", 13, "unknown key `scoer`.*did you mean score"),
        ("seed: first\n", 13, "`seed` must be a whole number"),
    ],
)
def test_the_recipe_itself_is_checked(kitchen: Path, more: str, line: int, message: str) -> None:
    path = write_recipe(kitchen, "bad", GOOD, more=more)
    with pytest.raises(UserError, match=rf"bad.yaml:{line}: {message}"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("limit", "limti: 3", "unknown key `limti` in `score`; did you mean limit"),
        ("engine: transformers", "engine: transfomers", "unknown engine `transfomers`.*did you mean transformers"),
        ("darumeru/rummlu]", "darumeru/rumlu]", "rumlu.*did you mean .*rummlu"),
        ("num_fewshot: 0", "num_fewshot: none", "`num_fewshot` of `score`.*'none'"),
    ],
)
def test_the_scoring_is_checked(kitchen: Path, old: str, new: str, message: str) -> None:
    path = write_recipe(kitchen, "bad", GOOD)
    text = path.read_text()
    path.write_text(text.replace(old, new) if old in text else text.replace("score:\n", f"score:\n  {new}\n"))
    with pytest.raises(UserError, match=rf"bad.yaml:\d+: .*{message}"):
        load_recipe(path)


def test_environment_variables_stand_for_paths(kitchen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_recipe(kitchen, "env", GOOD)
    path.write_text(path.read_text().replace("corpus.txt", '"${TEXTS}/corpus.txt"'))
    monkeypatch.delenv("TEXTS", raising=False)
    with pytest.raises(UserError, match=r"env.yaml:3: the environment variable TEXTS is not set"):
        load_recipe(path)
    monkeypatch.setenv("TEXTS", str(kitchen))
    assert load_recipe(path).data == {"corpus": (str((kitchen / "corpus.txt").resolve()),)}
    path.write_text(path.read_text().replace("${TEXTS}", "${TEXTS:-/tmp}"))
    with pytest.raises(UserError, match=r"env.yaml:3: .*plain variable name"):
        load_recipe(path)


def test_a_matrix_multiplies_a_step_and_what_comes_after_it(kitchen: Path) -> None:
    steps = """
  - name: vocab
    step: vocab_{scheme}
    from: base
    matrix: {scheme: {bpe: {size: 700}, extend: {size: 640}}}
    with: {corpus: data.corpus}
  - name: lep
    step: lep
    from: vocab
    matrix: {method: [swap, overlap, conversion]}
    inputs: {base: base, target: chat}
    with: {method: "{method}"}
  - name: again
    step: lep
    from: {best: lep, per: scheme}
    inputs: {base: vocab, target: {best: lep}}
"""
    variants = {one.name: one for one in expand(load_recipe(write_recipe(kitchen, "matrix", steps)))}
    assert list(variants) == [
        "vocab-bpe", "vocab-extend", "lep-bpe-swap", "lep-bpe-overlap", "lep-bpe-conversion", "lep-extend-swap",
        "lep-extend-overlap", "lep-extend-conversion", "again-bpe", "again-extend",
    ]  # fmt: skip
    assert (variants["vocab-bpe"].step.name, variants["vocab-bpe"].step.size) == ("vocab_bpe", 700)
    assert variants["vocab-extend"].step.corpus == (str((kitchen / "corpus.txt").resolve()),)
    assert variants["lep-extend-overlap"].source == Ref(variants=("vocab-extend",))
    assert variants["lep-extend-overlap"].step.method == "overlap"
    methods = ("swap", "overlap", "conversion")
    assert variants["again-extend"].source == Ref(variants=tuple(f"lep-extend-{m}" for m in methods), best=True)
    assert variants["again-extend"].inputs["base"] == Ref(variants=("vocab-extend",)), "the variant with its own axes"


def test_numbers_that_yaml_takes_for_text_are_numbers(kitchen: Path) -> None:
    steps = "  - {name: a, step: noise, from: base, with: {scale: 1e-4, broken: 2}}\n"
    (variant,) = expand(load_recipe(write_recipe(kitchen, "numbers", steps)))
    assert variant.step.scale == 0.0001 and variant.step.broken == (2,)


def test_settings_of_the_command_line_go_over_the_file(kitchen: Path) -> None:
    path = write_recipe(kitchen, "set", GOOD)
    recipe = load_recipe(path, {"a.count": "3", "score.limit": "2", "seed": "7", "models.base": "chat"})
    (variant,) = expand(recipe)
    assert (variant.step.count, recipe.score.limit, variant.seed) == (3, 2, 7)
    assert recipe.models["base"] == str((kitchen / "chat").resolve())
    with pytest.raises(UserError, match="nothing is called `aa`; did you mean a"):
        load_recipe(path, {"aa.count": "3"})


def test_every_option_of_a_run_may_stand_in_score(kitchen: Path) -> None:
    said = """
score:
  tasks: [darumeru/rummlu, "lm_eval:xwinograd_ru"]
  data: bundled
  engine: transformers
  system_prompt: Отвечай кратко.
  thinking: true
  thinking_tokens: 64
  chat_template: plain.jinja
  date: 2026-01-02
  resamples: 0
  tensor_parallel: 2
  limit: 4
  seed: 3
  num_fewshot: null
  models: base
"""
    path = write_recipe(kitchen, "options", GOOD)
    (kitchen / "plain.jinja").write_text("{{ messages }}")
    text = path.read_text()
    path.write_text(text[: text.index("\nscore:")] + said + text[text.index("steps:") :])
    score = load_recipe(path).score
    assert score.patterns == ("darumeru/rummlu", "lm_eval:xwinograd_ru")
    assert (score.system_prompt, score.thinking, score.thinking_tokens) == ("Отвечай кратко.", True, 64)
    assert score.chat_template == str((kitchen / "plain.jinja").resolve()) and score.date == "2026-01-02"
    assert (score.subset_seed, score.models, score.tensor_parallel) == (3, ("base",), 2)
    assert score.num_fewshot == "auto"


def test_options_of_a_recipe_are_those_of_a_run_and_what_selects() -> None:
    of_run = {one.name for one in declared(RunConfig)} - {one.name for one in declared(ModelConfig)} - {"output"}
    assert {one.name for one in declared(ScoreConfig)} == of_run | {"metric", "models"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("limit: 0", "`limit` of `score`.*1"),
        ("seed: -10000", "`seed` of `score`.*0"),
        ("resamples: 1.5", "`resamples` of `score`.*1.5"),
        ("thinking: 1", "`thinking` of `score`"),
        ("dtype: float8", "`dtype` of `score`.*float8"),
        ("chat_template: nothing.jinja", "no such file"),
        ("models: [bsae]", "no model is called `bsae`; did you mean base"),
    ],
)
def test_a_value_out_of_its_range_in_score_is_named(kitchen: Path, line: str, said: str) -> None:
    path = write_recipe(kitchen, "bad", GOOD)
    path.write_text(path.read_text().replace("score:\n", f"score:\n  {line}\n").replace("  resamples: 20\n", ""))
    with pytest.raises(UserError, match=rf"bad.yaml:6: .*{said}"):
        load_recipe(path)


@pytest.mark.parametrize("name", ["lm_eval:xwinograd_ru", "darumeru/rummlu,lm_eval:xnli_ru"])
def test_tasks_of_lm_eval_are_accepted(kitchen: Path, name: str) -> None:
    """Right value: the form that `darumeru run --tasks` takes (case recipe_lm_eval_tasks)."""
    path = write_recipe(kitchen, "foreign", GOOD)
    path.write_text(path.read_text().replace("[darumeru/cp_sent_ru, darumeru/rummlu]", f'["{name}"]'))
    assert load_recipe(path).score.patterns == tuple(name.split(","))


def test_the_plan_of_a_recipe_with_lm_eval_tasks_is_shown(tmp_path: Path) -> None:
    recipe = case("recipe_lm_eval_tasks/recipe.yaml")
    command = [sys.executable, "-m", "darumeru", "adapt", str(recipe), "--dry-run", "--output", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "trimmed [vocab_trim] to do" in done.stdout


def test_an_axis_may_have_points_that_are_numbers(kitchen: Path) -> None:
    steps = """
  - name: a
    step: noise
    from: base
    matrix: {scale: [1e-3, 0.5], count: {1: {broken: []}, 2: {broken: [1]}}}
    with: {scale: "{scale}", count: "{count}"}
"""
    variants = expand(load_recipe(write_recipe(kitchen, "points", steps)))
    assert [(one.step.scale, one.step.count, one.step.broken) for one in variants] == [
        (0.001, 1, ()), (0.001, 2, (1,)), (0.5, 1, ()), (0.5, 2, (1,)),
    ]  # fmt: skip


SEEDED = """
  - {name: words, step: noise, from: base, seed: 0}
  - {name: tuned, step: noise, from: chat}
  - {name: donor, step: noise, from: words, matrix: {scheme: [a, b]}}
  - {name: moved, step: lep, from: donor, inputs: {base: base, target: tuned}}
  - {name: last, step: noise, from: {best: moved}}
"""


def test_a_recipe_is_carried_out_whole_for_each_of_its_seeds(kitchen: Path) -> None:
    path = write_recipe(kitchen, "seeds", SEEDED, more="seeds: [4, 7]\n")
    variants = expand(load_recipe(path))
    names = [variant.name for variant in variants]
    of_seed = ["tuned", "donor-a", "donor-b", "moved-a", "moved-b", "last"]
    first, second = ([f"{name}-seed{seed}" for name in of_seed] for seed in (4, 7))
    assert names[0] == "words", "a step with a seed of its own is done once"
    assert sorted(names[1:7]) == sorted(first) and sorted(names[7:]) == sorted(second)
    by_name = {variant.name: variant for variant in variants}
    assert [by_name[name].seed for name in ("words", "donor-a-seed4", "last-seed7")] == [0, 4, 7]
    assert by_name["moved-b-seed7"].inputs["target"] == Ref(variants=("tuned-seed7",))
    assert by_name["last-seed7"].needs == ("moved-a-seed7", "moved-b-seed7")
    assert len(expand(load_recipe(path, {"seeds": "[4]", "donor.matrix.scheme": "[b]"}))) == 5
    for seeds in ("[1, 1]", "[]", "3", "[true]"):
        with pytest.raises(UserError, match=r"`seeds` must be a list of different whole numbers"):
            load_recipe(path, {"seeds": seeds})


def test_a_recipe_may_extend_another(kitchen: Path, tmp_path: Path) -> None:
    base = write_recipe(kitchen, "long", GOOD)
    short = kitchen / "short.yaml"
    short.write_text("extends: long.yaml\nset:\n  a.count: 3\n  score.limit: 2\n")
    recipe = load_recipe(short, {"score.limit": "1"})
    (variant,) = expand(recipe)
    assert (recipe.name, variant.step.count, recipe.score.limit) == ("short", 3, 1)
    (tmp_path / "written.yaml").write_bytes(recipe.file.text())
    written = load_recipe(tmp_path / "written.yaml", {"models.base": "x", "data.corpus": str(kitchen / "corpus.txt"),
                                                      "score.data": "bundled"})  # fmt: skip
    assert expand(written)[0].step.count == 3 and written.score.limit == 1, (
        "the settings are in the recipe that is kept"
    )
    assert load_recipe(base).file.text() == base.read_bytes()
    for text, line, said in (
        ("extends: long.yaml\nset:\n  b.count: 3\n", 3, "nothing is called `b`"),
        ("extends: long.yaml\nsteps: []\n", 2, "unknown key `steps` in a recipe that extends"),
        ("extends: short.yaml\n", 1, "short.yaml extends another recipe itself"),
        ("extends: [long.yaml]\n", 1, "`extends` must be a recipe"),
        ("extends: long.yaml\nset: [1]\n", 2, "`set` must be a mapping"),
    ):
        other = kitchen / "other.yaml"
        other.write_text(text)
        with pytest.raises(UserError, match=said) as error:
            load_recipe(other)
        assert error.value.where == f"{other}:{line}"
