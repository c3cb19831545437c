"""The decomposition against torch.linalg.svd, its cache, and its manners."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adamss_core import decomposition, get_adamss_model
from adamss_core.decomposition import Decomposition, cluster_rows, decompose, truncated_svd
from adamss_core.decomposition_cache import DecompositionCache
from adamss_core.errors import WeightError
from adamss_core.weight_sketch import sketch_weight
from tests.adamss_core.support import layers_of, mlp_config, outputs
from tests.models import Mlp, config


def weight(rows: int = 40, columns: int = 25, *, seed: int = 0) -> Tensor:
    """A weight with a falling spectrum, as trained ones have."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(rows, columns, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(columns, columns, generator=generator)).Q
    return left * (0.8 ** torch.arange(columns)) @ right


def same(first: Decomposition, second: Decomposition) -> bool:
    return (
        torch.equal(first.basis, second.basis)
        and torch.equal(first.a, second.a)
        and torch.equal(first.layout.rows, second.layout.rows)
        and first.layout.ranks == second.layout.ranks
    )


# --- against torch.linalg.svd -----------------------------------------------------------------------------------------


def test_basis_spans_the_leading_right_singular_directions() -> None:
    w = weight()
    u, basis = truncated_svd(w, 8, seed=0)
    _, _, vt = torch.linalg.svd(w, full_matrices=False)
    assert torch.allclose(basis @ basis.t(), torch.eye(8), atol=1e-5)
    # The cosines of the principal angles between the two subspaces.
    assert float(torch.linalg.svdvals(basis[:6] @ vt[:8].t()).min()) > 0.999
    assert torch.allclose(u.t() @ u, torch.eye(8), atol=1e-5)


@pytest.mark.parametrize("shape", [(40, 25), (12, 60), (60, 12)])
def test_r_is_clamped_to_the_smaller_dimension(shape: tuple[int, int]) -> None:
    w = weight(shape[0], min(shape)) @ torch.randn(min(shape), shape[1]) if shape[0] < shape[1] else weight(*shape)
    u, basis = truncated_svd(w, 500, seed=0)
    assert u.shape == (shape[0], min(shape))
    assert basis.shape == (min(shape), shape[1])
    # A complete decomposition reproduces the weight.
    assert torch.allclose((w @ basis.t()) @ basis, w, atol=1e-4 * float(w.norm()))


@pytest.mark.parametrize("fields", [{}, {"subspace_rank": 5}, {"num_subspaces": 15, "subspace_rank": 4}, {"r": 3}])
def test_a_starts_as_the_leading_right_singular_directions(fields: dict[str, int]) -> None:
    settings = config(**{"r": 12, **fields})
    w = weight()
    found = decompose("w", w, None, settings)
    u, _ = truncated_svd(w, settings.r, settings.random_seed)
    offset = 0
    for k, rank in enumerate(found.layout.ranks):
        a = found.a[offset : offset + rank]
        offset += rank
        members = u[found.layout.rows == k]
        assert rank == min(len(members), settings.subspace_rank, settings.r)
        assert torch.allclose(a @ a.t(), torch.eye(rank), atol=1e-5)
        # What the projection on A_k keeps of U[I_k] is what the best projection of that rank keeps.
        best = torch.linalg.svdvals(members)[:rank].square().sum()
        assert float((members @ a.t()).square().sum()) == pytest.approx(float(best), rel=1e-4)
    assert offset == len(found.a)


def test_every_row_belongs_to_one_subspace_and_none_is_empty() -> None:
    layout = decompose("w", weight(), None, config(r=12, num_subspaces=9)).layout
    assert layout.rows.shape == (40,)
    assert set(layout.rows.tolist()) == set(range(9))
    assert torch.cat([layout.members(k) for k in range(9)]).sort().values.tolist() == list(range(40))


def test_repeated_rows_give_fewer_subspaces() -> None:
    w = weight(3, 3).repeat(10, 1)  # 30 rows, three different ones
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = decompose("w", w, None, config(r=3, num_subspaces=8))
    layout = found.layout
    assert layout.num_subspaces == 3
    assert min(layout.sizes) > 0
    for k in range(3):
        members = w[layout.rows == k]
        assert torch.equal(members, members[:1].expand_as(members))
    assert torch.isfinite(found.a).all()


def test_rank_one_weight() -> None:
    found = decompose("w", torch.outer(torch.randn(20), torch.randn(10)), None, config(r=5, num_subspaces=3))
    assert torch.isfinite(found.basis).all()
    assert torch.isfinite(found.a).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_precision_is_decomposed_in_fp32(dtype: torch.dtype) -> None:
    base = Mlp().to(dtype)
    layer = layers_of(get_adamss_model(base, mlp_config()))["first"]
    extended = layer.base_extended()
    assert extended.dtype == torch.float32
    expected = decompose("first", extended, None, mlp_config())
    assert torch.equal(layer.adamss_newB["default"].float(), expected.basis)
    assert torch.equal(layer.adamss_A["default"].detach().float(), expected.a)


def test_global_random_stream_is_untouched() -> None:
    base = Mlp()
    torch.manual_seed(11)
    expected = torch.randn(4)
    torch.manual_seed(11)
    get_adamss_model(base, mlp_config())
    assert torch.equal(torch.randn(4), expected)


def test_same_result_whatever_the_global_stream() -> None:
    w = weight()
    torch.manual_seed(1)
    first = decompose("w", w, None, config())
    torch.manual_seed(2)
    assert same(first, decompose("w", w, None, config()))


# --- the cache --------------------------------------------------------------------------------------------------------


