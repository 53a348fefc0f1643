"""`darumeru vocab`: the words of the command line, what it prints, what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.command import Said, darumeru
from tests.lep.texts import ENGLISH, HELD_OUT, RUSSIAN
from tests.lep.tokenizers import save_model, tokenizer_of


class Shell:
    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.capsys, self.monkeypatch, self.folder = capsys, monkeypatch, folder

    def __call__(self, command: str) -> Said:
        """Run a command; "@name" is a path in the test's folder."""
        words = [str(self.folder / word[1:]) if word.startswith("@") else word for word in command.split()]
        return darumeru(self.capsys, self.monkeypatch, "vocab", *words)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for kind in ("llama3", "qwen", "llama2"):
        save_model(root / kind, kind, tied=kind == "qwen")
    return root


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, models: Path, tmp_path: Path) -> Shell:
    for kind in models.iterdir():
        (tmp_path / kind.name).symlink_to(kind)
    (tmp_path / "ru.txt").write_text(RUSSIAN, encoding="utf-8")
    (tmp_path / "en.txt").write_text(ENGLISH, encoding="utf-8")
    (tmp_path / "held.jsonl").write_text(json.dumps({"body": HELD_OUT}, ensure_ascii=False), encoding="utf-8")
    return Shell(capsys, monkeypatch, tmp_path)


def tokens_of(folder: Path) -> int:
    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return len({*(piece[0] if isinstance(piece, list) else piece for piece in data["model"]["vocab"])})


@pytest.mark.parametrize(
    ("command", "size"),
    [
        ("train --model @llama3 --corpus @ru.txt @en.txt --size 700 --output @new", 700),
        ("train --model @llama2 --corpus @ru.txt --corpus @en.txt --size 690 --scheme unigram --output @new", 690),
        ("extend --model @llama3 --corpus @ru.txt --size 720 --scheme bpe --output @new", 720),
        ("optimize --model @qwen --corpus @ru.txt @en.txt --size 640 --keep 400 --output @new", 640),
    ],
)
def test_a_scheme_then_init_makes_a_model(command: str, size: int, shell: Shell, tmp_path: Path) -> None:
    said = shell(command)
    assert (said.code, said.out.strip()) == (0, str(tmp_path / "new"))
    assert f"{size} tokens" in said.err
    assert tokens_of(tmp_path / "new") == size
    kind = command.split("@")[1].split()[0]
    said = shell(f"init --model @{kind} --tokenizer @new --method mean --output @model")
    assert (said.code, said.out.strip()) == (0, str(tmp_path / "model"))
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["vocab_size"] == -(-size // 64) * 64
    assert (tmp_path / "model" / "vocabulary_delta.json").is_file()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("extend --model @llama3 --corpus @ru.txt --size 174816 --output @new", "no allowed pair occurs often enough"),
        ("train --model @llama3 --scheme bpe --corpus @ru.txt --size 128000 --output @new", "no pair occurs twice"),
        (
            "train --model @llama2 --scheme unigram --corpus @ru.txt --size 9000 --output @new",
            "the corpus holds no more candidates",
        ),
    ],
)
def test_a_size_that_was_not_reached_is_said(command: str, reason: str, shell: Shell, tmp_path: Path) -> None:
    """The case vocabulary_size_not_reached."""
    said = shell(command)
    reached, size = tokens_of(tmp_path / "new"), command.split("--size ")[1].split()[0]
    assert said.code == 0
    assert f"warning: {reached} of {size} tokens: {reason}" in said.err.replace("\n", " ")


def test_the_parts_of_the_sum_add_up(shell: Shell, tmp_path: Path) -> None:
    """The case vocabulary_size_not_reached: tokens by origin make the tokens, and with padding they make the rows."""
    for command in (
        "extend --model @llama3 --corpus @ru.txt --size 711 --output @new",
        "init --model @llama3 --tokenizer @new --output @model",
    ):
        said = shell(command).err
        tokens, parts, padding, rows = re.search(
            r"(\d+) tokens: (.*); with (\d+) padding rows (\d+) rows", said
        ).groups()  # type: ignore[union-attr]
        assert int(tokens) == 711 == sum(int(part.split()[0]) for part in parts.split(", "))
        assert (int(tokens) + int(padding), int(rows)) == (704 + 64, 704 + 64)


def test_pieces_are_merged_into_a_vocabulary(shell: Shell, tmp_path: Path) -> None:
    assert shell("train --model @llama2 --scheme unigram --corpus @ru.txt --size 560 --output @uni").code == 0
    said = shell("merge --model @llama3 --pieces @uni --output @new")
    assert (said.code, said.out.strip()) == (0, str(tmp_path / "new"))
    found = re.search(r"(\d+) pieces: (\d+) are tokens now, with (\d+) steps", said.err)
    assert found is not None
    pieces, made, steps = map(int, found.groups())
    assert pieces == made > 50
    assert tokens_of(tmp_path / "new") == len(tokenizer_of("llama3").get_vocab()) + made + steps
    few = shell("merge --model @llama3 --pieces @uni --size 600 --output @few").err
    assert "pieces are not one token: " in few
    bad = shell("merge --model @llama3 --pieces @llama3 --output @bad")
    assert bad.code == 2 and "--pieces: pieces come from a Unigram tokenizer" in bad.err


