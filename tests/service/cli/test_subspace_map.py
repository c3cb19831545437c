from __future__ import annotations

import io

import pytest
from rich.console import Console

from service.cli.subspace_map import PRUNED, SHADES, arrange, cells, importance_range, shorten, subspace_map
from service.client.types import SubspaceJson, SubspaceMapJson


def subspace(importance: float, active: bool = True) -> SubspaceJson:
    pruned_at = None if active else 5
    return {"index": 0, "rows": 4, "rank": 1, "importance": importance, "active": active, "pruned_at": pruned_at}


def summary(modules: dict[str, list[SubspaceJson]]) -> SubspaceMapJson:
    active = sum(s["active"] for group in modules.values() for s in group)
    return {"total": sum(map(len, modules.values())), "active": active, "target": 2, "modules": modules, "schedule": []}


def test_modules_are_arranged_by_layer_and_kind() -> None:
    names = ["bert.encoder.layer.0.attention.self.query", "bert.encoder.layer.11.attention.self.value", "pooler"]
    assert [(layer, kind) for layer, kind, _ in arrange(names)] == [("0", "query"), ("11", "value"), ("", "pooler")]


def test_kinds_with_the_same_ending_keep_their_whole_name() -> None:
    names = ["layer.0.attention.output.dense", "layer.0.output.dense"]
    assert [kind for _, kind, _ in arrange(names)] == ["attention.output.dense", "output.dense"]


def test_pruned_subspaces_are_dimmed_and_important_ones_bright() -> None:
    text = cells([subspace(1e-9), subspace(1.0), subspace(1.0, active=False)], 80, 1e-9, 1.0)
    assert text.plain == SHADES[0][0] * 2 + SHADES[-1][0] * 2 + PRUNED[0] * 2
    assert [str(span.style) for span in text.spans] == [SHADES[0][1], SHADES[-1][1], PRUNED[1]]


@pytest.mark.parametrize("room", [3, 10, 16, 31])
def test_many_subspaces_share_cells(room: int) -> None:
    text = cells([subspace(0.1, active=i % 2 == 0) for i in range(32)], room, 0.1, 0.1)
    assert 0 < len(text.plain) <= room


def test_shared_cell_is_pruned_only_if_all_its_subspaces_are() -> None:
    group = [subspace(0.1, active=False), subspace(0.5), subspace(0.1, active=False), subspace(0.1, active=False)]
    assert [sign == PRUNED[0] for sign in cells(group, 2, 0.1, 0.5).plain] == [False, True]


def test_zero_scores_are_drawn() -> None:
    group = [subspace(0.0), subspace(0.0)]
    assert importance_range(summary({"a": group})) == (0.0, 0.0)
    assert cells(group, 10, 0.0, 0.0).plain == SHADES[0][0] * 4


def test_middle_layers_of_deep_models_are_left_out() -> None:
    assert shorten([str(i) for i in range(32)], 6) == ["0", "1", None, "29", "30", "31"]
    assert shorten(["0", "1"], 6) == ["0", "1"]


def test_the_map_fits_its_width() -> None:
    modules = {f"layers.{layer}.{kind}_proj": [subspace(0.1)] * 32 for layer in range(28) for kind in "qkvogud"}
    console = Console(file=io.StringIO(), width=80, record=True)
    console.print(subspace_map(summary(modules), 74, 10))
    lines = console.export_text().splitlines()
    assert len(lines) <= 12
    assert max(map(len, lines)) <= 80
