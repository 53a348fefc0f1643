"""Make russian.txt and english.txt of this folder from the bundled data: every text of 60 characters or more, once, but
for the sentences and documents that recipes/quick.yaml scores with.

    python recipes/quick/make_texts.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BUNDLED = HERE.parents[1] / "tasks" / "bundled"
SCORED = ("cp_sent_ru", "cp_sent_en", "texts")
SHORTEST = 60


def texts(value: Any) -> Iterator[str]:
    """All strings of a record."""
    if isinstance(value, str):
        yield " ".join(value.split())
    elif isinstance(value, dict):
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)


def main() -> None:
    found: dict[str, None] = {}
    for path in sorted(BUNDLED.rglob("*.jsonl")):
        if path.parent.name in SCORED:
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            found.update(dict.fromkeys(text for text in texts(json.loads(line)) if "{" not in text))
    long = [text for text in found if len(text) >= SHORTEST]
    russian = [text for text in long if len(re.findall("[а-яё]", text)) > len(text) / 2]
    english = [text for text in long if len(re.findall("[a-z]", text)) > len(text) / 2]
    for name, lines in (("russian", russian), ("english", english)):
        (HERE / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(name, len(lines), "texts,", sum(len(text.encode("utf-8")) for text in lines), "bytes")


if __name__ == "__main__":
    main()
