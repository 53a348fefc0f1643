"""Every option of every surface changes what it declares: prompts or answers, scores, or nothing.

What is right is each option's own declaration (docs/architecture.md, "One identity").
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from darumeru.adaptation.recipe import ScoreConfig
from darumeru.core.options import Declared, Effect, declared
from darumeru.engines import free_arguments
from darumeru.runs.config import AskConfig, RunConfig, config_as
from darumeru.runs.session import Session
from darumeru.runs.subject import Subject, find_subject, live_subject
from darumeru.training.config import LiveConfig, WatchConfig
from tests.runs.data_folders import small_suite

TODAY = date(2026, 3, 1)
SURFACES: tuple[type[AskConfig], ...] = (WatchConfig, LiveConfig, ScoreConfig)
# Another value of each option than its default; options that count only beside another one name that too.
OTHER: dict[str, dict[str, Any]] = {
    "tasks": {"tasks": ("darumeru/rummlu",)},
    "profile": {"profile": "llmtf-2024"},
    "limit": {"limit": 2},
    "subset_seed": {"subset_seed": 3, "limit": 2},
    "seed": {"seed": 5},
    "resamples": {"resamples": 7},
    "num_fewshot": {"num_fewshot": 1},
    "max_length": {"max_length": 1024},
    "system_prompt": {"system_prompt": "Отвечай."},
    "thinking": {"thinking": True},
    "thinking_tokens": {"thinking_tokens": 99, "thinking": True},
    "temperature": {"temperature": 0.5},
    "top_p": {"top_p": 0.5, "temperature": 0.5},
    "num_samples": {"num_samples": 2, "temperature": 0.5},
    "sampling_seed": {"sampling_seed": 5, "temperature": 0.5},
    "date": {"date": "2020-01-01"},
    "engine": {"engine": "vllm"},
    "dtype": {"dtype": "bfloat16"},
    "engine_args": {"engine_args": {"attn_implementation": "eager"}},
    "tensor_parallel": {"tensor_parallel": 2},
    "pipeline_parallel": {"pipeline_parallel": 2},
    "data_parallel": {"data_parallel": 2},
    "cluster": {"cluster": "auto"},
    "batch_size": {"batch_size": 3},
    "trust_remote_code": {"trust_remote_code": True},
    "name": {"name": "other"},
    "output": {"output": "elsewhere"},
}


@pytest.fixture(scope="module")
def base(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    folder = tmp_path_factory.mktemp("options")
    template = (tiny_model / "chat_template.jinja").read_text(encoding="utf-8")
    dated = "{{ strftime_now('%Y') }}{% if enable_thinking %}think{% endif %}" + template
    (folder / "dated.jinja").write_text(dated, encoding="utf-8")
    return RunConfig(
        model=str(tiny_model),
        data=str(small_suite(folder / "data", records=4)),
        tasks=("darumeru/rummlu", "darumeru/cp_sent_ru"),
        engine="transformers",
        max_length=2048,
        thinking_tokens=512,
        chat_template=str(folder / "dated.jinja"),
    )


def prepared(config: RunConfig) -> Session:
    today = date.fromisoformat(config.date) if config.date else TODAY
    return Session.prepare(config, find_subject(config, today))


def assert_as_declared(one: Declared, before: Session, after: Session) -> None:
    keys, others = ({(s.sample.id, s.sample.task): s.key for s in each.plan.planned} for each in (before, after))
    answers = before.spec.answers != after.spec.answers
    scores = before.spec.scores != after.spec.scores
    asked_otherwise = any(keys[place] != others[place] for place in keys.keys() & others.keys())
    if one.option.effect is Effect.ANSWERS:
        assert answers and (asked_otherwise or one.name == "max_length")
    elif one.option.effect is Effect.SCORES:
        assert scores and not answers and not asked_otherwise
    else:
        assert not answers and not scores and keys == others


def options_of(config: type) -> list[Declared]:
    return [one for one in declared(config) if not one.option.material]


@pytest.mark.parametrize("one", options_of(RunConfig), ids=lambda one: one.name)
def test_an_option_of_run_changes_what_it_declares(base: RunConfig, one: Declared) -> None:
    values = dict(OTHER[one.name])
    changed = values.pop(one.name)
    before = replace(base, **values)
    assert_as_declared(one, prepared(before), prepared(replace(before, **{one.name: changed})))


def test_a_free_engine_argument_changes_nothing(base: RunConfig) -> None:
    name = min(free_arguments("vllm"))
    before = replace(base, engine="vllm")
    after = prepared(replace(before, engine_args={name: 1}))
    assert prepared(before).spec == after.spec and after.subject.options.extra == {name: 1}


def test_every_option_of_run_is_on_every_surface_or_it_is_said_why_not() -> None:
    everything = {one.name for one in declared(RunConfig)}
    for surface in SURFACES:
        own = {one.name for one in declared(surface)}
        absent: dict[str, str] = surface.ABSENT  # type: ignore[attr-defined]
        assert everything == (everything & own) | absent.keys(), surface
        assert not own & absent.keys() and all(absent.values())


@pytest.mark.parametrize("surface", [WatchConfig, ScoreConfig])
def test_options_of_checkpoints_and_candidates_reach_their_runs(base: RunConfig, surface: type[AskConfig]) -> None:
    shared = [one for one in options_of(RunConfig) if one.name in {other.name for other in declared(surface)}]
    more = {"folder": "checkpoints"} if surface is WatchConfig else {}
    for one in shared:
        if one.name == "output":
            continue
        config = config_as(surface, base, **more, **OTHER[one.name])
        reached = config_as(RunConfig, config, model=base.model)
        assert getattr(reached, one.name) == getattr(replace(base, **OTHER[one.name]), one.name), one.name


@pytest.mark.parametrize("one", options_of(AskConfig), ids=lambda one: one.name)
def test_an_option_of_the_callback_changes_what_it_declares(base: RunConfig, one: Declared) -> None:
    tokenizer = find_subject(base, TODAY).builder.tokenizer

    def live(**values: Any) -> Session:
        config = config_as(LiveConfig, base, **values)
        today = date.fromisoformat(config.date) if config.date else TODAY
        subject: Subject = live_subject("m", "vllm", tokenizer, 2048, config, today)
        return Session.prepare(config, replace(subject, identity={"model": "m", "tokenizer": "t", "adapter": None}))

    values = dict(OTHER[one.name])
    changed = values.pop(one.name)
    assert_as_declared(one, live(**values), live(**values, **{one.name: changed}))
