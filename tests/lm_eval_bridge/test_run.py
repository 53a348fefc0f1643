"""lm-eval's tasks in `darumeru run`: the numbers of lm-eval itself, Darumeru's stream, store and resume."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from darumeru.core.answer import Answer
from darumeru.core.errors import RunFailed
from darumeru.engines.protocol import Engine, EngineDied, EngineOptions
from darumeru.engines.request import LogLikelihood, MultipleChoice, Request
from darumeru.lm_eval_bridge import export_results, loading
from darumeru.runs import evaluate
from darumeru.runs.config import RunConfig
from darumeru.runs.rescore import rescore
from darumeru.runs.run import Run
from darumeru.runs.score import score_run
from tests.lm_eval_bridge.conftest import ITERATIONS, chosen
from tests.lm_eval_bridge.local_tasks import TASKS, write_tasks
from tests.lm_eval_bridge.test_model import assert_equal_responses
from tests.runs.data_folders import small_suite
from tests.shared_data import ROOT, json_lines

Results = Mapping[str, Any]


class Borrowed:
    """The session's engine for one run: remembers what is asked, and dies on demand."""

    def __init__(self, engine: Engine, die_after: int | None = None) -> None:
        self.engine, self.die_after = engine, die_after
        self.name, self.capabilities, self.max_model_len = engine.name, engine.capabilities, engine.max_model_len
        self.asked: list[Request] = []

    def load(self, name: str, options: EngineOptions) -> Engine:
        return self

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        for done, (index, answer) in enumerate(self.engine.answer(requests)):
            if self.die_after is not None and done >= self.die_after:
                raise EngineDied("out of memory")
            self.asked.append(requests[index])
            yield index, answer

    def close(self) -> None:
        pass


def asked_options(model: Path, output: Path, tasks: Sequence[str], include: Path, **more: Any) -> RunConfig:
    return RunConfig(
        model=str(model),
        output=str(output),
        tasks=tuple(tasks),
        include=(str(include),),
        max_length=2048,
        resamples=ITERATIONS,
        **more,
    )


@pytest.fixture(scope="module")
def finished(
    stock: tuple[bool, Results],
    local_tasks: Path,
    tiny_model: Path,
    vllm_engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Run, Results, Borrowed, RunConfig]:
    chat, theirs = stock
    options = asked_options(
        tiny_model,
        tmp_path_factory.mktemp("run") / "out",
        [f"lm_eval:{name}" for name in chosen(chat)] + ["darumeru/rummlu"],
        local_tasks,
        data=str(small_suite(tmp_path_factory.mktemp("data"))),
        chat_template=None if chat else "none",
    )
    engine = Borrowed(vllm_engine)
    return evaluate.run(options, load_engine=engine.load)[0], theirs, engine, options


def test_all_scores_standard_errors_and_group_means_are_lm_evals(finished: tuple[Run, Results, Any, Any]) -> None:
    run, theirs = finished[:2]
    ours = run.results.sources["lm_eval"]["results"]
    assert ours.keys() == theirs["results"].keys()
    for task, scores in theirs["results"].items():
        assert ours[task].keys() == scores.keys()
        for name, value in scores.items():
            expected = pytest.approx(value, rel=1e-4, nan_ok=True) if isinstance(value, float) else value
            assert ours[task][name] == expected, (task, name)


def test_scores_stand_in_the_table_of_the_run_beside_darumerus_own(finished: tuple[Run, Results, Any, Any]) -> None:
    run, theirs = finished[:2]
    assert not run.results.failed
    letters = run.results.tasks["lm_eval:letters"]
    accuracy, error = (theirs["results"]["letters"][name] for name in ("acc,none", "acc_stderr,none"))
    assert letters.score.value == pytest.approx(accuracy)
    assert letters.score.high == pytest.approx(accuracy + 1.96 * error, abs=1e-4)
    assert {"exact_match/first", "exact_match/word"} == run.results.tasks["lm_eval:generation"].metrics.keys()
    group = run.results.groups["lm_eval:choices_group"]
    assert group.value == pytest.approx(theirs["results"]["choices_group"]["acc,none"])
    assert run.results.tasks["darumeru/rummlu"].n == 6


def test_the_files_of_the_run_fit_the_schemas(finished: tuple[Run, Results, Any, Any]) -> None:
    run = finished[0]
    schemas = {path.name: json.loads(path.read_text()) for path in (ROOT / "docs" / "schemas").glob("*.schema.json")}
    known: Registry[Any] = Registry().with_resources(
        [(name, Resource.from_contents(schema)) for name, schema in schemas.items()]
    )
    documents = [("manifest", run.path / "manifest.json"), ("results", run.path / "results.json")]
    checks = [(name, json.loads(path.read_text())) for name, path in documents]
    checks += [("sample", line) for path in (run.path / "samples").iterdir() for line in json_lines(path)]
    for name, document in checks:
        jsonschema.Draft202012Validator(schemas[f"{name}.schema.json"], registry=known).validate(document)


