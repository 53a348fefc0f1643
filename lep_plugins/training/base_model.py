"""A small base model from nothing, as a step: a byte-level BPE tokenizer of a corpus and random weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from darumeru.adaptation.protocols import Candidate, StepContext
from darumeru.core.errors import UserError
from lep_plugins.vocabulary.corpus import Corpus

SPECIAL = ("<|begin|>", "<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>")
DIGITS_APART = r"\p{N}"


@dataclass(frozen=True)
class BaseModel:
    """A Llama. corpus: what the tokenizer is trained on (the first `texts` pieces of it). vocabulary: tokens; hidden,
    layers, heads (each at least 32 wide), intermediate (default 5/2 hidden), context; tied: one matrix for both
    embeddings. Weights are drawn from a normal distribution of standard deviation `spread`."""

    corpus: tuple[str, ...] = ()
    vocabulary: int = 3072
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    intermediate: int | None = None
    context: int = 2048
    tied: bool = False
    spread: float = 0.06
    texts: int = 4000

    name = "base_model"
    from_nothing = True

    @property
    def planned_parameters(self) -> int:
        """Parameters of the model, for a plan before it is made."""
        attention, wide = 4 * self.hidden**2, 3 * self.hidden * self._intermediate
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * (attention + wide + 2 * self.hidden) + self.hidden

    @property
    def _intermediate(self) -> int:
        return self.intermediate or self.hidden * 5 // 2

    def run(self, context: StepContext, candidate: Candidate) -> Iterator[Candidate]:
        """Yield the model; `candidate` is not looked at."""
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from darumeru.models.live_weights import checkpoint_weights
        from darumeru.models.model_folder import write_model

        Corpus.of(self.corpus)
        if self.hidden % self.heads or self.hidden // self.heads < 32:
            mend = "hidden is a multiple of heads, at least 32 times as large"
            raise UserError(f"hidden {self.hidden}, heads {self.heads}", self.name, mend)
        tokenizer = self.tokenizer()
        torch.manual_seed(context.seed)
        config = LlamaConfig(
            vocab_size=-(-len(tokenizer) // 64) * 64,
            hidden_size=self.hidden,
            intermediate_size=self._intermediate,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.heads,
            max_position_embeddings=self.context,
            tie_word_embeddings=self.tied,
            initializer_range=self.spread,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            dtype="float32",
        )
        folder = context.output / "model"
        model = LlamaForCausalLM(config)
        write_model(model, tokenizer, folder, checkpoint_weights(model))
        yield Candidate(folder, self.name, asdict(self), (), None, f"{self.name}-{self.hidden}x{self.layers}")

    def tokenizer(self) -> Any:
        """A PreTrainedTokenizerFast: byte-level BPE, digits one by one, the tokens of a chat template reserved."""
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
        from transformers import PreTrainedTokenizerFast

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(DIGITS_APART), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocabulary,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        each = max(1, self.texts // len(self.corpus))
        pieces = (text for path in self.corpus for text in islice(Corpus.of([path]).texts(), each))
        tokenizer.train_from_iterator(pieces, trainer)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{SPECIAL[0]} $A",
            pair=f"{SPECIAL[0]} $A $B",
            special_tokens=[(SPECIAL[0], tokenizer.token_to_id(SPECIAL[0]))],
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token=SPECIAL[0], eos_token=SPECIAL[1], pad_token=SPECIAL[2]
        )
