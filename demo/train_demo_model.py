"""Train the demo model: a small bilingual model that copies text and answers in the benchmark's formats.

    python demo/train_demo_model.py --corpus FILES --output demo/darumeru-demo [--minutes 30] [--threads 2]

Corpus files are plain text, .txt or .txt.xz, Russian and English; paragraphs are lines. What is trained: copying random
token sequences (which forms induction heads quickly), then copying sentences and paragraphs of the corpora on
instructions in many wordings, and answering choice questions with a letter or digit. The model learns no facts.
"""

from __future__ import annotations

import argparse
import lzma
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<|begin|>", "<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
COPY_INSTRUCTIONS = {
    "ru": (
        "Скопируй следующий текст без изменений.\n{}",
        "Повтори текст слово в слово:\n{}",
        "Перепиши этот текст точно, ничего не меняя.\n\n{}",
        "Дословно воспроизведи приведённый ниже текст.\nТекст: {}",
        "Выведи без изменений данный фрагмент:\n{}",
        "Твоя задача — скопировать текст. Ничего не добавляй и не пропускай.\n{}",
        "Скопируй предложение: {}",
        "Прочитай и повтори в точности:\n{}",
        "Ниже дан текст. Напиши его ещё раз без единой правки.\n{}",
    ),
    "en": (
        "Copy the following text without any changes.\n{}",
        "Repeat the text word for word:\n{}",
        "Reproduce this passage exactly.\n\n{}",
        "Write the sentence below again, unchanged.\nText: {}",
        "Output the given fragment verbatim:\n{}",
        "Your task is to copy the text. Add nothing and leave nothing out.\n{}",
        "Copy this: {}",
    ),
}
ANSWER = {"ru": "Ответ:", "en": "Answer:"}
CHOICES = {
    "ru": (("A", "B", "C", "D"), ("1", "2"), ("1", "2", "3"), ("Да", "Нет"), ("0", "1")),
    "en": (("A", "B", "C", "D"),),
}


@dataclass(frozen=True)
class Example:
    """Token ids of one conversation; only ids from `start` on are learnt."""

    ids: list[int]
    start: int


def read_paragraphs(files: Sequence[str]) -> dict[str, list[str]]:
    """Paragraphs by language: a text is Russian when most of its letters are Cyrillic."""
    found: dict[str, list[str]] = {"ru": [], "en": []}
    for name in files:
        opener = lzma.open if name.endswith(".xz") else open
        with opener(name, "rt", encoding="utf-8") as file:
            for line in file:
                text = " ".join(line.split())
                if 30 <= len(text) <= 2000:
                    cyrillic = sum("а" <= letter <= "я" or letter == "ё" for letter in text.lower())
                    found["ru" if cyrillic * 2 > len(text) else "en"].append(text)
    return found