def test_a_question_of_one_token_choices_is_one_request_and_long_choices_share_their_context(
    finished: tuple[Run, Results, Any, Any],
) -> None:
    run, _, engine, _ = finished
    letters = list(run.rows("lm_eval:letters"))
    choices = [row for row in letters if row.answer.probabilities]
    assert len(choices) == 8
    assert all(len(row.answer.probabilities or {}) == 4 for row in choices)
    # A chat template ends in a line feed, which lm-eval counts to every choice: it is asked for once.
    assert len(letters) == (16 if run.manifest["template"]["chat"] else 8)
    texts = {row.prompt for row in letters}
    assert sum(request.text in texts for request in engine.asked) == len(letters)
    assert len({row.prompt for row in run.rows("lm_eval:long_choices") if row.prompt}) == 8


def test_repeated_generations_are_asked_once(finished: tuple[Run, Results, Any, Any]) -> None:
    assert len(list(finished[0].rows("lm_eval:generation"))) == 8


def test_the_same_command_asks_nothing_again(finished: tuple[Run, Results, Any, Any], vllm_engine: Engine) -> None:
    run, _, _, options = finished
    engine = Borrowed(vllm_engine)
    again = evaluate.run(options, load_engine=engine.load)[0]
    assert not engine.asked
    assert again.results == run.results


def test_scoring_again_needs_no_model_and_gives_the_same(finished: tuple[Run, Results, Any, Any]) -> None:
    run = finished[0]
    loading.forget()
    assert score_run(run.path, run.manifest) == run.results


def test_exported_samples_are_lm_evals_own(finished: tuple[Run, Results, Any, Any], tmp_path: Path) -> None:
    from lm_eval.loggers import EvaluationTracker

    run, theirs, _, _ = finished
    written = {path.name.rsplit("_", 1)[0]: path for path in export_results(run)}
    tracker = EvaluationTracker(output_path=str(tmp_path))
    tracker.general_config_tracker.log_experiment_args("hf", {"pretrained": run.name}, None, None, True)
    tracker.save_results_aggregated(json.loads(json.dumps(dict(theirs), default=str)) | {"samples": None})
    for task, samples in theirs["samples"].items():
        tracker.save_results_samples(task, [dict(sample) for sample in samples])
        (file,) = tmp_path.glob(f"*/samples_{task}_*.jsonl")
        mine, stock = json_lines(written[f"samples_{task}"]), json_lines(file)
        for line, other in zip(mine, stock, strict=True):
            assert line.keys() == other.keys()
            exact = (
                "doc_id",
                "doc",
                "target",
                "arguments",
                "filter",
                "metrics",
                "doc_hash",
                "prompt_hash",
                "target_hash",
            )
            assert {name: line[name] for name in exact} == {name: other[name] for name in exact}
            for left, right in zip(line["resps"], other["resps"], strict=True):
                assert_equal_responses(_numbers(left), _numbers(right))


def _numbers(responses: Sequence[Any]) -> list[Any]:
    """lm-eval writes log-likelihoods as text."""
    return [_number(one) for one in responses]


def _number(response: Any) -> Any:
    if isinstance(response, list) and len(response) == 2:
        return float(response[0]), response[1]
    return float(response) if re.fullmatch(r"-\d+\.\d+", str(response)) else response


def test_the_exported_results_have_lm_evals_fields(finished: tuple[Run, Results, Any, Any]) -> None:
    run, theirs = finished[:2]
    (path,) = [path for path in export_results(run) if path.name.startswith("results_")]
    document = json.loads(path.read_text())
    wanted = set(theirs) - {"samples"}
    assert (
        not wanted
        - document.keys()
        - {"tokenizer_pad_token", "tokenizer_eos_token", "tokenizer_bos_token", "eot_token_id"}
    )
    assert document["model_name"] == run.name
    assert document["results"]["letters"]["acc,none"] == pytest.approx(theirs["results"]["letters"]["acc,none"])
    assert document["results"]["darumeru_rummlu"]["score,none"] == run.results.tasks["darumeru/rummlu"].score.value
    assert document["n-samples"]["letters"] == theirs["n-samples"]["letters"]
    assert set(document["task_hashes"]) >= {"letters", "generation", "darumeru_rummlu"}
    tables = ("results", "configs", "versions", "n-shot", "higher_is_better", "n-samples")
    assert all(document[table].keys() >= {"darumeru_rummlu", *TASKS} - {"rolling"} for table in tables)


