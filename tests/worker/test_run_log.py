from __future__ import annotations

from worker.run_log import format_warning


def test_a_warning_is_one_line_without_the_folder_of_its_file() -> None:
    text = format_warning(FutureWarning("It is\n  deprecated."), FutureWarning, "/home/me/site-packages/a.py", 7, "x()")
    assert text == "FutureWarning of a.py:7: It is deprecated."
