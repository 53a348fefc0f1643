"""Optional packages: which extra of the project brings one, and the one line for a command that lacks it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from darumeru.core.errors import UserError

# Import name -> the extras of pyproject.toml that bring it.
EXTRAS = {
    "torch": ("cuda", "cpu", "torch"),
    "vllm": ("cuda", "cpu"),
    "accelerate": ("torch", "train"),
    "trl": ("train",),
    "peft": ("train",),
    "lightning": ("lightning",),
    "ray": ("cluster",),
    "datatrove": ("corpus",),
}
_SPOKEN = {"vllm": "vLLM", "ray": "Ray"}


def require(package: str, where: str = "", otherwise: str = "") -> None:
    """UserError where `package` (import name) is not installed; imports nothing. otherwise: another way out."""
    if find_spec(package) is None:
        raise missing(package, where, otherwise)


def missing(package: str, where: str = "", otherwise: str = "") -> UserError:
    """The error for a package that is not installed, with the command that installs it."""
    extras = EXTRAS.get(package)
    words = [f"'darumeru[{extra}]'" for extra in extras] if extras else [package]
    instead = f", {otherwise}" if otherwise else ""
    name = _SPOKEN.get(package, package)
    return UserError(f"{name} is not installed", where, f"pip install {' or '.join(words)}{instead}")


def installed(names: Iterable[str]) -> dict[str, str]:
    """Package -> version, of those that are installed; names as pip has them."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
