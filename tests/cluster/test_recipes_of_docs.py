"""The Slurm and Kubernetes recipes of docs/cluster.md, as far as they can be tried without either."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def block(language: str, begins: str) -> str:
    text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    [found] = [one for one in re.findall(rf"```{language}\n(.*?)```", text, re.S) if one.startswith(begins)]
    return str(found)


def ray_options(*words: str) -> set[str]:
    scripts = pytest.importorskip("ray.scripts.scripts")
    command: Any = scripts.cli
    for word in words:
        command = command.commands[word]
    return {flag for option in command.params for flag in option.opts}


def run_options() -> set[str]:
    from darumeru.cli.options import flag
    from darumeru.core.options import declared
    from darumeru.runs.config import RunConfig

    return {flag(one.name) for one in declared(RunConfig)} | {"--models", "--json", "--export"}


def flags(words: list[str]) -> set[str]:
    return {word.split("=")[0] for word in words if word.startswith("--") and word != "--"}


def test_the_slurm_script_starts_what_it_should(tmp_path: Path) -> None:
    """With stand-ins for Slurm's commands, which say what they were given."""
    script = tmp_path / "job.sh"
    script.write_text(block("bash", "#!/bin/bash\n#SBATCH"))
    for name, says in (("scontrol", "printf 'node-a\\nnode-b\\n'"), ("srun", 'printf "%s\\n" "$@"')):
        (tmp_path / name).write_text(f"#!/bin/bash\n{says}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "node-[a-b]",
                   "SLURM_JOB_NUM_NODES": "2", "SLURM_SUBMIT_DIR": "/shared"}  # fmt: skip
    said = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    words = said.stdout.splitlines()
    ray, command = words[words.index("ray") : words.index("--")], words[words.index("--") + 1 :]
    assert ray[:4] == ["ray", "symmetric-run", "--address", "node-a:6379"]
    assert ray[4:6] == ["--min-nodes", "2"]
    assert flags(ray) <= ray_options("symmetric-run") | ray_options("start")
    assert command[:2] == ["darumeru", "run"] and command[-1] == "/shared/runs"
    assert flags(command) <= run_options()


def test_the_kubernetes_job_is_whole() -> None:
    job = yaml.safe_load(block("yaml", "apiVersion: ray.io"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:2] == ["darumeru", "run"] and flags(words) <= run_options()
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert {f"--{name}" for name in group["rayStartParams"]} <= ray_options("start")
        [container] = group["template"]["spec"]["containers"]
        volumes = {one["name"] for one in group["template"]["spec"]["volumes"]}
        assert {one["name"] for one in container["volumeMounts"]} == volumes
        assert all("value" not in one for one in container["env"]), "keys come from secrets"
