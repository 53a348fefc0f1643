"""Checkpoints scored from outside, with real vLLM."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from darumeru.cli.main import application
from darumeru.core.errors import UserError
from darumeru.leaderboard.curve import read_curve
from darumeru.training.checkpoints import step_of
from darumeru.training.config import WatchConfig
from darumeru.training.watch import Watcher
from tests.engines.vllm_server import serving
from tests.publishing.test_trackers import read_tensorboard
from tests.tiny_models import make_model

TASKS = ("darumeru/parus", "darumeru/cp_sent_ru")


def options(folder: Path, output: Path, **settings: Any) -> WatchConfig:
    asked = {"tasks": TASKS, "data": "bundled", "limit": 4, "subset_seed": 0, "poll": 0.2, **settings}
    return WatchConfig(folder=folder, output=output, **asked)


class Notes:
    """A progress display that keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return (lambda text: self.notes.append(text)) if name == "note" else (lambda *_: None)


def test_checkpoints_are_scored_as_they_appear(tmp_path: Path) -> None:
    """One is there, one is being written for a while, one is cut off, the last comes while we watch."""
    folder, output = tmp_path / "training", tmp_path / "out"
    make_model(folder / "checkpoint-1", seed=1)
    make_model(folder / "checkpoint-10", seed=2)
    weights = folder / "checkpoint-10" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    make_model(folder / "checkpoint-5", seed=3)
    broken = folder / "checkpoint-5" / "model.safetensors"
    broken.write_bytes(broken.read_bytes()[:5000])
    (folder / "logs").mkdir()

    def trainer() -> None:
        for length in range(1000, len(whole), 100_000):
            weights.write_bytes(whole[:length])
            time.sleep(0.15)
        weights.write_bytes(whole)
        time.sleep(6)
        make_model(folder / "incoming", seed=4)
        (folder / "incoming").rename(folder / "checkpoint-20")

    writing = threading.Thread(target=trainer)
    writing.start()
    notes = Notes()
    watcher = Watcher(options(folder, output, until_step=20), notes)
    points = list(watcher.points())
    writing.join()
    assert [point.step for point in points] == [1, 10, 20]
    assert list(watcher.broken) == ["checkpoint-5"]
    assert [note for note in notes.notes if "checkpoint-5" in note and "skipped" in note]
    assert watcher.engine.starts == 1
    assert [point.step for point in read_curve(output / "curve.jsonl")] == [1, 10, 20]

    # The weights that were exchanged in the running engine answer as a new engine does.
    from darumeru import evaluate, load_run

    live = load_run(output / "steps" / "step-00000020")
    fresh = evaluate(
        str(folder / "checkpoint-20"), TASKS, output=tmp_path / "fresh", data="bundled", limit=4, subset_seed=0
    )
    for task in TASKS:
        ours, theirs = ({row.id: row.answer for row in run.rows(task)} for run in (live, fresh))
        assert ours.keys() == theirs.keys()
        for name, answer in ours.items():
            assert answer.text == theirs[name].text
            assert dict(answer.probabilities or {}) == pytest.approx(dict(theirs[name].probabilities or {}), abs=1e-6)

    # Again: only what has been mended since is asked.
    shutil.rmtree(folder / "checkpoint-5")
    make_model(folder / "checkpoint-5", seed=3)
    again = Watcher(options(folder, output, once=True))
    assert [point.step for point in again.points()] == [5]
    assert [point.step for point in read_curve(output / "curve.jsonl")] == [1, 5, 10, 20]


def test_the_command(tmp_path: Path) -> None:
    folder, output = tmp_path / "training", tmp_path / "out"
    make_model(folder / "checkpoint-3")
    (folder / "checkpoint-4").mkdir()
    arguments = ["watch", str(folder), "--once", "--data", "bundled", "--limit", "2", "--tasks", ",".join(TASKS)]
    arguments += ["--output", str(output), "--engine", "transformers", "--json", "--log-to", "tensorboard"]
    done = CliRunner().invoke(application(), arguments)
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout.splitlines()[0])["step"] == 3
    assert "checkpoint-4 is skipped" in done.stderr
    assert (output / "curve.png").exists()
    logged, (point,) = read_tensorboard(output / "tensorboard"), read_curve(output / "curve.jsonl")
    assert logged["darumeru/mean"] == [(3, pytest.approx(point.scores["mean"].value))]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"folder": "nowhere"}, "no such folder"),
        ({"tasks": ("darumeru/parsu",)}, "darumeru/parus"),
        ({"data": "/no"}, "/no"),
    ],
)
def test_a_wrong_command_ends_at_once(changes: dict[str, Any], line: str, tmp_path: Path) -> None:
    folder = tmp_path / str(changes.pop("folder", ""))
    asked = {"tasks": TASKS, "data": "bundled", **changes}
    with pytest.raises(UserError) as caught:
        next(iter(Watcher(WatchConfig(folder=folder, output=tmp_path / "out", once=True, **asked)).points()))
    assert line in caught.value.line()


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("checkpoint-500", 500),
        ("step_500-hf", 500),
        ("epoch=1-step=500", 500),
        ("global_step500", 500),
        ("iter_0000500_v2", 500),
        ("ckpt-500.bak3", 500),
        ("500", 500),
        ("logs", None),
        ("llama3-logs", None),
    ],
)
def test_steps_in_names(name: str, step: int | None) -> None:
    assert step_of(name) == step