@pytest.fixture
def count_svds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every SVD; the SVD itself is the real one."""
    calls: list[int] = []
    real = truncated_svd

    def counted(*args: Any) -> tuple[Tensor, Tensor]:
        calls.append(1)
        return real(*args)

    monkeypatch.setattr(decomposition, "truncated_svd", counted)
    return calls


def test_second_adapter_starts_from_the_cache(tmp_path: Path, count_svds: list[int]) -> None:
    first = get_adamss_model(Mlp(), mlp_config(), decomposition_cache=tmp_path / "cache")
    assert len(count_svds) == 2
    second = get_adamss_model(Mlp(), mlp_config(), decomposition_cache=str(tmp_path / "cache"))
    assert len(count_svds) == 2
    for name, layer in layers_of(first).items():
        other = layers_of(second)[name]
        for held in ("adamss_A", "adamss_B", "adamss_newB", "adamss_rows", "adamss_cells"):
            assert torch.equal(getattr(layer, held)["default"], getattr(other, held)["default"])
        assert layer.layouts["default"].ranks == other.layouts["default"].ranks
    assert torch.equal(outputs(first), outputs(second))
    second.add_adapter("other", mlp_config())
    assert len(count_svds) == 2


def test_an_observer_may_bring_entries_from_elsewhere(tmp_path: Path, count_svds: list[int]) -> None:
    get_adamss_model(Mlp(), mlp_config(), decomposition_cache=tmp_path / "elsewhere")
    (tmp_path / "here").mkdir()

    def bring(path: Path) -> None:
        path.write_bytes((tmp_path / "elsewhere" / path.name).read_bytes())

    cache = DecompositionCache(tmp_path / "here", bring)
    model = get_adamss_model(Mlp(), mlp_config(), decomposition_cache=cache)
    assert len(count_svds) == 2
    assert pickle.loads(pickle.dumps(model.base_model.decompose)).keywords["cache"] == DecompositionCache(cache.folder)


@pytest.mark.parametrize(
    "change",
    [
        {"r": 7},
        {"num_subspaces": 5},
        {"subspace_rank": 1},
        {"random_seed": 1},
        {"use_dynamic_rank": True},
    ],
)
def test_whatever_the_result_depends_on_is_in_the_key(
    change: dict[str, Any], tmp_path: Path, count_svds: list[int]
) -> None:
    w = weight()
    decompose("w", w, None, config(), tmp_path)
    changed = decompose("w", w, None, config(**change), tmp_path)
    assert len(count_svds) == 2
    assert same(changed, decompose("w", w, None, config(**change)))


def test_another_weight_is_another_key(tmp_path: Path, count_svds: list[int]) -> None:
    w = weight()
    decompose("w", w, None, config(), tmp_path)
    w[3, 4] += 1e-6
    decompose("w", w, None, config(), tmp_path)
    assert len(count_svds) == 2


def test_what_the_result_does_not_depend_on_is_not_in_the_key(tmp_path: Path, count_svds: list[int]) -> None:
    w = weight()
    decompose("w", w, None, config(), tmp_path)
    decompose("another name", w.clone(), None, config(use_asa=True, init_weights=None, svd_threshold=0.3), tmp_path)
    assert len(count_svds) == 1


def damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    if kind == "flipped":
        content[-5] ^= 0x10  # in the values: still a sound safetensors file
    results = {"truncated": bytes(content[:-7]), "empty": b"", "noise": b"x" * 500, "flipped": bytes(content)}
    path.write_bytes(results[kind])


@pytest.mark.parametrize("kind", ["truncated", "empty", "noise", "flipped"])
def test_damaged_entry_is_computed_and_written_anew(kind: str, tmp_path: Path, count_svds: list[int]) -> None:
    w = weight()
    expected = decompose("w", w, None, config(), tmp_path)
    (entry,) = tmp_path.iterdir()
    damage(entry, kind)
    assert same(decompose("w", w, None, config(), tmp_path), expected)
    assert len(count_svds) == 2
    assert same(decompose("w", w, None, config(), tmp_path), expected)
    assert len(count_svds) == 2
    assert list(tmp_path.iterdir()) == [entry]


def test_bias_dtype_and_orientation_are_part_of_the_content(tmp_path: Path) -> None:
    square = weight(24, 24)
    variants: list[tuple[Tensor, Tensor | None]] = [
        (square, None),
        (square, torch.zeros(24)),
        (square, torch.ones(24)),
        (square.t(), None),  # the same bytes, as a Conv1D stores them
        (square.double(), None),
    ]
    for values, bias in variants:
        found = decompose("w", values, bias, config(), tmp_path)
        assert same(found, decompose("w", values, bias, config()))
    assert len(list(tmp_path.iterdir())) == len(variants)


@pytest.mark.parametrize("shape", [(40, 25), (33, 16), (5, 100)])
def test_sketch_of_weight_and_bias_is_that_of_the_two_put_together(shape: tuple[int, int]) -> None:
    w, b = torch.randn(shape), torch.randn(shape[0])
    assert torch.allclose(sketch_weight(w, b), sketch_weight(torch.cat([w, b[:, None]], 1)), atol=1e-5)


def test_a_bad_weight_never_reaches_the_cache(tmp_path: Path) -> None:
    with pytest.raises(WeightError):
        decompose("w", torch.zeros(4, 4), None, config(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_k_means_gives_what_it_gave(tmp_path: Path) -> None:
    """The labels are part of the method: adapters written by stock PEFT depend on their order."""
    u, _ = truncated_svd(weight(), 12, seed=0)
    labels = cluster_rows(u, 5)
    assert torch.equal(labels, cluster_rows(u.clone(), 5))
    assert labels.dtype == torch.int64
