"""Small data folders in the Hub's layout, made by tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COPY = [{"role": "user", "content": "Скопируй: {text}"}, {"role": "bot", "content": "Ответ:"}]
ASK = [{"role": "user", "content": "{question} A или B?"}, {"role": "bot", "content": "Ответ:"}]


def write_split(
    folder: Path, name: str, records: Sequence[dict[str, Any]], repository: str = "RefalMachine/darumeru"
) -> None:
    path = folder / repository / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def copying(texts: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"messages": COPY, "inputs": {"text": text}, "outputs": text, "meta": {"id": number}}
        for number, text in enumerate(texts)
    ]


def choosing(questions: Sequence[str], answered: bool = False) -> list[dict[str, Any]]:
    """Records of a four-letter choice task; the right letters go round."""
    records = []
    for number, question in enumerate(questions):
        letter = "ABCD"[number % 4]
        bot = {"role": "bot", "content": f"Ответ: {letter}" if answered else "Ответ:"}
        records.append(
            {"messages": [ASK[0], bot], "inputs": {"question": question}, "outputs": letter, "meta": {"id": number}}
        )
    return records


def small_suite(folder: Path, records: int = 6) -> Path:
    """Data for darumeru/rummlu, darumeru/cp_sent_ru and daru/treewayextractive."""
    questions = [f"Вопрос номер {number}: кошка или собака" for number in range(records)]
    write_split(folder, "rummlu/test", choosing(questions))
    write_split(folder, "rummlu/prompt", choosing([f"Пример {n}" for n in range(5)], answered=True))
    write_split(folder, "cp_sent_ru/test", copying([f"Дождь шёл весь день, {n} раз." for n in range(records)]))
    write_split(folder, "cp_sent_ru/prompt", copying([f"Образец {n}" for n in range(5)]))
    sentences = ["Дети читали книги.", "Закон вступит в силу.", "Кошка спит на окне.", "Нева впадает в море."]
    documents = [
        {
            "src_sents": [f"Новость {n}.", *sentences[n % 2 :]],
            "summary_sents": sentences[:1],
            "extractive_summary": [0, 1],
        }
        for n in range(3)
    ]
    write_split(folder, "test", documents, "dichspace/daru_treeway_eval")
    return folder


SUITE = ("darumeru/rummlu", "darumeru/cp_sent_ru", "daru/treewayextractive")
