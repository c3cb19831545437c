"""The largest batch of rows of known lengths."""

from __future__ import annotations

from typing import Any

from adamss_core.spec import JobSpec, Lengths, ModelFacts
from adamss_core.spec.lengths import BatchShape, largest_batch, lengths_of_characters

FACTS = ModelFacts(model_type="llama", parameters=1, linear_modules=[], max_positions=512)
SAMPLE = Lengths(source="measured", counts=[(300, 1), (60, 2), (40, 97)], trained=0.5)


def batch(lengths: Lengths, task: str = "text-generation", **training: Any) -> BatchShape:
    fields = {"name": "x", "task": task, "base_model": "x", "dataset": {"train": "ds_" + "a" * 8}}
    spec = JobSpec.model_validate(fields | {"training": {"batch_size": 8, "max_length": 256, **training}})
    return largest_batch(spec, FACTS, lengths)


def test_padded_rows_are_as_long_as_the_longest() -> None:
    assert batch(SAMPLE, packing=False) == BatchShape(8, 256, 0.5)
    assert batch(SAMPLE, "text-classification", max_length=1_000) == BatchShape(8, 300, 0.5)


def test_packed_rows_hold_several_examples() -> None:
    short = Lengths(source="measured", counts=[(50, 100)])
    assert batch(short, max_length=1_024) == BatchShape(1, 400)
    assert batch(short, max_length=256) == BatchShape(2, 200)
    assert batch(Lengths(source="measured", counts=[(200, 100)]), max_length=256).rows == 8


def test_the_tokenizers_limit_counts() -> None:
    assert batch(Lengths(source="measured", counts=[(90, 9)], limit=64), "text-classification").length == 64


def test_rows_without_a_known_length_have_the_most_tokens() -> None:
    assert batch(Lengths(source="max_length"), "text-classification", max_length=100) == BatchShape(8, 100)
    guessed = lengths_of_characters(300, 30.0, words=False)
    assert (guessed.source, guessed.counts[0][0], guessed.counts[1][0]) == ("characters", 108, 18)


def test_counts_are_cut_to_the_limit() -> None:
    assert SAMPLE.longest(4, 100) == [100, 60, 60, 40]
    assert SAMPLE.mean(50) == (3 * 50 + 97 * 40) / 100
    assert [SAMPLE.over(limit) for limit in (39, 60, 300)] == [100, 1, 0]


def test_two_stacks_are_as_long_as_the_longer_text() -> None:
    fields = {"name": "x", "task": "text-generation", "base_model": "x", "dataset": {"train": "ds_" + "a" * 8}}
    spec = JobSpec.model_validate(fields | {"training": {"batch_size": 8, "max_length": 256}})
    facts = FACTS.model_copy(update={"is_encoder_decoder": True})
    assert largest_batch(spec, facts, SAMPLE) == BatchShape(8, 256, 0.5, 0.5)  # not packed
