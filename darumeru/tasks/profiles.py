"""Profiles: named, complete sets of the choices on which paper and programs disagree (SPEC of the benchmark)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from darumeru.core.errors import UserError, near_names


@dataclass(frozen=True)
class Profile:
    """choice_rule: how the probability of an answer is read (prompts/choice_tokens.py, RULES): "whole" (exactly that of
    the answer, with or without a space before it), "first_token" (the authors' current rule) or "continuation" (the one
    of 2024: the one token that follows). top_k: answers below this rank get probability 0.
    subject_limit: --limit N gives N // 57 + 1 questions of each MMLU subject instead of N in all. prompt_limit: most
    tokens of a prompt, beside what prompt and answer may have together.
    plain_format: how a model without a chat template is asked (prompts/plain.py, FORMATS). plain_bos: whether with BOS
    in front whatever the tokenizer does. plain_stop: texts that end its answers, beside the task's own.
    spare_reference: of those, one that the text to be copied holds itself ends nothing.
    Choices that concern single tasks stand in the task's own YAML under `profiles`.
    """

    name: str
    description: str
    choice_rule: str = "whole"
    top_k: int | None = None
    subject_limit: bool = False
    prompt_limit: int | None = None
    plain_format: str = "simple"
    plain_bos: bool = False
    plain_stop: tuple[str, ...] = ("\n", "\n\n")
    spare_reference: bool = False

    def stops(self, own: Sequence[str], chat: bool, reference: str = "") -> tuple[str, ...]:
        """Texts that end an answer. own: the task's; reference: the text that a copying task asks for."""
        spared = reference if self.spare_reference else ""
        more = () if chat else (stop for stop in self.plain_stop if stop not in spared)
        return tuple(dict.fromkeys((*own, *more)))


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("darumeru", "the paper's protocol with every known defect mended (default)", spare_reference=True),
        Profile("paper", "what the text of the paper says, word for word", spare_reference=True),
        Profile(
            "llmtf-2024",
            "what the program behind the paper's tables did (commit of 2024-07-18), sampling excepted",
            choice_rule="continuation",
            top_k=50,
            subject_limit=True,
            prompt_limit=4000,
            plain_bos=True,
        ),
        Profile(
            "llmtf-head",
            "the authors' current program (2026-06-24), sampling excepted",
            choice_rule="first_token",
            top_k=50,
            subject_limit=True,
            prompt_limit=4000,
            plain_bos=True,
            plain_format="query_response",
            plain_stop=("\n\n",),
        ),
    )
}


def profile_named(name: str) -> Profile:
    """The profile, or a UserError with the nearest names."""
    if name not in PROFILES:
        raise UserError(
            f"unknown profile `{name}`", near=near_names(name, PROFILES), mend=f"known: {', '.join(PROFILES)}"
        )
    return PROFILES[name]