def test_an_interrupted_run_goes_on_where_it_stopped(
    local_tasks: Path, tiny_model: Path, vllm_engine: Engine, own_cache: Path, tmp_path: Path
) -> None:
    options = asked_options(
        tiny_model, tmp_path / "run", ["lm_eval:letters", "lm_eval:long_choices", "lm_eval:rouge"], local_tasks
    )
    first = Borrowed(vllm_engine, die_after=11)
    with pytest.raises(RunFailed, match="the same command goes on"):
        evaluate.run(options, load_engine=first.load)
    second = Borrowed(vllm_engine)
    resumed = evaluate.run(options, load_engine=second.load)[0]
    whole = Borrowed(vllm_engine)
    fresh = evaluate.run(replace(options, output=str(tmp_path / "whole")), load_engine=whole.load)[0]
    assert len(first.asked) == 11
    assert len(first.asked) + len(second.asked) == len(whole.asked)
    assert resumed.results.tasks == fresh.results.tasks


def test_a_seeded_subset_is_drawn_and_scored_again_from_the_store(
    tiny_model: Path, local_tasks: Path, vllm_engine: Engine, tmp_path: Path
) -> None:
    """Which documents: numpy's permutation of their numbers, as the option says."""
    texts = {}
    for seed in (None, 1, 1, 2):
        options = asked_options(
            tiny_model, tmp_path / f"{seed}-{len(texts)}", ["lm_eval:letters"], local_tasks, limit=3, subset_seed=seed
        )
        run, _ = evaluate.run(options, load_engine=Borrowed(vllm_engine).load)
        assert run.results.tasks["lm_eval:letters"].n == 3
        again, _ = rescore(run.path)
        assert again.tasks == run.results.tasks
        said = frozenset(row.prompt for row in run.rows("lm_eval:letters"))
        assert seed not in texts or texts[seed] == said
        texts[seed] = said
    assert len(set(texts.values())) == 3


def test_limit_and_number_of_examples_are_lm_evals(
    local_tasks: Path, tiny_model: Path, vllm_engine: Engine, own_cache: Path, tmp_path: Path
) -> None:
    options = asked_options(tiny_model, tmp_path / "run", ["lm_eval:letters"], local_tasks, limit=3, num_fewshot=1)
    run = evaluate.run(options, load_engine=Borrowed(vllm_engine).load)[0]
    task = run.results.tasks["lm_eval:letters"]
    assert (task.n, task.expected, task.limited, task.num_fewshot) == (3, 3, True, 1)
    assert run.results.sources["lm_eval"]["n-samples"]["letters"] == {"original": 8, "effective": 3}


def test_a_task_that_fails_midway_leaves_the_others_their_scores(
    tiny_model: Path, vllm_engine: Engine, own_cache: Path, tmp_path: Path
) -> None:
    failing = TASKS["cloze"] | {"process_results": "!function local_code.fails_midway"}
    folder = write_tasks(tmp_path / "tasks", {"failing": failing, "cloze": TASKS["cloze"]})
    options = asked_options(tiny_model, tmp_path / "run", ["lm_eval:failing", "lm_eval:cloze"], folder)
    run = evaluate.run(options, load_engine=Borrowed(vllm_engine).load)[0]
    assert "process_results of document 3 raised KeyError" in run.results.failed["lm_eval:failing"]
    assert run.results.failed.keys() == {"lm_eval:failing"}
    assert run.results.tasks["lm_eval:failing"].score.value is None
    assert run.results.tasks["lm_eval:cloze"].score.value is not None
    assert run.results.tasks["lm_eval:failing"].n == 8


def test_prompts_without_room_are_listed_and_not_cut(
    local_tasks: Path, tiny_model: Path, vllm_engine: Engine, own_cache: Path, tmp_path: Path
) -> None:
    options = asked_options(tiny_model, tmp_path / "whole", ["lm_eval:letters"], local_tasks)
    whole = evaluate.run(options, load_engine=Borrowed(vllm_engine).load)[0]
    lengths = sorted(row.prompt_tokens for row in whole.rows("lm_eval:letters"))
    options = replace(options, output=str(tmp_path / "run"), max_length=lengths[len(lengths) // 2])
    run = evaluate.run(options, load_engine=Borrowed(vllm_engine).load)[0]
    task = run.results.tasks["lm_eval:letters"]
    assert 0 < task.n < task.expected == 8
    assert task.error is not None and "do not fit" in task.error


def test_the_engine_says_what_greedy_decoding_would_say(vllm_engine: Engine, tiny_model: Path) -> None:
    from darumeru.engines.request import Generate
    from darumeru.prompts.builder import load_tokenizer

    prompt = tuple(load_tokenizer(str(tiny_model))("Вчера шёл дождь")["input_ids"])
    said = dict(vllm_engine.answer([Request(prompt, Generate(4))]))[0].tokens or ()
    other = (said[0], 9, said[2])
    asked = [Request(prompt, LogLikelihood(said[:count])) for count in (1, 2, 3, 4)] + [
        Request(prompt, LogLikelihood(other))
    ]
    asked.append(Request(prompt, MultipleChoice(("a", "b"), ((9,), (said[0],)))))
    answers = dict(vllm_engine.answer(asked))
    assert [answers[place].extra["greedy"] for place in range(5)] == [1.0, 1.0, 1.0, 1.0, 0.0]
    assert answers[5].extra["best_token"] == said[0]
