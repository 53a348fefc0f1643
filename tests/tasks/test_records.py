"""Reading records: folders in the Hub's layout, Parquet, real `datasets` loading, and everything that can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darumeru.core.errors import UserError
from darumeru.tasks.fetching import fetch_tasks
from darumeru.tasks.formats import standard
from darumeru.tasks.records import load_split
from darumeru.tasks.registry import load_registry
from darumeru.tasks.spec import RecordSource, TaskSpec

SOURCE = RecordSource("owner/data", "parus")
RECORD = {"messages": [{"role": "user", "content": "{a}"}], "inputs": {"a": "б"}, "outputs": "1", "meta": {"id": 0}}


def written(folder: Path, content: bytes) -> str:
    path = folder / "owner" / "data" / "parus" / "test.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return str(folder)


def test_a_folder_is_read_with_place_and_hash(tmp_path: Path) -> None:
    data = written(tmp_path, (json.dumps(RECORD, ensure_ascii=False) + "\n\n").encode())
    split = load_split(SOURCE, "test", data)
    assert [record.values for record in split.records] == [RECORD]
    assert split.records[0].where.endswith("test.jsonl:1") and len(split.sha256) == 64


def test_parquet_gives_the_same_records(tmp_path: Path) -> None:
    import pandas

    path = tmp_path / "owner" / "data" / "parus" / "test.parquet"
    path.parent.mkdir(parents=True)
    pandas.DataFrame([RECORD]).to_parquet(path)
    assert dict(load_split(SOURCE, "test", str(tmp_path)).records[0].values) == RECORD


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no records"),
        (b"{}\n{broken\n", "test.jsonl:2: is not JSON"),
        (b'{"a": "\xff"}\n', "test.jsonl:1: is not UTF-8"),
        (b"[1]\n", "test.jsonl:1: a record must be a JSON object"),
    ],
)
def test_broken_files_are_named_with_the_line(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(UserError) as caught:
        load_split(SOURCE, "test", written(tmp_path, content))
    assert said in caught.value.line()


def test_broken_parquet_missing_split_and_missing_folder_are_named(tmp_path: Path) -> None:
    data = written(tmp_path, b"{}\n")
    (tmp_path / "owner/data/parus/prompt.parquet").write_bytes(b"no parquet")
    for split, folder, said in (
        ("prompt", data, "not a readable Parquet"),
        ("dev", data, "no file dev.jsonl"),
        ("test", data + "x", "no such data folder"),
    ):
        with pytest.raises(UserError, match=said):
            load_split(SOURCE, split, folder)


def test_a_missing_field_is_named_with_file_line_and_field(tmp_path: Path) -> None:
    split = load_split(SOURCE, "test", written(tmp_path, json.dumps(RECORD).encode()))
    with pytest.raises(UserError) as caught:
        split.records[0].need("inputs.text", str)
    assert "test.jsonl:1" in caught.value.line() and "`inputs.text` is missing" in caught.value.line()
    with pytest.raises(UserError, match="must be int"):
        split.records[0].need("outputs", int)


def hub_repository(folder: Path) -> TaskSpec:
    """A data set repository on disk, which `datasets` loads as it loads one from the Hub."""
    repository = folder / "hub_repository"
    (repository / "parus").mkdir(parents=True)
    for split in ("test", "prompt"):
        line = json.dumps(RECORD, ensure_ascii=False) + "\n"
        (repository / "parus" / f"{split}.jsonl").write_text(line * 3, encoding="utf-8")
    configs = "".join(f"    - split: {split}\n      path: parus/{split}.jsonl\n" for split in ("test", "prompt"))
    (repository / "README.md").write_text(
        f"---\nconfigs:\n- config_name: parus\n  data_files:\n{configs}---\n", encoding="utf-8"
    )
    spec = load_registry().specs["darumeru/parus"]
    from dataclasses import replace

    return replace(spec, source=RecordSource(str(repository), "parus"))


def test_the_hub_path_reads_a_repository_through_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    spec = hub_repository(tmp_path)
    split = load_split(spec.source, "test", "hub")
    assert len(split.records) == 3 and split.records[0].values["inputs"] == {"a": "б"}


def test_no_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as caught:
        load_split(RecordSource("nobody/never-cached", "x"), "test", "hub")
    assert "--data bundled" in caught.value.line()


def test_fetch_writes_the_layout_that_run_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = hub_repository(tmp_path)
    # A local path stands for owner/name here: relative, so that it can lie below the data folder too.
    monkeypatch.chdir(tmp_path)
    from dataclasses import replace

    spec = replace(spec, source=replace(spec.source, repository="hub_repository"))
    lines = list(fetch_tasks([spec], tmp_path / "data"))
    assert len(lines) == 2 and (tmp_path / "data/hub_repository/parus/test.jsonl").is_file()
    listed = json.loads((tmp_path / "data/revisions.json").read_text())
    assert set(listed["files"]) == {"hub_repository/parus/test.jsonl", "hub_repository/parus/prompt.jsonl"}
    assert len(load_split(spec.source, "test", str(tmp_path / "data")).records) == 3
    assert list(fetch_tasks([spec], tmp_path / "data")) == []


def test_a_copy_task_may_leave_long_texts_out() -> None:
    """Bundled cp_sent_ru has 24 sentences; 19 have at most 112 characters (counted with len)."""
    small = Path(__file__).parents[2] / "recipes" / "small" / "tasks"
    registry = load_registry(include=(str(small),))
    for name, count in (("small/copy_ru", 19), ("darumeru/cp_sent_ru", 24)):
        (spec,) = registry.select([name])
        records = load_split(spec.source, "test", "bundled").records
        assert len(standard.FORMAT.samples(spec, records, (), 0)) == count


MESSAGES = [{"role": "user", "content": "{text}"}]
SENTENCES = ["Дождь.", "Снег."]
UNUSABLE = {
    "multiq: no answer": ("darumeru/multiq", {"outputs": []}, "`outputs` must list objects with a `segment`"),
    "multiq: empty answer": ("darumeru/multiq", {"outputs": [{"segment": ""}]}, "`outputs` must list objects"),
    "multiq: empty text": ("darumeru/multiq", {"outputs": " "}, "`outputs` is empty"),
    "rcb: another label": ("darumeru/rcb", {"outputs": "4"}, "`outputs` is '4', not one of 1, 2, 3"),
    "rcb: a label and more": ("darumeru/rcb", {"outputs": "12"}, "`outputs` is '12', not one of 1, 2, 3"),
    "rcb: no label": ("darumeru/rcb", {"outputs": ""}, "`outputs` is empty"),
    "rwsd: another label": ("darumeru/rwsd", {"outputs": "да"}, "`outputs` is 'да', not one of Да, Нет"),
    "rummlu: another label": ("darumeru/rummlu", {"outputs": "E"}, "`outputs` is 'E', not one of A, B, C, D"),
    "use: no answer": ("darumeru/use", {"outputs": ""}, "`outputs` is empty"),
    "copying: no text": ("darumeru/cp_sent_ru", {"inputs": {"text": " "}}, "`inputs.text` is empty"),
    "copying: a number": ("darumeru/cp_para_en", {"inputs": {"text": 5}}, "`inputs.text` must be str, is int"),
    "summary: none": ("daru/treewayabstractive", {"summary_sents": []}, "`summary_sents` must list sentences"),
    "summary: empty": ("daru/treewayabstractive", {"summary_sents": [""]}, "`summary_sents` is empty"),
    "extraction: none": (
        "daru/treewayextractive",
        {"extractive_summary": []},
        "`extractive_summary` must list indices",
    ),
    "extraction: beyond": ("daru/treewayextractive", {"extractive_summary": [2]}, "indices of src_sents, 0 to 1"),
    "extraction: true": ("daru/treewayextractive", {"extractive_summary": [True]}, "indices of src_sents, 0 to 1"),
    "mmlu: beyond": ("nlpcoreteam/rummlu", {"answer": 4}, "`answer` is 4, not 0 to 3"),
    "mmlu: negative": ("nlpcoreteam/enmmlu", {"answer": -1}, "`answer` is -1, not 0 to 3"),
    "mmlu: true": ("nlpcoreteam/enmmlu", {"answer": True}, "`answer` must be int or str, is bool"),
    "rucola: another label": ("russiannlp/rucola_custom", {"label": 2}, "`label` is '2', not 0 or 1"),
    "rutie: another label": ("darumeru/rutie", {"outputs": "3"}, "`outputs` is '3', not one of 1, 2"),
    "flores: empty": ("darumeru/flores_ru_en", {"inputs": {"ru": "Да.", "en": ""}}, "`inputs.en` is empty"),
    "gazeta: empty": ("ilyagusev/gazeta", {"summary": ""}, "`summary` is empty"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_record_without_a_usable_target_is_refused_by_file_line_and_field(kind: str) -> None:
    from darumeru.tasks.formats import sample_maker
    from darumeru.tasks.record import Record

    task, wrong, said = UNUSABLE[kind]
    whole = {
        "messages": MESSAGES,
        "inputs": {"text": "Текст", "question": "?", "choice1": "а", "choice2": "б"},
        "outputs": "1",
        "meta": {"id": 0, "dialog_id": 0, "question_id": 0},
        "src_sents": SENTENCES,
        "summary_sents": SENTENCES[:1],
        "extractive_summary": [0],
        "title": "О погоде",
        "text": "Дождь.",
        "sentence": "Идёт дождь.",
        "subject": "anatomy",
        **{
            f"{name}_{language}": value
            for name, value in (("question", "?"), ("choices", [*"абвг"]))
            for language in ("ru", "en")
        },
    }
    record = Record({**whole, **wrong}, "folder/test.jsonl:7")
    spec = load_registry().specs[task]
    with pytest.raises(UserError) as caught:
        sample_maker(spec.format)(spec, [record], (), 0)
    assert caught.value.where == "folder/test.jsonl:7"
    assert said in caught.value.what


def test_a_text_that_begins_with_the_label_is_a_target_of_rwsd() -> None:
    """Hit = outputs.startswith(argmax) (SPEC-benchmark, RWSD)."""
    from darumeru.tasks.formats import sample_maker
    from darumeru.tasks.record import Record

    spec = load_registry().specs["darumeru/rwsd"]
    values = {"messages": MESSAGES, "inputs": {"text": "Текст"}, "outputs": "Да, относится", "meta": {"id": 0}}
    (sample,) = sample_maker(spec.format)(spec, [Record(values, "here:1")], (), 0)
    assert sample.target == "Да, относится"
