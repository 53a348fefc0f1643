"""Substitution by a Unigram vocabulary trained from nothing on a corpus, with the SentencePiece settings of
arXiv:2412.21140's authors.

The pieces and their likelihoods are learnt by the `sentencepiece` package from whole lines. The trainer of
`tokenizers` collects its candidates from the list of distinct units, where nothing follows a word, so that whole words
never become candidates: 15 % fewer symbols per token than BPE on the same text.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Set

from darumeru.core.errors import UserError
from darumeru.models.token_bytes import SPACE_MARK
from lep_plugins.vocabulary.bpe import COVERAGE, LONGEST, Texts, room
from lep_plugins.vocabulary.corpus import Normalization
from lep_plugins.vocabulary.description import Description
from lep_plugins.vocabulary.tokenizer_parts import BYTE_PIECES, RUNS, TokenizerParts, arranged, described, uncovered

BLANKS = (*RUNS, " " * 3, " " * 7)
"""sentencepiece learns nothing of spaces, tabs and line ends in a row, so they are given. 3 and 7 spaces are what
stands alone in an indentation of 4 and 8: the last space belongs to the word."""

SHRINK = 0.75
SEEDS = 100_000
LONGEST_LINE = 100_000
"""Characters of a line that is trained on whole; sentencepiece leaves out lines of more than a million bytes."""

WORD = re.compile(r"[^\W\d_]+")
OFTEN = 8
"""Occurrences from which a word is sure to be a candidate. With rarer ones too, text is cut finer again: they take the
room of better pieces (measured: 2, 8 and 30 on 1 MB at 4,000, 8,000 and 16,000 tokens)."""

UNKNOWN = "<unk>"


def train_unigram(
    old: Description,
    texts: Texts,
    size: int,
    normalization: Normalization | None = "NFKC",
    coverage: float = COVERAGE,
    longest: int = LONGEST,
    shrink: float = SHRINK,
    seeds: int = SEEDS,
) -> Description:
    """A Unigram tokenizer of `size` tokens (fewer when the corpus has no more candidates): byte fallback, single
    digits, `normalization` (lossy by intent: "№" becomes "No" under NFKC; None keeps every text), characters that make
    up `coverage` of the corpus, pieces of at most `longest` characters, `seeds` candidates shrunk by `shrink` a round.

    The old added tokens stay, by name; "<unk>" joins them where there was none, since the model cannot do without.
    UserError: `size` is too small for bytes, characters and special tokens; a corpus that cannot be trained on.
    """
    from tokenizers import models

    if all(token["content"] != UNKNOWN for token in old.added):
        old = _with_unknown(old)
    parts = TokenizerParts(normalization)
    form = parts.normalization or "NFC"
    alphabet, blanks = uncovered(texts(form), coverage)
    alphabet.discard(" ")
    runs = [run.replace(" ", SPACE_MARK) for run in BLANKS]
    names = {token["content"] for token in old.added}
    given = len(BYTE_PIECES) + len(set(runs) - names)
    pieces = room(old, size, given + len(alphabet)) - given
    lines = _lines(text.translate(blanks) for text in texts(form))
    learnt = _learnt(lines, alphabet, pieces, longest, shrink, seeds)
    for run in runs:
        learnt.setdefault(run, learnt[run[0]])  # as likely as one character, so likelier than two
    # Text that spells "<0x41>" or "<s>" must stay text: such pieces cost more than spelling them letter by letter.
    never = min(learnt.values()) * (2 + max(len(piece) for piece in (*BYTE_PIECES, *old.vocab)))
    blank = described(old, parts.around(models.Unigram([(UNKNOWN, 0.0)], unk_id=0, byte_fallback=True)))
    order = arranged(old, [*BYTE_PIECES, *sorted(learnt)])
    mute = {token["content"] for token in old.added if token["special"]} | set(BYTE_PIECES)
    scores = [(piece, never if piece in mute else learnt.get(piece, never)) for piece in order]
    return blank.with_unigram(scores, UNKNOWN)


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Lines with something in them, none longer than LONGEST_LINE; then, once, every frequent word.

    A candidate is a string that is followed by different characters. "или" is always followed by a space, and so would
    be none in a corpus where it never ends a line."""
    words: Counter[str] = Counter()
    for text in texts:
        words.update(WORD.findall(text))
        for line in text.splitlines():
            for start in range(0, len(line), LONGEST_LINE):
                if part := line[start : start + LONGEST_LINE].strip():
                    yield part
    yield from (word for word, count in words.items() if count >= OFTEN)


def _learnt(
    lines: Iterator[str], alphabet: Set[str], size: int, longest: int, shrink: float, seeds: int
) -> dict[str, float]:
    """At most `size` pieces with their log-probabilities, every character of `alphabet` among them. Characters that
    lines do not hold (line ends, tabs) are as likely as the rarest piece."""
    import sentencepiece

    spoken = sorted(letter for letter in alphabet if not letter.isspace() and letter != SPACE_MARK)
    unspoken = {letter for letter in alphabet if letter.isspace()}
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=model,
            model_type="unigram",
            vocab_size=size - len(unspoken) + len(BYTE_PIECES) + 1,  # its own bytes and unknown token
            hard_vocab_limit=False,
            seed_sentencepiece_size=seeds,
            required_chars="".join(spoken),
            character_coverage=1.0,
            normalization_rule_name="identity",  # the corpus is normalized already, exactly as the tokenizer will
            byte_fallback=True,
            split_digits=True,
            max_sentencepiece_length=longest,
            shrinking_factor=shrink,
            num_sub_iterations=2,
            num_threads=1,  # several sum up in an order of their own and give another model each time
            max_sentence_length=1_000_000,
            bos_id=-1,
            eos_id=-1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"sentencepiece cannot train on this corpus: {reason}", where="--scheme unigram") from None
    read = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = [number for number in range(len(read)) if not (read.is_byte(number) or read.is_unknown(number))]
    learnt = {read.id_to_piece(number): read.get_score(number) for number in ids}
    rarest = min(learnt.values())
    return learnt | dict.fromkeys(unspoken | (alphabet - learnt.keys()), rarest)


def _with_unknown(old: Description) -> Description:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    new = {"id": max(old.vocab.values()) + 1, "content": UNKNOWN, **flags}
    return Description({**old.data, "added_tokens": [*old.added, new]})
