from __future__ import annotations

import pytest

from adamss_core.spec.class_names import head_starts_afresh, is_surprising, match_classes


@pytest.mark.parametrize(
    ("theirs", "mine", "order"),
    [
        (["b", "c", "a"], ["a", "b", "c"], [2, 0, 1]),
        (["POSITIVE", "NEGATIVE"], ["negative", "positive"], [1, 0]),
        (["entailment", "NOT_ENTAILMENT"], ["Not entailment", "entailment"], [1, 0]),
        (["B-X", "BX"], ["bx", "b-x"], [1, 0]),
        (["+", "-"], ["-", "+"], [1, 0]),
        (["A", "a"], ["a", "A"], [1, 0]),  # exact names come first
        (["A", "a"], ["A", "b"], None),
        (["Neg", "neg"], ["NEG", "neg"], None),  # ambiguous without case
        (["LABEL_0", "LABEL_1"], ["0", "1"], [0, 1]),
        (["LABEL_0", "LABEL_1"], ["1", "2"], None),
        (["LABEL_0", "LABEL_1"], ["LABEL_1", "LABEL_0"], [1, 0]),
        (["LABEL_0", "LABEL_1"], ["bad", "good"], None),
        (["a", "b", "c"], ["a", "b"], None),
        (["a", "a"], ["a", "a"], None),
        ([], ["a", "b"], None),
    ],
)
def test_classes_are_matched_by_name(theirs: list[str], mine: list[str], order: list[int] | None) -> None:
    assert match_classes(theirs, mine) == order


def test_a_head_of_another_size_is_expected_to_start_afresh() -> None:
    assert not is_surprising([f"breed {i}" for i in range(1000)], ["cat", "dog"])
    assert is_surprising(["yes", "no", "maybe"], ["No", "Yes"])
    assert is_surprising(["up", "down"], ["No", "Yes"])


def test_the_remedy_depends_on_whether_the_head_has_names() -> None:
    named = head_starts_afresh("The base", ["up", "down"], ["no", "yes"], "Rename them.")
    assert named == (
        "The base has a head for 'up', 'down', but this job's classes are 'no', 'yes': the head starts afresh. "
        "Rename them."
    )
    many = [f"LABEL_{i}" for i in range(1200)]
    assert "whose 1200 classes have no names" in (said := head_starts_afresh("The base", many, ["no"], "Rename them."))
    assert "'LABEL_4' and 1,195 more" in said
    assert said.endswith("set id2label in the config.json of the base model to the names of its classes.")
