"""Why vLLM could not load a model, in one line."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from darumeru.core.errors import UserError
from darumeru.engines.protocol import EngineOptions
from darumeru.models.files import read_json

_MOST = 240
# Lists of everything that vLLM knows, and pydantic's account of its input.
_TAILS = re.compile(r"( \[type=| Supported architectures:| Must be one of| Reasons:| Please check the logs).*", re.S)
_KERNEL = re.compile(r"'_OpNamespace' '\w+' object has no attribute '(\w+)'")
_UNINSPECTED = re.compile(r"Model architectures \['(\w+)'.*failed to be inspected", re.S)
_RAISED = re.compile(r"(?:^|\s)([\w.]*(?:Error|Exception)): (.+)$", re.M)


def load_failure(error: Exception, options: EngineOptions) -> UserError:
    """One line for what vLLM's loader raised; the traceback goes to the log file."""
    if options.log_file:
        with Path(options.log_file).open("a", encoding="utf-8") as log:
            traceback.print_exception(error, file=log)
    mend = f"details in {options.log_file}" if options.log_file else ""
    reason = _reason(error, options)
    config = read_json(Path(options.model) / "config.json")
    method = (config.get("quantization_config") or {}).get("quant_method")
    if method and str(method) not in reason:
        reason += f" ({method} weights)"
    return UserError(f"vLLM cannot load the model: {reason}", options.model, mend)


def _reason(error: Exception, options: EngineOptions) -> str:
    said = str(error)
    kernel = _KERNEL.search(said)
    if kernel:
        return f"this build of vLLM has no kernel {kernel[1]}"
    architecture = _UNINSPECTED.search(said)
    if architecture:
        return _import_failure(architecture[1])
    if "root cause" in said and options.log_file:
        # The real exception was raised in a child process and only its log has it.
        raised = _RAISED.findall(Path(options.log_file).read_text(encoding="utf-8", errors="replace"))
        own = [f"{name}: {what}" for name, what in raised if "root cause" not in what]
        if own:
            return own[-1][:_MOST]
    lines = [line.strip() for line in _TAILS.sub("", said).splitlines() if line.strip()]
    # pydantic's first line only counts the errors.
    first = next((line for line in lines if "validation error" not in line and len(line) > 12), "")
    first = first.removeprefix("Value error, ")[:_MOST]
    unlucky = isinstance(error, IndexError | KeyError | AttributeError | AssertionError) or not first
    return f"{type(error).__name__}: {first}".rstrip(": ") if unlucky else first


def _import_failure(architecture: str) -> str:
    """Why vLLM could not look at a model's class: it imports it in a child process, whose words are lost."""
    from vllm.model_executor.models import ModelRegistry

    try:
        ModelRegistry.models[architecture].load_model_cls()
    except ModuleNotFoundError as missing:
        return f"it needs the package {missing.name} for {architecture}, in the build that fits torch"
    except (ImportError, RuntimeError, AttributeError) as broken:
        return f"{architecture} cannot be imported: {str(broken).splitlines()[0]}"
    return f"{architecture} cannot be inspected"
