"""DarumeruCallback in real Trainers on real vLLM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import EarlyStoppingCallback, TrainerCallback

from darumeru import DarumeruCallback, LiveOptions, UserError, evaluate, load_run
from darumeru.leaderboard.curve import read_curve
from tests.live.training import TASKS, losses, records, trainer


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, DarumeruCallback, Path]:
    """A training with the callback, best checkpoint by the benchmark, no evaluation data set."""
    output = tmp_path_factory.mktemp("training")
    callback = DarumeruCallback(TASKS, every_steps=4, limit=8, data="bundled")
    made = trainer(
        tiny_model,
        output,
        [callback],
        save_strategy="steps",
        save_steps=4,
        metric_for_best_model="darumeru/mean",
        greater_is_better=True,
    )
    made.train()
    return made, callback, output


def test_the_loss_curve_is_bit_equal_with_and_without_the_callback(
    trained: tuple[Any, DarumeruCallback, Path], tiny_model: Path, tmp_path: Path
) -> None:
    plain = trainer(tiny_model, tmp_path, [])
    plain.train()
    assert losses(trained[0]) == losses(plain)
    assert len(losses(plain)) == 12


def test_scores_are_logged_stored_and_drawn(trained: tuple[Any, DarumeruCallback, Path]) -> None:
    made, callback, output = trained
    logged = {entry["step"]: entry for entry in made.state.log_history if "eval_darumeru/mean" in entry}
    assert sorted(logged) == [0, 4, 8, 12]
    assert {"eval_darumeru/darumeru/parus", "eval_darumeru/darumeru/cp_sent_ru"} <= logged[4].keys()
    points = read_curve(output / "darumeru" / "curve.jsonl")
    assert [point.step for point in points] == [0, 4, 8, 12]
    for point in points:
        assert point.scores["mean"].value == logged[point.step]["eval_darumeru/mean"]
        assert point.extra["engine"] == "vllm"
    assert (output / "darumeru" / "curve.png").read_bytes().startswith(b"\x89PNG")
    runs = [load_run(output / "darumeru" / point.run) for point in points if point.run]
    said = {json.dumps(next(iter(run.rows("darumeru/rcb"))).answer.probabilities) for run in runs}
    assert len(said) == 4, "each point has the answers of its own weights"
    assert len(callback.evaluation.engine.pushes) == 4  # type: ignore[union-attr]


def test_each_point_is_a_run_of_the_same_samples(trained: tuple[Any, DarumeruCallback, Path]) -> None:
    _, callback, output = trained
    runs = [load_run(output / "darumeru" / point.run, check_samples=True) for point in callback.points if point.run]
    asked = [{name: [row.id for row in run.rows(name)] for name in run.results.tasks} for run in runs]
    assert all(
        {task: sorted(ids) for task, ids in one.items()} == {t: sorted(i) for t, i in asked[0].items()} for one in asked
    )
    assert runs[2].manifest["training_step"] == 8


def test_live_scores_are_those_of_the_saved_checkpoint(
    trained: tuple[Any, DarumeruCallback, Path], tmp_path: Path
) -> None:
    _, _, output = trained
    live = load_run(output / "darumeru" / "steps" / "step-00000008")
    saved = evaluate(
        str(output / "checkpoint-8"), TASKS.split(","), output=tmp_path, data="bundled", limit=8, subset_seed=0
    )
    assert {n: t.score.value for n, t in live.results.tasks.items()} == pytest.approx(
        {n: t.score.value for n, t in saved.results.tasks.items()}, abs=1e-12
    )
    for task in live.results.tasks:
        ours, theirs = ({row.id: row.answer for row in run.rows(task)} for run in (live, saved))
        assert ours.keys() == theirs.keys()
        for name, answer in ours.items():
            assert answer.text == theirs[name].text
            if answer.probabilities:
                assert answer.probabilities == pytest.approx(theirs[name].probabilities, abs=1e-5)


def test_the_best_checkpoint_is_chosen_by_the_benchmark(trained: tuple[Any, DarumeruCallback, Path]) -> None:
    made, callback, output = trained
    # The model before its first step is no checkpoint.
    best = max(callback.points[1:], key=lambda point: (point.scores["mean"].value or 0, -point.step))
    assert made.state.best_metric == best.scores["mean"].value
    assert made.state.best_global_step == best.step
    assert made.state.best_model_checkpoint == str(output / f"checkpoint-{best.step}")


def test_trl_lora_with_an_evaluation_set_and_early_stopping(tiny_model: Path, tmp_path: Path) -> None:
    """SFTTrainer, adapters merged on the way to vLLM, the Trainer's own evaluation choosing by our score."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    data = Dataset.from_list([{"input_ids": one["input_ids"]} for one in records(tokenizer)])
    callback = DarumeruCallback(TASKS, every_steps=2, limit=6, data="bundled", at_start=False)
    arguments = SFTConfig(
        str(tmp_path),
        max_steps=20,
        per_device_train_batch_size=1,
        learning_rate=0.0,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="darumeru/mean",
        greater_is_better=True,
        report_to=[],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        packing=False,
        max_length=24,
    )
    made = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(tiny_model),
        arguments,
        train_dataset=data,
        eval_dataset=data.select(range(2)),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False),
        callbacks=[EarlyStoppingCallback(early_stopping_patience=2), callback],
    )
    made.train()
    # Nothing is learnt at this rate, so that the second and third evaluations are no better than the first.
    assert made.state.global_step == 6
    assert made.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")
    live = load_run(tmp_path / "darumeru" / "steps" / "step-00000006")
    merged = tmp_path / "merged"
    made.model.merge_and_unload().save_pretrained(merged)
    tokenizer.save_pretrained(merged)
    saved = evaluate(
        str(merged),
        TASKS.split(","),
        output=tmp_path / "run",
        data="bundled",
        limit=6,
        subset_seed=0,
        engine="transformers",
    )
    for task in live.results.tasks:
        ours, theirs = ({row.id: row.answer.probabilities for row in run.rows(task)} for run in (live, saved))
        for name, probabilities in ours.items():
            if probabilities:
                assert probabilities == pytest.approx(theirs[name], abs=1e-4)


