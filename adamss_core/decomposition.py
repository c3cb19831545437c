"""Decompose a weight into the frozen basis, the row sets and the initial A: SVD, k-means, one small SVD per subspace.

Where the result must agree with stock PEFT's (the randomized SVD and its seed, the k-means call and its label order),
the calls are the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import safetensors
import safetensors.torch
import sklearn
import torch
from peft import AdamssConfig
from scipy.linalg.lapack import ssyevr
from threadpoolctl import ThreadpoolController
from torch import Tensor
from torch.nn import functional as F

from adamss_core.decomposition_cache import CacheFolder, as_cache
from adamss_core.errors import AdamssWarning, WeightError
from adamss_core.fileio.atomic import write_atomically
from adamss_core.layout import SubspaceLayout
from adamss_core.weight_sketch import sketch_weight

KMEANS_SEED = 123456789  # stock PEFT's constant: the row sets of its adapters depend on it
KMEANS_ITERATIONS = 10
CACHE_FORMAT = "4"


@dataclass(frozen=True)
class Decomposition:
    """Starting point of one layer's adapter.

    Attributes:
        basis: V^T, (r, in[+1]), fp32, on the weight's device.
        layout: the row sets and ranks.
        a: packed A, (R, r), fp32, on the weight's device.
        sketch: of the weight (see `weight_sketch.sketch_weight`), where it is known.
    """

    basis: Tensor
    layout: SubspaceLayout
    a: Tensor
    sketch: Tensor | None = None


def extended_weight(weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return [W | b] in fp32, whatever the dtype of the base: (out, in[+1])."""
    weight = weight.detach().float()
    if bias is None:
        return weight
    out_features, n_in = weight.shape
    # Rows begin on a multiple of 16 elements: an odd width would cost the SVD's products a few percent.
    extended = weight.new_empty(out_features, -(-(n_in + 1) // 16) * 16)[:, : n_in + 1]
    extended[:, :n_in] = weight
    extended[:, n_in] = bias.detach()
    return extended


def check_weight(module: str, extended: Tensor) -> None:
    """Raise WeightError for a weight without a meaningful SVD: NaN, infinite or all zero."""
    low, high = (bound.item() for bound in torch.aminmax(extended))  # one pass; NaN is kept
    if not (math.isfinite(low) and math.isfinite(high)):
        raise WeightError(
            f"The weight of '{module}' holds NaN or infinite values.",
            hint="Load the base model again from a sound checkpoint, or leave this module out of target_modules.",
            where=module,
        )
    if low == high == 0:
        raise WeightError(
            f"The weight of '{module}' is all zero, so it has no subspaces.",
            hint="Check that the base model's weights were really loaded, or leave this module out of target_modules.",
            where=module,
        )


def decompose(
    module: str,
    weight: Tensor,
    bias: Tensor | None,
    config: AdamssConfig,
    cache: CacheFolder | None = None,
    *,
    frozen_bias: bool = False,
) -> Decomposition:
    """Decompose [W | b], through the cache folder where one is given.

    Args:
        module: the module's name, for errors and warnings.
        weight: (out, in), any float dtype.
        bias: (out,), or None.
        config: r, num_subspaces, subspace_rank, use_dynamic_rank, svd_threshold and random_seed are used.
        cache: folder of finished decompositions, keyed by content.
        frozen_bias: take basis and A from W alone, with zeros in the basis' column for b: the adapter leaves b alone.

    Raises:
        WeightError: NaN, infinite or all-zero weight.
    """
    out_features = weight.shape[0]
    if config.num_subspaces > out_features:
        warnings.warn(
            f"num_subspaces={config.num_subspaces} is more than the {out_features} rows of '{module}'; "
            f"{out_features} subspaces are used there.",
            AdamssWarning,
            stacklevel=2,
        )
    frozen_bias &= bias is not None
    entries = as_cache(cache)
    path = None if entries is None else entries.entry(_cache_key(weight, bias, config, frozen_bias))
    decomposition = None if path is None else _read_cache(path, weight.device)
    if decomposition is None:
        # Only on a cache miss: concatenating W and b is slow for a large layer.
        extended = extended_weight(weight, bias)
        sketch = sketch_weight(weight, bias)
        # NaN, infinity and zeros show in the sketch; sums that overflow or cancel look alike, so check the weight.
        if not sketch.isfinite().all() or not sketch.any():
            check_weight(module, extended)
        if frozen_bias:  # a bias alone does not save a weight of zeros
            check_weight(module, extended[:, :-1])
        decomposition = _compute(extended, config, sketch, frozen_bias)
        if path is not None:
            _write_cache(path, decomposition)
    return decomposition


def _compute(extended: Tensor, config: AdamssConfig, sketch: Tensor, frozen_bias: bool) -> Decomposition:
    u, basis = truncated_svd(extended, config.r, config.random_seed)
    # Always those of [W | b]: stock PEFT places the rows of a file by clustering them anew.
    rows = cluster_rows(u, config.num_subspaces)
    if frozen_bias:
        u, basis = _svd_of_weight(extended, len(basis), config.random_seed)
    sizes = torch.bincount(rows).tolist()
    members = u[rows.argsort(stable=True).to(u.device)].split(sizes)  # U[I_k] of each subspace
    with _blas_threads().limit(limits=1, user_api="blas"):
        bases = [_leading_directions(part, config) for part in members]
    layout = SubspaceLayout(rows=rows, ranks=tuple(a.shape[0] for a in bases))
    return Decomposition(basis=basis, layout=layout, a=torch.cat(bases), sketch=sketch)


def truncated_svd(extended: Tensor, r: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return U (out, r) and V^T (r, in[+1]) of a seeded randomized SVD (Halko, Martinsson and Tropp, 2009)."""
    rank = min(r, *extended.shape)
    device = extended.device
    # svd_lowrank takes no generator, so seed the global one and restore it afterwards.
    devices = [] if device.type == "cpu" else [device]
    kind = "cuda" if device.type == "cpu" else device.type
    with torch.random.fork_rng(devices=devices, device_type=kind):
        torch.manual_seed(seed)
        u, _, v = torch.svd_lowrank(extended, q=rank, niter=2)
    return u, v.t().contiguous()


def _svd_of_weight(extended: Tensor, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return U (out, rank) and V^T (rank, in + 1) of W alone, with zeros where V^T would meet the bias.

    Stock PEFT loads bases in the shape of [W | b]'s only, which has a direction more where rank = in + 1.
    """
    u, basis = truncated_svd(extended[:, :-1], rank, seed)
    missing = rank - len(basis)
    return F.pad(u, (0, missing)), F.pad(basis, (0, 1, 0, missing))


def cluster_rows(u: Tensor, num_subspaces: int) -> Tensor:
    """Cluster the rows of U (out, r) by k-means: the subspace of each row, (out,) int64 on the CPU, none empty."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    points = u.detach().cpu().numpy().astype("float32")
    kmeans = KMeans(
        n_clusters=min(num_subspaces, len(points)),
        init="random",
        n_init=1,
        max_iter=KMEANS_ITERATIONS,
        random_state=KMEANS_SEED,
    )
    # Points and arguments are valid; checking them would take a sixth of the time at 768 rows.
    with warnings.catch_warnings(), sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        # Fewer distinct rows than clusters (repeated rows): the empty ones are dropped below.
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = torch.from_numpy(kmeans.fit_predict(points)).long()
    return torch.unique(labels, return_inverse=True)[1]


@cache
def _blas_threads() -> ThreadpoolController:
    """Return the controller of SciPy's own BLAS: its threads compete with torch's for cores (48 ms instead of 1)."""
    return ThreadpoolController()


def _leading_directions(members: Tensor, config: AdamssConfig) -> Tensor:
    """Return an orthonormal basis (r_k, r) of the leading right-singular directions of U[I_k] (|I_k|, r)."""
    size, r = members.shape
    # Decompose only the smaller Gram matrix, and only its leading part: an eighth of the time of an SVD.
    few_rows = size <= r
    gram = members @ members.t() if few_rows else members.t() @ members
    rank = min(size, r, config.subspace_rank)
    squared, vectors = _leading_eigenpairs(gram, rank)
    if config.use_dynamic_rank:
        # Singular values of U[I_k] U[I_k]^T are the squares of U[I_k]'s.
        rank = max(1, int((squared > config.svd_threshold * squared[0]).sum()))
    leading = vectors[:, :rank]
    if few_rows:  # these are left-singular; QR keeps the rows orthonormal where singular values vanish
        leading = torch.linalg.qr(members.t() @ leading)[0]
    return leading.t().contiguous()


def _leading_eigenpairs(gram: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalues (number,), descending, and eigenvectors (n, number) of a symmetric (n, n)."""
    n = len(gram)
    values, vectors, _, _, info = ssyevr(gram.cpu().numpy(), range="I", il=n - number + 1, iu=n)
    if info:  # LAPACK does not rule it out
        raise ArithmeticError(f"The eigenvectors of a subspace were not found (ssyevr: {info}).")
    squared, leading = (torch.from_numpy(part[..., :number]).flip(-1).to(gram) for part in (values, vectors))
    return squared, leading


def _cache_key(weight: Tensor, bias: Tensor | None, config: AdamssConfig, frozen_bias: bool) -> str:
    """Return a key over weight and bias and all else that the result depends on, the computing libraries included."""
    recipe = {
        "format": CACHE_FORMAT,
        "shape": list(weight.shape),
        "dtype": str(weight.dtype),
        "weight": _content_hash(weight),
        "bias": None if bias is None else _content_hash(bias),
        "device": weight.device.type,
        "torch": torch.__version__,
        "sklearn": sklearn.__version__,
        "r": config.r,
        "num_subspaces": config.num_subspaces,
        "subspace_rank": config.subspace_rank,
        "use_dynamic_rank": config.use_dynamic_rank,
        "svd_threshold": config.svd_threshold if config.use_dynamic_rank else None,
        "seed": config.random_seed,
        **({"frozen_bias": True} if frozen_bias else {}),
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def _content_hash(values: Tensor) -> str:
    """Hash with XXH3, at the speed of memory: SHA-256 took ten times as long (20 ms instead of 2 at 4096 x 4096).

    Not a security boundary: whoever can forge a collision can already place models in the folder.
    """
    import xxhash  # for the cache only

    values = values.detach()
    transposed = values.dim() == 2 and values.t().is_contiguous() and not values.is_contiguous()
    stored = (values.t() if transposed else values).contiguous().cpu()
    return f"{'t' if transposed else ''}{xxhash.xxh3_128_hexdigest(stored.view(torch.uint8).numpy().data)}"


def _read_cache(path: Path, device: torch.device) -> Decomposition | None:
    """Return a valid entry, or None: missing and damaged ones are computed and written again."""
    try:
        tensors = safetensors.torch.load(path.read_bytes())
        digest = tensors.pop("digest")
    except (OSError, KeyError, ValueError, safetensors.SafetensorError):
        return None
    if not torch.equal(digest, _digest(tensors)):
        return None
    layout = SubspaceLayout(rows=tensors["rows"].long(), ranks=tuple(tensors["ranks"].tolist()))
    return Decomposition(
        basis=tensors["basis"].to(device), layout=layout, a=tensors["a"].to(device), sketch=tensors["sketch"]
    )


def _write_cache(path: Path, value: Decomposition) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert value.sketch is not None
    tensors = {
        "sketch": value.sketch,
        "basis": value.basis.cpu().contiguous(),
        "a": value.a.cpu().contiguous(),
        "rows": value.layout.rows.to(torch.int32),
        "ranks": torch.tensor(value.layout.ranks),
    }
    write_atomically({path: safetensors.torch.save({**tensors, "digest": _digest(tensors)})})


def _digest(tensors: dict[str, Tensor]) -> Tensor:
    """Return the SHA-256 over names, shapes and values, (32,) uint8: one flipped bit would give another adapter."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().data)
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)
