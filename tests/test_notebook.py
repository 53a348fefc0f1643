"""The notebook of examples/ runs as it stands, and shows tables and one display a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.shared_data import ROOT

NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import nbclient
    import nbformat

    patch = pytest.MonkeyPatch()
    patch.setenv("DARUMERU_EXAMPLE", str(tmp_path_factory.mktemp("notebook")))
    patch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "store the notebook without outputs"
    try:
        nbclient.NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": str(ROOT / "examples")}}
        ).execute()
    finally:
        patch.undo()
    return notebook


def outputs(notebook: Any, words: str) -> list[Any]:
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and words in cell.source]
    return list(cell.outputs)


def test_scoring_shows_one_display_and_the_run_as_a_table(executed: Any) -> None:
    """Without vLLM's, transformers' or anybody's log lines: a display and the value of the cell."""
    display, value = outputs(executed, "zero = darumeru.evaluate")
    assert display.output_type == "display_data" and "done in" in display.data["text/html"]
    html = value.data["text/html"]
    assert "darumeru/parus" in html and "<table>" in html and value.data["text/plain"].startswith("Run('")
    assert len(value.data["text/plain"]) < 300


def test_a_score_is_a_number_or_says_why_there_is_none(executed: Any) -> None:
    (said,) = outputs(executed, "print(zero.results.tasks")
    first, second = said.text.splitlines()
    assert 0 <= float(first.split()[0]) <= 1
    assert second == "none: 2 of the benchmark's 17 tasks were run"


def test_samples_runs_and_comparisons_are_tables(executed: Any) -> None:
    for words in ("groupby", "query", "load_runs", "own.samples"):
        assert "<table" in outputs(executed, words)[-1].data["text/html"], words
    display, compared = outputs(executed, "darumeru.compare")
    assert "done in" in display.data["text/html"]
    assert "<table>" in compared.data["text/html"] and "95 % level" in compared.data["text/html"]
    assert len(compared.data["text/plain"]) < 500


def test_the_folder_of_examples_stays_clean(executed: Any) -> None:
    assert sorted(path.name for path in Path(ROOT / "examples").iterdir() if path.is_dir()) in ([], ["__pycache__"])