def test_trim(shell: Shell, tmp_path: Path) -> None:
    said = shell("trim --model @llama2 --corpus @ru.txt --output @new")
    assert said.code == 0
    assert 259 < tokens_of(tmp_path / "new") < tokens_of(tmp_path / "llama2")


def test_init_with_a_method_that_reads_text(shell: Shell, tmp_path: Path) -> None:
    assert shell("extend --model @qwen --corpus @ru.txt --size 600 --output @new").code == 0
    said = shell("init --model @qwen --tokenizer @new --method cw2v --output @model")
    assert said.code == 2 and "cw2v learns from text" in said.err and not (tmp_path / "model").exists()
    assert shell("init --model @qwen --tokenizer @new --method cw2v --corpus @ru.txt @en.txt --output @model").code == 0


def test_stats_count_what_they_say(shell: Shell, tmp_path: Path) -> None:
    assert shell("extend --model @llama3 --corpus @ru.txt --size 800 --output @new").code == 0
    said = shell("stats --tokenizer @llama3 @new @llama2 --corpus @held.jsonl --field body --json")
    rows = {Path(row["tokenizer"]).name: row for row in json.loads(said.out)}
    assert list(rows) == ["llama3", "new", "llama2"]
    lines = HELD_OUT.splitlines(keepends=True)
    old = tokenizer_of("llama3")
    tokens = sum(len(old.encode(line, add_special_tokens=False).ids) for line in lines)
    assert rows["llama3"]["tokens"] == tokens
    assert rows["llama3"]["symbols_per_token"] == pytest.approx(len(HELD_OUT) / tokens)
    assert rows["llama3"]["tokens_per_word"] == pytest.approx(tokens / len(HELD_OUT.split()))
    assert rows["new"]["tokens_per_word"] < 0.65 * rows["llama3"]["tokens_per_word"]
    assert rows["new"]["size"] == 800
    assert all(row["round_trip"] == 1 for row in rows.values())
    spelled = tokenizer_of("llama2")
    bytes_ = sum(
        token.startswith("<0x") and int(token[3:5], 16) & 0xC0 != 0x80
        for line in lines
        for token in spelled.encode(line, add_special_tokens=False).tokens
    )
    begun = len(HELD_OUT) + len(lines)  # a space before the first word of each line
    assert rows["llama2"]["coverage"] == pytest.approx(1 - bytes_ / begun)
    table = shell("stats --tokenizer @llama3 --corpus @held.jsonl --field body").out
    for heading in ("symbols per token", "tokens per word", "coverage", "round trip"):
        assert all(word in table for word in heading.split())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("extend --model @none --corpus @ru.txt --size 800 --output @new", "no such model folder"),
        ("extend --model @llama3 --corpus @none.txt --size 800 --output @new", "no such corpus file"),
        ("extend --model @llama3 --corpus @empty.txt --size 800 --output @new", "the corpus file is empty"),
        ("extend --model @llama3 --corpus @latin.txt --size 800 --output @new", "not UTF-8"),
        ("extend --model @llama3 --corpus @ru.txt --size 100 --output @new", "tokens already"),
        ("extend --model @llama3 --corpus @ru.txt --size 800 --scheme unigram --output @new", "`vocab train`"),
        ("extend --model @llama3 --corpus @ru.txt --size 800 --script cyrilic --output @new", "did you mean cyrillic?"),
        ("train --model @llama3 --corpus @ru.txt --size 800 --scheme unigramm --output @new", "did you mean unigram?"),
        ("train --model @llama3 --corpus @ru.txt --size 9 --output @new", "too small"),
        ("trim --model @llama3 --corpus @ru.txt --output @llama2", "not empty"),
        ("init --model @llama3 --tokenizer @bare --output @new", "transformers cannot load the tokenizer"),
        ("init --model @llama3 --tokenizer @llama3 --method fokus --output @new", "did you mean focus?"),
        ("stats --tokenizer @wordpiece.json --corpus @ru.txt", "unknown kind"),
        ("stats --tokenizer @llama3 --corpus @ru.txt @latin.txt", "not UTF-8"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command: str, message: str, shell: Shell, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes("Привет".encode("cp1251"))
    (tmp_path / "bare").mkdir()
    Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")).save(str(tmp_path / "wordpiece.json"))
    before = sorted(path.name for path in tmp_path.iterdir())
    said = shell(command)
    assert said.code == 2, said
    assert message in said.err and said.err.startswith("error: ") and said.err.count("\n") == 1
    assert said.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before
