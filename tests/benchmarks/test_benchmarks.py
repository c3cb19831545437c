"""The measuring functions at tiny sizes: that they run and count right, never how fast something is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import matrix, rates, upload, upload_files
from benchmarks.layer_cost import compiled, count_operations, layer_time, memory, operations, saved_bytes
from benchmarks.report import Limit, Section, write_json
from benchmarks.startup import decomposition, second_adapter
from benchmarks.timing import Step, interleaved, overhead, quiet
from benchmarks.training_step import Encoder, training_step
from benchmarks.variants import VARIANTS, Shape, adapted_layers, layer_step

pytestmark = pytest.mark.filterwarnings("ignore")  # upstream's deprecations in models that only benchmarks build

TINY = Encoder(layers=1, hidden=64, batch=2, length=8, vocabulary=50)


def numbers(section: Section) -> list[float]:
    return [value for row in section.rows for value in row if isinstance(value, (int, float))]


def test_rounds_are_paired_and_quiet() -> None:
    times = interleaved({"base": Step(lambda: None), "other": Step(lambda: None)}, rounds=6)
    assert [len(values) for values in times.values()] == [6, 6]
    assert quiet([3.0, 1.0, 2.0, 9.0, 8.0, 7.0, 5.0]) == [1.0, 7.0]
    assert overhead({"base": [1.0, 1.0, 1.0], "own": [4.0, 3.0, 9.0]}, "own") == 2.0


def test_preparation_is_not_timed_away() -> None:
    done: list[str] = []
    step = Step(run=lambda: done.append("run"), prepare=lambda: done.append("prepare"))
    interleaved({"step": step}, rounds=2)
    assert done == ["prepare", "run"] * 4  # two of them to warm up


@pytest.mark.compat
def test_layer_time() -> None:
    section = layer_time((32,), (4,), (2, 32), (1,), budget=0.0)
    assert [row[:4] for row in section.rows] == [[32, 4, 2, 1], [32, 4, 32, 1]]
    assert len(section.limits) == 3
    assert all(math.isfinite(value) for value in numbers(section))


def test_all_variants_wrap_the_same_frozen_layer() -> None:
    layers = adapted_layers(Shape(32, 2, 1))
    assert tuple(layers) == VARIANTS
    for name in VARIANTS[1:]:
        assert layers[name].get_base_layer() is layers["base"]  # type: ignore[operator]


def test_operations_of_a_frozen_layer_and_of_any_k() -> None:
    linear = nn.Linear(8, 8).requires_grad_(False)
    assert count_operations(layer_step(linear, 4, 8)) == 18
    section = operations(64, 4, (2, 8), (1,))
    assert all(limit.ok for limit in section.limits)


def test_saved_bytes_counts_storages_once() -> None:
    class Twice(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x  # keeps x twice

    module = Twice()
    assert saved_bytes(module, layer_step(module, 4, 8), parameters=True) == 4 * 8 * 4


@pytest.mark.compat
def test_memory_and_compile() -> None:
    for section in (memory(64, 8, (2,), (1,)), compiled(32, 4)):
        assert all(limit.ok for limit in section.limits)


@pytest.mark.compat
def test_training_step() -> None:
    section = training_step(TINY, Shape(64, 3, 1), rounds=6)
    assert [row[0] for row in section.rows] == ["head only", "LoRA", "PEFT AdaMSS+ASA", "ours AdaMSS+ASA"]
    assert section.rows[-1][5] > 0  # ASA took part
    assert section.rows[0][5] == "-"


@pytest.mark.compat
def test_startup_is_identical_from_the_cache() -> None:
    assert len(decomposition((32,), (2,), rounds=3).rows) == 1
    assert len(second_adapter(TINY, 2, rounds=3).rows) == 1


def test_report(tmp_path: Path) -> None:
    section = Section(
        "title", ["name", "value"], [["a", 1.5]], [Limit("low", 2, 1), Limit("high", 2, 1, at_least=True)]
    )
    text = section.render()
    assert "MISSED" in text
    assert text.endswith("ok")
    write_json(tmp_path / "new" / "file.json", [section])
    content = json.loads((tmp_path / "new" / "file.json").read_text())
    assert content["sections"][0]["rows"] == [{"name": "a", "value": 1.5}]
    assert [limit["ok"] for limit in content["sections"][0]["limits"]] == [False, True]
    assert content["environment"]["torch"] == torch.__version__


@pytest.mark.compat
def test_rates() -> None:
    bench = rates.Bench("labels", [0], 0.02)
    assert 0 <= bench.score(rates.WIDE, rates.DEFAULT) <= 100
    assert bench.swept(rates.STOCK) in rates.RATES[rates.STOCK.kind]


@pytest.mark.compat
@pytest.mark.parametrize("kind", upload_files.KINDS, ids=lambda kind: kind.name)
def test_an_upload_is_measured(kind: upload_files.Kind) -> None:
    section = upload.section_of([upload.measure(kind, 0.5)], 0.5)
    assert min(numbers(section)) > 0
    assert section.limits[0].ok, section.render()


def test_the_measured_uploads_are_in_the_docs() -> None:
    docs = Path(__file__).parents[2] / "docs" / "formats.md"
    assert upload.table() in docs.read_text(encoding="utf-8"), "run python -m benchmarks.upload --table"


@pytest.mark.compat
def test_a_cell_of_the_matrix_is_trained_or_refused() -> None:
    with matrix.planner(["encoder"], {}) as service:
        section, cells = matrix.matrix(service, ["tags", "images"], ["encoder"], ["bf16"])
    assert section.rows == [["tags", "encoder", "ok"], ["images", "encoder", "refused: task_not_supported"]]
    assert "cannot be fine-tuned for image-classification" in cells[1].reason