def train_tokenizer(texts: dict[str, list[str]], size: int, rng: np.random.Generator) -> PreTrainedTokenizerFast:
    """Byte-level BPE with single digits, on as much Russian as English."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\p{N}"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sample = [text for language in texts.values() for text in rng.permutation(language)[:30_000]]
    tokenizer.train_from_iterator(sample, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=SPECIAL[0], eos_token=SPECIAL[1], pad_token=SPECIAL[2]
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


class Examples:
    """Draws training examples of about a given length."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, texts: dict[str, list[str]], rng: np.random.Generator
    ) -> None:
        self.tokenizer, self.texts, self.rng = tokenizer, texts, rng
        self.special = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
        self.newline = self.encode("\n")

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def chat(self, user: list[int], opened: list[int], answer: list[int]) -> Example:
        """One turn in the chat template, the assistant's message after `opened` learnt."""
        front = [self.special["<|begin|>"], self.special["<|user|>"], *self.newline, *user, self.special["<|end|>"]]
        front += [*self.newline, self.special["<|assistant|>"], *self.newline, *opened]
        return Example([*front, *answer, self.special["<|end|>"]], len(front))

    def random_copy(self, length: int) -> Example:
        """Copy random tokens, in chat format or bare, sometimes of a small alphabet."""
        alphabet = self.rng.integers(len(SPECIAL), len(self.tokenizer), size=int(self.rng.choice([20, 200, 5000])))
        ids = [int(i) for i in self.rng.choice(alphabet, size=length)]
        if self.rng.random() < 0.3:
            return Example([self.special["<|begin|>"], *ids, *self.newline, *ids, self.special["<|end|>"]], length + 2)
        language = "ru" if self.rng.random() < 0.5 else "en"
        instruction = self.rng.choice(COPY_INSTRUCTIONS[language])
        before, after = instruction.split("{}")
        return self.chat([*self.encode(before), *ids, *self.encode(after)], self.encode(ANSWER[language]), ids)

    def text_copy(self, length: int) -> Example:
        """Copy a piece of a paragraph of about `length` tokens."""
        language = "ru" if self.rng.random() < 0.6 else "en"
        text = self.piece(language, length)
        instruction = str(self.rng.choice(COPY_INSTRUCTIONS[language])).replace("{}", text)
        opened = ANSWER[language] if self.rng.random() < 0.85 else ""
        return self.chat(self.encode(instruction), self.encode(opened), self.encode((" " if opened else "") + text))

    def piece(self, language: str, length: int) -> str:
        paragraphs = self.texts[language]
        text = paragraphs[int(self.rng.integers(len(paragraphs)))]
        while len(text) < length * 3:
            text += " " + paragraphs[int(self.rng.integers(len(paragraphs)))]
        words = text.split(" ")
        start = int(self.rng.integers(max(1, len(words) - length // 2)))
        return " ".join(words[start:])[: int(length * 3.2)].rsplit(" ", 1)[0]

    def choice(self, length: int) -> Example:
        """A text with options, answered by one of them: the format, not the knowledge."""
        language = "ru" if self.rng.random() < 0.7 else "en"
        kinds = CHOICES[language]
        labels = kinds[int(self.rng.integers(len(kinds)))]
        text = self.piece(language, max(8, length // 2))
        lines = [f"{label}. {self.piece(language, 6)}" for label in labels] if len(labels) > 2 else [" / ".join(labels)]
        answer = str(self.rng.choice(labels))
        return self.chat(
            self.encode("\n".join([text, *lines])), self.encode(ANSWER[language]), self.encode(f" {answer}")
        )


def batches(examples: Examples, step: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """ids [B, L] and labels [B, L] (-100 = not learnt). Lengths grow with the steps; text replaces random tokens."""
    rng = examples.rng
    # Copying begins with short sequences: there the way back is short and induction heads form.
    longest = int(min(200, 10 + step * 0.06))
    length = int(rng.integers(max(6, longest // 6), longest + 1))
    random_share = max(0.2, 0.95 - step / 2500)
    rows: list[Example] = []
    total = 0
    while total < tokens:
        draw = rng.random()
        if draw < 0.06:
            row = examples.choice(length)
        elif draw < random_share:
            row = examples.random_copy(length)
        else:
            row = examples.text_copy(length)
        rows.append(row)
        total += len(row.ids)
    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), examples.special["<|pad|>"])
    labels = torch.full((len(rows), width), -100)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = torch.tensor(row.ids)
        labels[number, row.start : len(row.ids)] = torch.tensor(row.ids[row.start :])
    return ids, labels


def make_model(tokenizer: PreTrainedTokenizerFast, hidden: int, layers: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 5 // 2,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 32,
        head_dim=32,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        initializer_range=0.06,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def held_out(
    model: LlamaForCausalLM, examples: Examples, texts: dict[str, list[str]], count: int = 12
) -> dict[str, float]:
    """Share of held-out pieces (by language) that are copied exactly, greedily."""
    model.eval()
    found = {}
    kept, examples.texts = examples.texts, texts
    for language in ("ru", "en"):
        hits = 0
        for _ in range(count):
            text = examples.piece(language, 60)
            user = examples.encode(COPY_INSTRUCTIONS[language][0].replace("{}", text))
            one = examples.chat(user, examples.encode(ANSWER[language]), examples.encode(" " + text))
            prompt = torch.tensor([one.ids[: one.start]])
            with torch.no_grad():
                answer = model.generate(prompt, max_new_tokens=len(one.ids), do_sample=False)[0, one.start :]
            hits += answer.tolist()[: len(one.ids) - one.start] == one.ids[one.start :]
        found[language] = hits / count
    examples.texts = kept
    model.train()
    return found


def schedule(elapsed: float, budget: float, step: int, peak: float) -> float:
    """Learning rate: 100 steps of warm-up, then a cosine over the time budget."""
    return (
        peak * min(1.0, (step + 1) / 100) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, elapsed / budget))))
    )


def train(
    model: LlamaForCausalLM, examples: Examples, unseen: dict[str, list[str]], asked: argparse.Namespace
) -> Iterator[int]:
    """Train until the time is used up; yields now and then, so that the caller can save."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=asked.rate, betas=(0.9, 0.98), weight_decay=0.05)
    began, step, losses = time.monotonic(), 0, []
    while (elapsed := time.monotonic() - began) < asked.minutes * 60:
        for group in optimizer.param_groups:
            group["lr"] = schedule(elapsed, asked.minutes * 60, step, asked.rate)
        ids, labels = batches(examples, step, asked.tokens)
        hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
        learnt = labels[:, 1:] != -100
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[learnt]), labels[:, 1:][learnt])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        step += 1
        if step % 100 == 0:
            print(f"step {step}, {elapsed:.0f} s, loss {np.mean(losses[-100:]):.4f}", flush=True)
        if step % 1000 == 0:
            print(f"  copied exactly: {held_out(model, examples, unseen)}", flush=True)
            yield step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", nargs="+", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=3072)
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=2048, help="tokens a step")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    rng = np.random.default_rng(asked.seed)
    texts = read_paragraphs(asked.corpus)
    unseen = {language: paragraphs[::50] for language, paragraphs in texts.items()}
    seen = {language: [t for n, t in enumerate(paragraphs) if n % 50] for language, paragraphs in texts.items()}
    tokenizer = train_tokenizer(seen, asked.vocab, rng)
    model = make_model(tokenizer, asked.hidden, asked.layers)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    examples = Examples(tokenizer, seen, rng)
    for _ in train(model, examples, unseen, asked):
        save(model, tokenizer, asked.output)
    save(model, tokenizer, asked.output)
    print(f"copied exactly: {held_out(model, examples, unseen, 50)}", flush=True)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, output: str) -> None:
    """Write the model folder; weights and arithmetic are float32, so that greedy answers do not hang on rounding."""
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)


if __name__ == "__main__":
    main()