def test_models_inside_numbered_folders_and_pieces_that_are_none(tmp_path: Path) -> None:
    make_model(tmp_path / "global_step_2" / "actor" / "huggingface")
    (tmp_path / "global_step_2" / "data").mkdir()
    pieces = tmp_path / "checkpoint-3" / "pytorch_model_fsdp_0"
    pieces.mkdir(parents=True)
    (pieces / "__0_0.distcp").write_bytes(b"x")
    (tmp_path / "global_step4").mkdir()
    (tmp_path / "global_step4" / "mp_rank_00_model_states.pt").write_bytes(b"x")
    watcher = Watcher(options(tmp_path, tmp_path / "out", once=True, engine="transformers"), Notes())
    assert [point.extra["checkpoint"] for point in watcher.points()] == ["global_step_2"]
    assert "accelerate merge-weights" in watcher.broken["checkpoint-3"]
    assert "zero_to_fp32.py" in watcher.broken["global_step4"]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, a training of two adapters on it, and the second of them merged."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapters")
    base = make_model(folder / "base")
    for step in (1, 2):
        torch.manual_seed(step)
        lora = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora)
        adapted.save_pretrained(folder / "training" / f"checkpoint-{step}")
    merged = shutil.copytree(base, folder / "merged")
    adapted.merge_and_unload().save_pretrained(merged)
    return folder


@pytest.fixture(scope="module")
def server(adapters: Path) -> Iterator[str]:
    """vLLM's own server on the base, which takes adapters while it runs."""
    more = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
    with serving(adapters / "base", adapters / "server.log", "--enable-lora", **more) as address:
        yield address


@pytest.mark.parametrize("where", ["here", "on a server"])
def test_several_adapters_on_one_loaded_base(
    where: str, adapters: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Each answers as the merged model does, and the base is loaded once."""
    from darumeru import evaluate, load_run

    url = request.getfixturevalue("server") if where == "on a server" else None
    watcher = Watcher(options(adapters / "training", tmp_path / "out", once=True, server=url))
    assert [point.step for point in watcher.points()] == [1, 2]
    if url is None:
        assert watcher.engine.starts == 1
    else:
        assert [one["id"] for one in httpx.get(f"{url}/models").json()["data"]] == ["tiny"], "none is left behind"
    merged = adapters / "merged"
    fresh = evaluate(str(merged), TASKS, output=tmp_path / "fresh", data="bundled", limit=4, subset_seed=0)
    runs = [load_run(tmp_path / "out" / "steps" / f"step-0000000{step}") for step in (1, 2)]
    first, ours, theirs = (
        {row.id: dict(row.answer.probabilities or {}) for row in run.rows("darumeru/parus")} for run in (*runs, fresh)
    )
    assert ours == {name: pytest.approx(one, rel=1e-2, abs=0) for name, one in theirs.items()}
    assert first != {name: pytest.approx(one, rel=0.1, abs=0) for name, one in theirs.items()}


def test_a_server_is_given_adapters_alone_and_says_what_it_refuses(adapters: Path, server: str, tmp_path: Path) -> None:
    folder = tmp_path / "training"
    make_model(folder / "checkpoint-1")
    broken = shutil.copytree(adapters / "training" / "checkpoint-2", folder / "checkpoint-2")
    (broken / "adapter_model.safetensors").unlink()
    watcher = Watcher(options(folder, tmp_path / "out", once=True, server=server), Notes())
    assert not list(watcher.points())
    assert "adapters alone" in watcher.broken["checkpoint-1"]
    assert "the server does not take the adapter" in watcher.broken["checkpoint-2"]


def test_a_server_that_takes_no_adapters_is_told_how_to(adapters: Path, tmp_path: Path) -> None:
    """As a server without the endpoint answers; nobody at all is an error at once."""

    class Plain(BaseHTTPRequestHandler):
        def _say(self, status: int, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._say(200, {"data": [{"id": "base"}]})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._say(404, {"detail": "Not Found"})

        def log_message(self, *_: Any) -> None:
            pass

    answering = HTTPServer(("127.0.0.1", 0), Plain)
    threading.Thread(target=answering.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{answering.server_port}"
    watcher = Watcher(options(adapters / "training", tmp_path / "out", once=True, server=url), Notes())
    assert not list(watcher.points())
    answering.shutdown()
    answering.server_close()
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in watcher.broken["checkpoint-1"]
    with pytest.raises(UserError, match="no server answers"):
        list(Watcher(options(adapters / "training", tmp_path / "out", once=True, server=url)).points())
