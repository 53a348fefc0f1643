"""The tokenizer of the result: the donor's, with the target's added tokens, special-token map and chat template."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.models.files import optional_json, read_json, write_json
from darumeru.models.token_bytes import load_tokenizer
from lep_plugins.propagation.relation import Relation
from lep_plugins.propagation.special_tokens import LISTED, NAMED, special_map

FROM_TARGET = ("chat_template", "model_max_length", "padding_side", "truncation_side", "response_schema")
"""Settings of tokenizer_config.json that belong to how the model is used, not to how text is cut."""

TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")
TEMPLATE_FOLDER = "additional_chat_templates"


@dataclass(frozen=True)
class ResultTokenizer:
    """Written as files, with no tokenizer class in between that could rearrange them."""

    donor: Path
    target: Path
    relation: Relation

    def save_pretrained(self, save_directory: str) -> None:
        """Write tokenizer.json, tokenizer_config.json and the target's chat templates into a folder. UserError: the
        tokenizer does not give an appended token the id that its row has."""
        folder = Path(save_directory)
        tokenizer = self._tokenizer()
        write_json(folder / "tokenizer.json", tokenizer)
        write_json(folder / "tokenizer_config.json", self._config(tokenizer["added_tokens"]))
        for name in TEMPLATE_FILES:
            if (self.target / name).is_file():
                shutil.copyfile(self.target / name, folder / name)
        if (self.target / TEMPLATE_FOLDER).is_dir():
            shutil.copytree(self.target / TEMPLATE_FOLDER, folder / TEMPLATE_FOLDER)
        read = load_tokenizer(folder)
        for name, token_id in self.relation.new_ids.items():
            if read.token_to_id(name) != token_id:
                mend = "its ids have holes; save it with contiguous ids"
                raise UserError(f"the donor's tokenizer cannot take token {name}", str(self.donor), mend)

    def _tokenizer(self) -> dict[str, Any]:
        """The donor's tokenizer.json with the appended tokens."""
        tokenizer = read_json(self.donor / "tokenizer.json")
        records = [{"id": self.relation.new_ids[token.content], **token.record()} for token in self.relation.appended]
        tokenizer["added_tokens"] = [*(tokenizer.get("added_tokens") or []), *records]
        return tokenizer

    def _config(self, added: list[dict[str, Any]]) -> dict[str, Any]:
        donor, target = (optional_json(folder / "tokenizer_config.json") for folder in (self.donor, self.target))
        kept = {key: value for key, value in donor.items() if key not in (*NAMED, *LISTED, *FROM_TARGET)}
        config = {"tokenizer_class": "PreTrainedTokenizerFast"} | kept | special_map(self.target)
        config |= {key: target[key] for key in FROM_TARGET if key in target}
        if "added_tokens_decoder" in donor or "added_tokens_decoder" in target:
            flags = {str(token["id"]): {key: token[key] for key in token if key != "id"} for token in added}
            config["added_tokens_decoder"] = flags
        return config
