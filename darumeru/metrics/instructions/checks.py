"""Which check belongs to which instruction."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from darumeru.core.errors import UserError, near_names
from darumeru.metrics.instructions import form, language, lengths, words
from darumeru.metrics.instructions.rule import Rule

Check = Callable[[Rule, str], bool]

CHECKS: Mapping[str, Check] = {
    "keywords:existence": words.existence,
    "keywords:frequency": words.frequency,
    "keywords:forbidden_words": words.forbidden_words,
    "keywords:letter_frequency": words.letter_frequency,
    "language:response_language": language.response_language,
    "length_constraints:number_sentences": lengths.number_sentences,
    "length_constraints:number_words": lengths.number_words,
    "length_constraints:number_paragraphs": lengths.number_paragraphs,
    "length_constraints:nth_paragraph_first_word": lengths.nth_paragraph_first_word,
    "detectable_content:number_placeholders": form.number_placeholders,
    "detectable_content:postscript": form.postscript,
    "detectable_format:number_bullet_lists": form.number_bullets,
    "detectable_format:constrained_response": form.constrained_response,
    "detectable_format:number_highlighted_sections": form.number_highlights,
    "detectable_format:multiple_sections": form.multiple_sections,
    "detectable_format:json_format": form.json_format,
    "detectable_format:title": form.title,
    "combination:two_responses": form.two_responses,
    "combination:repeat_prompt": form.repeat_prompt,
    "startend:end_checker": form.end_checker,
    "startend:quotation": form.quotation,
    "change_case:capital_word_frequency": words.capital_words,
    "change_case:english_capital": language.all_capitals,
    "change_case:english_lowercase": language.all_lowercase,
    "punctuation:no_comma": form.no_comma,
}


def followed(rule: Rule, answer: str) -> bool:
    """Whether the answer does what the instruction says; a blank one does nothing. UserError for an instruction that is
    not known or lacks what it needs."""
    if rule.id not in CHECKS:
        raise UserError(f"unknown instruction `{rule.id}`", near=near_names(rule.id, CHECKS))
    return bool(answer.strip()) and CHECKS[rule.id](rule, answer)
