"""lm-eval's own model on the local tasks, once for all tests that compare with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lm_eval_bridge.local_tasks import SELECTED, write_tasks

ITERATIONS = 200


def chosen(chat: bool) -> list[str]:
    """Rolling texts know no chat."""
    return [task for task in SELECTED if not (chat and task == "rolling")]


@pytest.fixture(scope="session")
def local_tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the tests' own, and no child processes for lm-eval's bootstrap."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setenv("DISABLE_MULTIPROC", "1")
        yield folder


@pytest.fixture(scope="session")
def stock_model(tiny_model: Path) -> Any:
    from lm_eval.models.huggingface import HFLM

    # One less than the engine: lm-eval's window is the input, which lacks the last token.
    return HFLM(pretrained=str(tiny_model), dtype="float32", device="cpu", max_length=2047, batch_size=4)


def evaluated(model: Any, folder: Path, chat: bool) -> dict[str, Any]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    results: dict[str, Any] = lm_eval.simple_evaluate(
        model=model,
        tasks=chosen(chat),
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=ITERATIONS,
        apply_chat_template=chat,
    )
    return results


@pytest.fixture(scope="session", params=[False, True], ids=["plain", "chat"])
def stock(
    request: pytest.FixtureRequest, local_tasks: Path, stock_model: Any, own_cache: Path
) -> tuple[bool, Mapping[str, Any]]:
    """Whether the chat template was used, and lm-eval's results with its own model."""
    return request.param, evaluated(stock_model, local_tasks, request.param)
