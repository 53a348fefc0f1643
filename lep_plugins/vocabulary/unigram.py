"""Substitution by a Unigram vocabulary trained from nothing on a corpus, with the SentencePiece settings of
arXiv:2412.21140's authors."""

from __future__ import annotations

import json

from darumeru.models.token_bytes import SPACE_MARK
from lep_plugins.vocabulary.bpe import COVERAGE, LONGEST, Texts, room
from lep_plugins.vocabulary.corpus import Normalization
from lep_plugins.vocabulary.description import Description
from lep_plugins.vocabulary.tokenizer_parts import BYTE_PIECES, RUNS, TokenizerParts, arranged, described, uncovered

SHRINK = 0.75
UNKNOWN = "<unk>"


def train_unigram(
    old: Description,
    texts: Texts,
    size: int,
    normalization: Normalization | None = "NFKC",
    coverage: float = COVERAGE,
    longest: int = LONGEST,
    shrink: float = SHRINK,
) -> Description:
    """A Unigram tokenizer of at most `size` tokens: byte fallback, single digits, `normalization` (lossy by intent:
    "№" becomes "No" under NFKC; None keeps every text), characters that make up `coverage` of the corpus, pieces
    of at most `longest` characters, a million seeds shrunk by `shrink` a round.

    The old added tokens stay, by name; "<unk>" joins them where there was none, since the model cannot do without.
    UserError: `size` is too small for bytes, characters and special tokens.
    """
    from tokenizers import models, trainers

    if all(token["content"] != UNKNOWN for token in old.added):
        old = _with_unknown(old)
    parts = TokenizerParts(normalization)
    form = parts.normalization or "NFC"
    alphabet, blanks = uncovered(texts(form), coverage)
    alphabet.discard(" ")
    fixed = len(BYTE_PIECES) + len(alphabet) + len(RUNS)
    learner = parts.around(models.Unigram())
    trainer = trainers.UnigramTrainer(
        vocab_size=room(old, size, fixed) - len(BYTE_PIECES) - len(RUNS),
        initial_alphabet=sorted(alphabet),
        shrinking_factor=shrink,
        max_piece_length=longest,
        show_progress=False,
    )
    learner.train_from_iterator((text.translate(blanks) for text in texts(form)), trainer)
    learnt = dict(json.loads(learner.to_str())["model"]["vocab"])
    for run in (text.replace(" ", SPACE_MARK) for text in RUNS):
        learnt.setdefault(run, learnt[run[0]])  # as likely as one character, so likelier than two
    # Text that spells "<0x41>" or "<s>" must stay text: such pieces cost more than spelling them letter by letter.
    never = min(learnt.values()) * (2 + max(len(piece) for piece in (*BYTE_PIECES, *old.vocab)))
    blank = described(old, parts.around(models.Unigram([(UNKNOWN, 0.0)], unk_id=0, byte_fallback=True)))
    # The trainer adds up probabilities in an order of its own: in two runs they agree to about 1e-4, so pieces are put
    # in order of their text, and ids do not depend on it.
    order = arranged(old, [*BYTE_PIECES, *sorted(learnt)])
    mute = {token["content"] for token in old.added if token["special"]} | set(BYTE_PIECES)
    scores = [(piece, never if piece in mute else learnt.get(piece, never)) for piece in order]
    return blank.with_unigram(scores, UNKNOWN)


def _with_unknown(old: Description) -> Description:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    new = {"id": max(old.vocab.values()) + 1, "content": UNKNOWN, **flags}
    return Description({**old.data, "added_tokens": [*old.added, new]})
