"""One engine for many checkpoints of the same model: new weights instead of a new start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from darumeru.engines import load_engine
from darumeru.engines.lent import lent
from darumeru.engines.protocol import Engine, EngineOptions
from darumeru.engines.vllm_reload import ReloadFailed
from darumeru.models.config_file import has_experts, telling
from darumeru.models.files import read_json
from darumeru.models.weight_files import find_weights, read_shards

_TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json")


class KeptEngine:
    """`load` is what darumeru.runs.evaluate.run takes in the place of load_engine; `close` ends the engine."""

    def __init__(self) -> None:
        self.engine: Any = None
        self.starts = 0
        self._key: Any = None

    def load(self, name: str, options: EngineOptions) -> Engine:
        """An engine with the weights of options.model: the running one if only they differ. With options.lora: the one
        that runs on the same base, if only the adapter's numbers differ."""
        key = _key(name, options)
        if self.engine is not None and key is not None and key == self._key:
            try:
                if options.lora:
                    self.engine.adapt(options.lora)
                else:
                    self.engine.reload(_stored_weights(Path(options.model)))
            except ReloadFailed:
                self.close()
        else:
            self.close()
        if self.engine is None:
            self.engine = load_engine(name, options)
            self._key = key
            self.starts += 1
        return lent(self.engine)

    def close(self) -> None:
        """End the engine; may be called twice."""
        if self.engine is not None:
            self.engine.close()
        self.engine = self._key = None


def _key(name: str, options: EngineOptions) -> Any:
    """What must be equal for weights to be exchanged; None where that is not possible."""
    if name != "vllm" or options.cluster:
        return None
    folder = Path(options.model)
    config = read_json(folder / "config.json")
    if options.lora:
        return None if options.data_parallel > 1 else _adapter_key(Path(options.lora), options)
    if config.get("quantization_config") or has_experts(config):
        return None
    tokenizer = Path(options.tokenizer or options.model)
    words = tuple((tokenizer / file).read_bytes() for file in _TOKENIZER if (tokenizer / file).is_file())
    shapes = {entry.name: entry.shape for shard in read_shards(folder) for entry in shard.tensors}
    return replace(options, model="", tokenizer=None, log_file=None), words, telling(config), shapes


def _adapter_key(adapter: Path, options: EngineOptions) -> Any:
    """The base as it lies there, and the names and shapes of the adapter's tensors."""
    from darumeru.models.weight_files import read_header

    files = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(find_weights(Path(options.model)))
    ]
    headers = [read_header(path) for path in sorted(adapter.glob("adapter_model*.safetensors"))]
    shapes = {name: entry.shape for header in headers for name, entry in header.items()}
    return (
        replace(options, lora=None, log_file=None),
        files,
        read_json(adapter / "adapter_config.json").get("r"),
        shapes,
    )


def _stored_weights(folder: Path) -> Iterator[tuple[str, Any]]:
    from darumeru.models.weight_parts import read_part

    for path in find_weights(folder):
        yield from read_part(path)
