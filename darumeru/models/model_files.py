"""A model's files, found and judged before anything heavy is imported."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError, near_names
from darumeru.models.weight_files import find_weights, fingerprint_weights, read_json

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "chat_template.json", "vocab.json", "merges.txt", "vocab.txt", "spiece.model",
    "sentencepiece.bpe.model", "tekken.json", "*.tiktoken", "*.jinja",
)  # fmt: skip
VOCABULARIES = (
    "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model",
    "tekken.json", "*.tiktoken",
)  # fmt: skip
SMALL_FILES = ("config.json", "generation_config.json", "*.index.json", *TOKENIZER_FILES)
CONTEXT_KEYS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length", "max_sequence_length",
)  # fmt: skip
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+|[\w-]+[\w.-]*")
_SNAPSHOT = re.compile(r"models--(?P<owner>.+?)--(?P<name>.+)")
# Says nothing about what the model computes.
_IDLE_CONFIG_KEYS = ("transformers_version", "_name_or_path", "torch_dtype_origin")


@dataclass(frozen=True)
class ModelFiles:
    """path: the folder. name: the Hub id or the folder's name. revision: the Hub commit. config: config.json.

    fingerprint: hash over weights, config and generation config (see `fingerprint_weights` for what of large weights
    is read). tokenizer_fingerprint: hash over all tokenizer files and the chat template. context_length: positions
    the model was made for, None when its config does not say.
    """

    path: Path
    name: str
    revision: str | None
    config: Mapping[str, Any]
    has_chat_template: bool
    fingerprint: str
    tokenizer_fingerprint: str
    context_length: int | None


def find_model(
    name_or_path: str, revision: str | None = None, trust_remote_code: bool = False, weights: bool = True
) -> ModelFiles:
    """The files of a model folder or Hub id (downloaded into the Hub cache; HF_HUB_OFFLINE is honoured).

    weights: False looks at the tokenizer alone. Raises UserError for whatever would stop the model from loading:
    nothing there, no config, no tokenizer, no weights, pickled weights, remote code without the flag, files cut short.
    """
    local = _local_folder(name_or_path)
    folder = local or _download(name_or_path, revision, SMALL_FILES)
    config = _config(folder, needed=weights)
    tokenizer_config = _optional_json(folder / "tokenizer_config.json")
    if not trust_remote_code:
        _refuse_remote_code(folder, config, tokenizer_config)
    if not any(any(folder.glob(pattern)) for pattern in VOCABULARIES):
        raise UserError("no tokenizer (tokenizer.json or the like)", str(folder), "name one with --tokenizer")
    fingerprint = ""
    if weights:
        if local is None:
            folder = _download(name_or_path, revision, (*SMALL_FILES, "*.safetensors", "*.py"))
        fingerprint = _model_fingerprint(folder, config)
    name, commit = _identity(folder, name_or_path, local is not None)
    return ModelFiles(
        path=folder,
        name=name,
        revision=commit,
        config=config,
        has_chat_template=bool(tokenizer_config.get("chat_template"))
        or any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")),
        fingerprint=fingerprint,
        tokenizer_fingerprint=_tokenizer_fingerprint(folder),
        context_length=_context_length(config, tokenizer_config),
    )


def fingerprint_folder(folder: Path) -> str:
    """Hash over a LoRA adapter; UserError when the folder holds none in safetensors."""
    if not folder.is_dir():
        raise UserError("no such adapter folder", str(folder), near=_near(folder))
    if not (folder / "adapter_config.json").is_file():
        raise UserError("no adapter_config.json: not a PEFT adapter", str(folder))
    config = read_json(folder / "adapter_config.json")
    files = sorted(folder.glob("adapter_model*.safetensors"))
    if not files:
        pickled = (folder / "adapter_model.bin").is_file()
        what = (
            "only a pickled adapter; it can run code, so it is refused" if pickled else "no adapter_model.safetensors"
        )
        raise UserError(what, str(folder))
    return hashlib.sha256((fingerprint_weights(files) + _stable(config)).encode()).hexdigest()


def _local_folder(name: str) -> Path | None:
    if not name:
        raise UserError("is empty", "--model", "give a folder or a Hub id")
    path = Path(name).expanduser()
    if path.is_dir():
        return path.absolute()
    if path.is_file():
        raise UserError("a file, not a model folder", name, "give the folder that holds config.json")
    first = Path(name).parts[0]
    if not _HUB_ID.fullmatch(name) or name.startswith((".", "~", "/")) or ("/" in name and Path(first).is_dir()):
        raise UserError("no such model folder", name, near=_near(path))
    return None


def _near(path: Path) -> list[str]:
    parent = path.expanduser().parent
    if not parent.is_dir():
        return []
    folders = [child.name for child in parent.iterdir() if child.is_dir() and not child.name.startswith(".")]
    return [str(parent / name) for name in near_names(path.name, folders)]


def _download(name: str, revision: str | None, patterns: Sequence[str]) -> Path:
    from huggingface_hub import errors, snapshot_download

    where = f"{name}@{revision}" if revision else name
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except errors.GatedRepoError as error:
        raise UserError("a gated model", where, "ask for access on its Hub page and run `hf auth login`") from error
    except errors.RevisionNotFoundError as error:
        raise UserError("the Hub has no such revision of this model", where) from error
    except errors.RepositoryNotFoundError as error:
        mend = "check the spelling; a private model needs `hf auth login`"
        raise UserError("neither a folder here nor a model on the Hub", where, mend) from error
    except errors.HFValidationError as error:
        raise UserError("neither a folder here nor a Hub id", where) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, errors.HfHubHTTPError, OSError) as error:
        mend = "go online or give a local folder"
        raise UserError("no such folder, and the Hub cannot be reached for it", where, mend) from error


def _config(folder: Path, needed: bool) -> dict[str, Any]:
    path = folder / "config.json"
    if path.is_file():
        return read_json(path)
    if not needed:
        return {}
    if (folder / "adapter_config.json").is_file():
        raise UserError("a LoRA adapter, not a model", str(folder), "give the base model and --lora with this folder")
    if any(folder.glob("*.gguf")):
        raise UserError("only GGUF weights; safetensors are needed", str(folder), "take the original safetensors model")
    inner = sorted(child.name for child in folder.iterdir() if (child / "config.json").is_file())
    mend = f"perhaps {folder / inner[-1]}" if inner else "is this the folder of a model?"
    raise UserError("no config.json", str(folder), mend)


def _refuse_remote_code(folder: Path, config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> None:
    mend = "read that code, then pass --trust-remote-code"
    if config.get("auto_map") and not _transformers_has(str(config.get("model_type", ""))):
        raise UserError("the model needs code of its own, which is not run unasked", str(folder), mend)
    if "AutoTokenizer" in (tokenizer.get("auto_map") or {}) and not (folder / "tokenizer.json").is_file():
        raise UserError("the tokenizer needs code of its own, which is not run unasked", str(folder), mend)


def _transformers_has(model_type: str) -> bool:
    """Whether the installed transformers has this model built in; looks for its folder, imports nothing."""
    spec = importlib.util.find_spec("transformers")
    if not model_type or spec is None or spec.origin is None:
        return False
    return (Path(spec.origin).parent / "models" / model_type.replace("-", "_")).is_dir()


def _model_fingerprint(folder: Path, config: Mapping[str, Any]) -> str:
    weights = fingerprint_weights(find_weights(folder))
    generation = _optional_json(folder / "generation_config.json")
    return hashlib.sha256((weights + _stable(config) + _stable(generation)).encode()).hexdigest()


def _stable(config: Mapping[str, Any]) -> str:
    telling = {key: value for key, value in config.items() if key not in _IDLE_CONFIG_KEYS}
    return json.dumps(telling, sort_keys=True)


def _tokenizer_fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted({path for pattern in TOKENIZER_FILES for path in folder.glob(pattern)}):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _identity(folder: Path, given: str, is_local: bool) -> tuple[str, str | None]:
    """Name and commit; a folder inside the Hub cache gives both too."""
    snapshot = _SNAPSHOT.fullmatch(folder.parent.parent.name) if folder.parent.name == "snapshots" else None
    if snapshot:
        return f"{snapshot['owner']}/{snapshot['name']}", folder.name
    return (folder.name if is_local else given), None


def _context_length(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> int | None:
    text = config.get("text_config")
    nested = text if isinstance(text, dict) else {}
    lengths = [part[key] for part in (config, nested) for key in CONTEXT_KEYS if isinstance(part.get(key), int)]
    if not lengths:
        return None
    # vLLM also holds to the tokenizer's limit; "no limit" is written as a number beyond any context.
    limit = tokenizer.get("model_max_length")
    return min(lengths[0], int(limit)) if isinstance(limit, int | float) and limit > 0 else int(lengths[0])
