"""Tensor-level checkpoint I/O.

`open_checkpoint` reads headers only. `write_checkpoint` rewrites the shards that hold a changed tensor and links all
others, so an 8B model costs the memory of a few row chunks and the time of its embeddings.
"""

from darumeru.models.checkpoint_folder import Checkpoint, open_checkpoint, with_vocab_size
from darumeru.models.checkpoint_names import VocabularyTensors, text_config
from darumeru.models.checkpoint_output import check_disk, check_memory, check_output
from darumeru.models.checkpoint_read import TensorEntry, read_json
from darumeru.models.checkpoint_write import TOKENIZER_FILES, Progress, Replacement, SavesTokenizer, write_checkpoint

__all__ = [
    "TOKENIZER_FILES",
    "Checkpoint",
    "Progress",
    "Replacement",
    "SavesTokenizer",
    "TensorEntry",
    "VocabularyTensors",
    "check_disk",
    "check_memory",
    "check_output",
    "open_checkpoint",
    "read_json",
    "text_config",
    "with_vocab_size",
    "write_checkpoint",
]
