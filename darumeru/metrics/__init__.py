"""Metrics by name: the project's own, and those of plugins (entry points "darumeru.metrics": name -> an instance)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from darumeru.core.registry import Registry

if TYPE_CHECKING:
    from darumeru.metrics.protocol import Metric, SampleMetric

__all__ = ["METRICS", "metric", "metric_names"]

BUILTIN = {
    "acc": "darumeru.metrics.choice:ACCURACY",
    "acc_startswith": "darumeru.metrics.choice:ACCURACY_STARTSWITH",
    "acc_both_orders": "darumeru.metrics.choice:ACCURACY_BOTH_ORDERS",
    "acc_norm": "darumeru.metrics.choice:ACCURACY_NORM",
    "acc_by_category": "darumeru.metrics.categories:ACCURACY_BY_CATEGORY",
    "f1_macro": "darumeru.metrics.confusion:F1_MACRO",
    "mcc": "darumeru.metrics.confusion:MCC",
    "f1": "darumeru.metrics.qa:F1",
    "em": "darumeru.metrics.qa:EXACT_MATCH",
    "grade_norm": "darumeru.metrics.exam:GRADE_NORM",
    "grade_norm_2024": "darumeru.metrics.exam:GRADE_NORM_2024",
    "original_length_ratio": "darumeru.metrics.copying:ORIGINAL_LENGTH_RATIO",
    "token_copy_rate": "darumeru.metrics.copying:TOKEN_COPY_RATE",
    "copied_share": "darumeru.metrics.copying:COPIED_SHARE",
    "length_ratio": "darumeru.metrics.copying:LENGTH_RATIO",
    "exact_copy_rate": "darumeru.metrics.copying:EXACT_COPY_RATE",
    "exact_copy_rate_2024": "darumeru.metrics.copying:EXACT_COPY_RATE_2024",
    "rouge12_recall": "darumeru.metrics.summarization:ROUGE12_RECALL",
    "rouge12_f1": "darumeru.metrics.summarization:ROUGE12_F1",
    "rougeL_f1": "darumeru.metrics.summarization:ROUGEL_F1",
    "followed_prompts": "darumeru.metrics.instructions.scores:PROMPT",
    "followed_instructions": "darumeru.metrics.instructions.scores:INSTRUCTION",
    "followed_change_case": "darumeru.metrics.instructions.scores:CASE",
    "followed_combination": "darumeru.metrics.instructions.scores:COMBINATION",
    "followed_detectable_content": "darumeru.metrics.instructions.scores:CONTENT",
    "followed_detectable_format": "darumeru.metrics.instructions.scores:FORMAT",
    "followed_keywords": "darumeru.metrics.instructions.scores:KEYWORDS",
    "followed_language": "darumeru.metrics.instructions.scores:LANGUAGE",
    "followed_length_constraints": "darumeru.metrics.instructions.scores:LENGTH",
    "followed_punctuation": "darumeru.metrics.instructions.scores:PUNCTUATION",
    "followed_startend": "darumeru.metrics.instructions.scores:STARTEND",
    "math_verify": "darumeru.metrics.mathematics:MATH_VERIFY",
    "math_answer": "darumeru.metrics.mathematics:MATH_ANSWER",
    "entity_f1_macro": "darumeru.metrics.entities:ENTITY_F1",
    "opinion_f1": "darumeru.metrics.opinions:OPINION_F1",
    "bits_per_byte": "darumeru.metrics.compression:BITS_PER_BYTE",
    "nats_per_character": "darumeru.metrics.compression:NATS_PER_CHARACTER",
    "libra_em": "darumeru.metrics.long_context:EM",
    "libra_em_words": "darumeru.metrics.long_context:EM_WORDS",
    "libra_f1": "darumeru.metrics.long_context:F1",
    "libra_count": "darumeru.metrics.long_context:COUNT",
    "libra_em_rounded": "darumeru.metrics.long_context:EM_ROUNDED",
    "libra_f1_rounded": "darumeru.metrics.long_context:F1_ROUNDED",
    "libra_count_rounded": "darumeru.metrics.long_context:COUNT_ROUNDED",
    "first_character_acc": "darumeru.metrics.first_character:ACCURACY",
    "first_character_f1_macro": "darumeru.metrics.first_character:F1",
    "judged": "darumeru.metrics.verdicts:JUDGED",
    "judge_verdict": "darumeru.metrics.verdicts:WORTH",
    "label_probability": "darumeru.metrics.verdicts:LABELS",
    "order_consistency": "darumeru.metrics.verdicts:CONSISTENCY",
    "position_bias": "darumeru.metrics.verdicts:BIAS",
    "r_precision": "darumeru.metrics.extraction:R_PRECISION",
}


def _problem(name: str, loaded: Any) -> str:
    from darumeru.metrics.protocol import SampleMetric

    if isinstance(loaded, type) or not isinstance(loaded, SampleMetric):
        return "it is not an instance with name, description and values"
    return "" if loaded.name == name else f"it calls itself `{loaded.name}`"


METRICS: Registry[SampleMetric] = Registry("darumeru.metrics", "metric", BUILTIN, _problem)


def metric(name: str) -> Metric:
    """The metric of that name, complete; "best@5:acc" and "majority:acc" are made of `acc`. UserError with the nearest
    names when there is none."""
    from darumeru.metrics.repeated import repeated_metric
    from darumeru.metrics.sample_mean import completed

    return repeated_metric(name, metric) or completed(METRICS.get(name))


def metric_names() -> tuple[str, ...]:
    """All names; imports no metric."""
    return METRICS.names()
