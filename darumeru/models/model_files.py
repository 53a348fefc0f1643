"""A model's files, found and judged before anything heavy is imported."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.models.adapters import read_adapter
from darumeru.models.checkpoint_names import embedding_rows
from darumeru.models.config_file import context_length, judge_config, judge_tokenizer_config
from darumeru.models.files import near_folders, optional_json, require_regular
from darumeru.models.fingerprints import fingerprint_model, fingerprint_tokenizer
from darumeru.models.weight_files import ADAPTER_CONFIG, Shard, read_shards

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "chat_template.json", "vocab.json", "merges.txt", "vocab.txt", "spiece.model",
    "sentencepiece.bpe.model", "tekken.json", "*.tiktoken", "*.jinja",
)  # fmt: skip
VOCABULARIES = (
    "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model",
    "tekken.json", "*.tiktoken",
)  # fmt: skip
SMALL_FILES = ("config.json", "generation_config.json", "*.index.json", ADAPTER_CONFIG, *TOKENIZER_FILES)
UNUSED = ["consolidated*"]  # Mistral's own format, a second copy of the weights
WEIGHTS, CODE = "*.safetensors", "*.py"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+|[\w-]+[\w.-]*")
_SNAPSHOT = re.compile(r"models--(?P<owner>.+?)--(?P<name>.+)")


@dataclass(frozen=True)
class ModelFiles:
    """path: the folder. name: the Hub id or the folder's name. revision: the Hub commit. config: config.json.

    shards: its weight files, none where only a tokenizer was asked for. embedding_rows: rows of its embedding, None
    where that is not known.
    """

    path: Path
    name: str
    revision: str | None
    config: Mapping[str, Any]
    tokenizer_config: Mapping[str, Any]
    shards: tuple[Shard, ...]
    embedding_rows: int | None

    @cached_property
    def fingerprint(self) -> str:
        """Of weights, configurations and own code (see fingerprints); "" without weights."""
        if not self.shards:
            return ""
        generation = optional_json(self.path / "generation_config.json")
        code = self.path.glob(CODE) if self.config.get("auto_map") else ()
        return fingerprint_model(self.shards, self.config, generation, code=code)

    @cached_property
    def tokenizer_fingerprint(self) -> str:
        """Of all tokenizer files and the chat template."""
        return fingerprint_tokenizer(tokenizer_files(self.path))

    @property
    def has_chat_template(self) -> bool:
        files = ("chat_template.jinja", "chat_template.json")
        return bool(self.tokenizer_config.get("chat_template")) or any((self.path / name).is_file() for name in files)

    @property
    def context_length(self) -> int | None:
        """Positions the model was made for; None when its files do not say."""
        return context_length(self.config, self.tokenizer_config)


def find_model(
    name_or_path: str, revision: str | None = None, trust_remote_code: bool = False, weights: bool = True
) -> ModelFiles:
    """The files of a model folder or Hub id (downloaded into the Hub cache; HF_HUB_OFFLINE is honoured).

    weights: False looks at the tokenizer alone. Raises UserError for whatever would stop the model from loading:
    nothing there, no config, no tokenizer, no weights, pickled weights, remote code without the flag, files cut short,
    damaged or not regular, fields of a wrong kind.
    """
    local = _local_folder(name_or_path)
    folder = local or _download(name_or_path, revision, SMALL_FILES)
    _require_regular_files(folder)
    if weights and not (folder / "config.json").exists():
        raise _no_config(folder)
    config = _judged(folder / "config.json", judge_config)
    tokenizer_config = _judged(folder / "tokenizer_config.json", judge_tokenizer_config)
    _judged(folder / "generation_config.json", judge_config)
    if not trust_remote_code:
        _refuse_remote_code(folder, config, tokenizer_config)
    if not any(any(folder.glob(pattern)) for pattern in VOCABULARIES):
        raise UserError("no tokenizer (tokenizer.json or the like)", str(folder), "name one with --tokenizer")
    shards: tuple[Shard, ...] = ()
    if weights:
        if local is None:
            folder = _download(name_or_path, revision, (*SMALL_FILES, WEIGHTS, CODE))
        shards = read_shards(folder)
    tensors = {entry.name: entry for shard in shards for entry in shard.tensors}
    name, commit = _identity(folder, name_or_path, local is not None)
    rows = embedding_rows(config, tensors, str(folder))
    return ModelFiles(folder, name, commit, config, tokenizer_config, shards, rows)


def find_folder(name_or_path: str | Path, revision: str | None = None, weights: bool = True) -> Path:
    """The folder of a model, adapter or tokenizer, or the Hub's snapshot of that name, unjudged. weights: whether they
    are needed. UserError: there is none."""
    name = str(name_or_path)
    return _local_folder(name) or _download(name, revision, (*SMALL_FILES, *((WEIGHTS, CODE) if weights else ())))


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of a folder that make its tokenizer, chat template included."""
    return sorted({path for pattern in TOKENIZER_FILES for path in folder.glob(pattern) if path.is_file()})


def fingerprint_folder(folder: Path) -> str:
    """Hash over a LoRA adapter; UserError when the folder holds none in safetensors."""
    return read_adapter(folder).fingerprint


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
        raise UserError("no such model folder", name, near=near_folders(path))
    return None


def _download(name: str, revision: str | None, patterns: Sequence[str]) -> Path:
    from huggingface_hub import errors, snapshot_download

    where = f"{name}@{revision}" if revision else name
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns), ignore_patterns=UNUSED))
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


def _judged(path: Path, judge: Callable[[Mapping[str, Any], Path], None]) -> dict[str, Any]:
    """The JSON object of a file whose fields are of the right kinds; an empty one where there is no file."""
    found = optional_json(path)
    judge(found, path)
    return found


def _no_config(folder: Path) -> UserError:
    if (folder / ADAPTER_CONFIG).is_file():
        return UserError("a LoRA adapter, not a model", str(folder), "give the base model and --lora with this folder")
    if any(folder.glob("*.gguf")):
        mend = "take the original safetensors model"
        return UserError("only GGUF weights; safetensors are needed", str(folder), mend)
    inner = sorted(child.name for child in folder.iterdir() if (child / "config.json").is_file())
    mend = f"perhaps {folder / inner[-1]}" if inner else "is this the folder of a model?"
    return UserError("no config.json", str(folder), mend)


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


def _require_regular_files(folder: Path) -> None:
    for path in sorted({path for pattern in SMALL_FILES for path in folder.glob(pattern) if not path.is_dir()}):
        require_regular(path)


def _identity(folder: Path, given: str, is_local: bool) -> tuple[str, str | None]:
    """Name and commit; a folder inside the Hub cache gives both too."""
    snapshot = _SNAPSHOT.fullmatch(folder.parent.parent.name) if folder.parent.name == "snapshots" else None
    if snapshot:
        return f"{snapshot['owner']}/{snapshot['name']}", folder.name
    return (folder.name if is_local else given), None
