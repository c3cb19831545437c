"""Streamed sketches of sums over tokens that are too large to keep: the directions of a layer's inputs or gradients.

M = sum_t v_t w_t^T, (columns, n), is kept as Y = M T with a Gaussian test matrix T (n, width). In expectation Y Y^T is
a multiple of M M^T, so Y's leading left singular vectors stand for M's, after one pass and without M (Halko, Martinsson
and Tropp, 2009). A narrow M is kept itself: there T is the identity.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from adamss_core.spec.calibration_plan import sketch_width


class BasisSketch:
    """Sketch of M for the `r` leading directions of its columns.

    Args:
        columns: rows of M, which are columns of the weight: in[+1].
        n: columns of M.
        seed: of the test matrix.
    """

    def __init__(self, columns: int, n: int, r: int, *, seed: int, device: torch.device) -> None:
        width = sketch_width(n, r)
        self._test = None if width == n else _test_matrix(n, width, seed, device)
        self._r = r
        self.value = torch.zeros(columns, width, device=device)

    def product(self, x: Tensor, factors: Tensor) -> Tensor:
        """Return what tokens add to the sketch, (columns, width), in fp32 also under autocast.

        Args:
            x: (tokens, in) inputs; v_t is [x_t; 1] where the weight has a column for the bias, else x_t.
            factors: (tokens, n), each w_t.
        """
        with torch.autocast(x.device.type, enabled=False):
            factors = factors if self._test is None else factors @ self._test
            product = x.t() @ factors
        if self.value.shape[0] == x.shape[1]:
            return product
        return torch.cat([product, factors.sum(0, keepdim=True)])

    def basis(self) -> Tensor:
        """Return the leading directions as orthonormal rows, (r, columns), by descending singular value."""
        return self.leading()[0]

    def leading(self) -> tuple[Tensor, Tensor]:
        """Return the basis, (r, columns), and all singular values of the sketch, descending."""
        left, values, _ = torch.linalg.svd(self.value, full_matrices=False)
        return left[:, : self._r].t().contiguous(), values

    @property
    def is_exact(self) -> bool:
        """Return whether M itself is kept."""
        return self._test is None

    def energy(self) -> float:
        """Return the squared norm of M; of a sketch an estimate, about 9 % off at 256 columns."""
        factor = 1 if self._test is None else self.value.shape[1]
        return float(self.value.square().sum()) / factor

    def energies(self) -> Tensor:
        """Return the squared norm of each row of M, (columns,), up to a factor that all rows share."""
        return self.value.square().sum(1)


def extend(x: Tensor, columns: int) -> Tensor:
    """Return [x; 1] where the weight has a column for the bias, else x: (tokens, columns)."""
    return x if x.shape[1] == columns else F.pad(x, (0, 1), value=1.0)


@lru_cache(8)  # layers of one shape share theirs
def _test_matrix(n: int, width: int, seed: int, device: torch.device) -> Tensor:
    """Return a Gaussian matrix (n, width), the same on every device."""
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)).to(device)
