"""What an upload would do for stands first among its remarks."""

from __future__ import annotations

from service.cli.datasets import remarks


def test_the_suggestion_is_printed_with_its_reason() -> None:
    suggestion = {
        "task": "text-classification",
        "problem_type": "regression",
        "dataset": {"text": "review", "label": "stars"},
        "confidence": "likely",
        "reason": "'stars' 60 different numbers",
    }
    [line, notice] = remarks({"suggestion": suggestion, "notices": [{"message": "Cells are separated by tab."}]})
    assert line.startswith("suggests  text-classification (regression) with text: review, label: stars (likely: ")
    assert notice == "notice    Cells are separated by tab."
    assert remarks({"suggestion": None}) == []