class _Breaks:
    """A LiveEngine whose engine fails from the second push on."""

    starting, dtype = 0.0, "float32"

    def __init__(self, inner: Any, failing: range) -> None:
        self.inner, self.failing, self.calls = inner, failing, 0

    def push(self, *arguments: Any) -> Any:
        self.calls += 1
        if self.calls in self.failing:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return self.inner.push(*arguments)

    def rest(self) -> None:
        self.inner.rest()

    def close(self) -> None:
        self.inner.close()


class _Breaking(TrainerCallback):  # type: ignore[misc]
    """Makes the evaluations of another callback fail."""

    def __init__(self, callback: DarumeruCallback, failing: range) -> None:
        self.callback, self.failing = callback, failing

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        evaluation: Any = self.callback.evaluation
        if not isinstance(evaluation.engine, _Breaks):
            evaluation.engine = _Breaks(evaluation.engine, self.failing)


@pytest.mark.parametrize(
    ("failing", "expected"), [(range(1, 3), [6, 8, 10, 12]), (range(2, 5), [2])], ids=["twice", "three in a row"]
)
def test_a_failing_evaluation_is_skipped_and_three_in_a_row_are_the_last(
    failing: range, expected: list[int], tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback = DarumeruCallback(
        TASKS, every_steps=2, limit=2, data="bundled", at_start=False, live=LiveOptions(engine="transformers")
    )
    made = trainer(tiny_model, tmp_path, [callback, _Breaking(callback, failing)])
    made.train()
    assert [point.step for point in callback.points] == expected
    assert len(losses(made)) == 12
    assert "is skipped: RuntimeError: CUDA out of memory" in caplog.text
    assert ("no more in this training" in caplog.text) == (len(expected) == 1)


def test_a_failed_evaluation_that_was_to_choose_the_best_does_not_end_training(
    tiny_model: Path, tmp_path: Path
) -> None:
    callback = DarumeruCallback(
        TASKS, every_steps=3, limit=2, data="bundled", at_start=False, live=LiveOptions(engine="transformers")
    )
    made = trainer(
        tiny_model,
        tmp_path,
        [callback, _Breaking(callback, range(1, 3))],
        eval_strategy="steps",
        eval_steps=3,
        save_strategy="steps",
        save_steps=3,
        load_best_model_at_end=True,
        metric_for_best_model="darumeru/mean",
        greater_is_better=True,
    )
    made.train()
    assert made.state.global_step == 12
    scores = {point.step: point.scores["mean"].value for point in callback.points}
    assert list(scores) == [6, 9, 12]
    assert made.state.best_metric == max(value for value in scores.values() if value is not None)


def test_vllm_that_cannot_run_is_replaced_and_said_so(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback = DarumeruCallback(
        TASKS, limit=2, data="bundled", at_start=False, live=LiveOptions(engine_args={"quantization": "awq"})
    )
    made = trainer(tiny_model, tmp_path, [callback], max_steps=2)
    made.train()
    assert [point.extra["engine"] for point in callback.points] == ["transformers"]
    assert "vLLM cannot be used here" in caplog.text and "transformers engine" in caplog.text


@pytest.fixture
def stopped(tiny_model: Path, tmp_path: Path) -> Iterator[Any]:
    yield lambda callback, **settings: trainer(tiny_model, tmp_path, [callback], **settings).train()


@pytest.mark.parametrize(
    ("options", "settings", "line"),
    [
        ({"tasks": "darumeru/parsu"}, {}, "darumeru/parus"),
        ({"data": "/nowhere"}, {}, "/nowhere"),
        ({"early_stopping_patience": 2}, {}, "metric_for_best_model"),
        ({}, {"metric_for_best_model": "darumeru/micro_avg"}, "all 17 tasks"),
    ],
    ids=["task", "data", "patience", "micro_avg"],
)
def test_wrong_options_are_found_when_training_begins(
    options: dict[str, Any], settings: dict[str, Any], line: str, stopped: Any
) -> None:
    callback = DarumeruCallback(**{"tasks": TASKS, "data": "bundled", **options})
    with pytest.raises(UserError) as caught:
        stopped(callback, **settings)
    assert line in caught.value.line()


@pytest.mark.parametrize("options", [{"every_steps": 0}, {"share": 1.5}])
def test_wrong_schedules_are_found_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        DarumeruCallback(TASKS, **options)


def test_patience_without_an_evaluation_set(tiny_model: Path, tmp_path: Path) -> None:
    callback = DarumeruCallback(
        TASKS,
        every_steps=1,
        limit=2,
        data="bundled",
        early_stopping_patience=3,
        live=LiveOptions(engine="transformers"),
    )
    made = trainer(tiny_model, tmp_path, [callback], metric_for_best_model="darumeru/mean", learning_rate=0.0)
    made.train()
    assert made.state.global_step == 3
    assert json.loads((tmp_path / "darumeru" / "curve.jsonl").read_text().splitlines()[0])["step"] == 0


def test_the_best_checkpoint_is_one_of_training_and_a_better_beginning_is_named(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores of 0.9 before the first step, then 0.2, 0.4, 0.3: step 4 is saved and loaded."""
    from darumeru.training.live_evaluation import LiveEvaluation

    given = {0: 0.9, 2: 0.2, 4: 0.4, 6: 0.3}
    monkeypatch.setattr(LiveEvaluation, "_score", lambda self, model, step, *_: {"mean": given[step]})
    settings = {"save_strategy": "best", "load_best_model_at_end": True, "metric_for_best_model": "darumeru/mean"}
    callback = DarumeruCallback(TASKS, every_steps=2, limit=2, data="bundled")
    made = trainer(tiny_model, tmp_path, [callback], max_steps=6, **settings)
    made.train()
    assert made.state.best_model_checkpoint == str(tmp_path / "checkpoint-4")
    assert (
        "as good as the model before training: eval_darumeru/mean was 0.9 at step 0, and is 0.4 at step 4"
        in caplog.text
    )


def test_a_training_whose_evaluations_fail_still_saves_its_last_checkpoint(tiny_model: Path, tmp_path: Path) -> None:
    live = LiveOptions(engine="transformers")
    callback = DarumeruCallback(TASKS, every_steps=3, limit=2, data="bundled", at_start=False, live=live)
    made = trainer(
        tiny_model,
        tmp_path,
        [callback, _Breaking(callback, range(1, 9))],
        save_strategy="best",
        metric_for_best_model="darumeru/mean",
        max_steps=6,
    )
    made.train()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-6"]


def test_answers_are_logged_as_a_table(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    callback = DarumeruCallback(
        TASKS, limit=3, data="bundled", at_start=False, log_samples=2, live=LiveOptions(engine="transformers")
    )
    made = trainer(tiny_model, tmp_path, [callback], max_steps=1, report_to=["tensorboard"])
    made.train()
    events = EventAccumulator(str(next(tmp_path.rglob("events.out.*")).parent)).Reload()
    (event,) = events.Tensors("darumeru/samples/text_summary")
    table = event.tensor_proto.string_val[0].decode().split("\n")
    run = load_run(tmp_path / "darumeru" / "steps" / "step-00000001")
    rows = list(run.rows("darumeru/cp_sent_ru"))[:2]
    assert table[0] == "| task | id | prompt | answer | target |" and len(table) == 4
    assert [line.split(" | ")[1] for line in table[2:]] == [row.id for row in rows] and event.step == 1
