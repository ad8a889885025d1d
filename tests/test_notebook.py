"""The notebook in examples/ runs from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "examples" / "first_steps.ipynb"


def test_the_notebook_runs_and_shows_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "src"))
    book = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    shown = {
        number: str(cell.outputs) for number, cell in enumerate(book.cells) if cell.get("outputs")
    }
    assert "text/html" in shown[3]
    assert "Right on the task" in shown[3]
    assert "Broke after a day." in shown[7]
    assert (tmp_path / "runs" / "notebook" / "report.html").exists()
