# What sources and rules use of scipy.linalg.
from typing import Any

import numpy as np

_Array = np.ndarray[Any, np.dtype[Any]]

class LinAlgError(Exception): ...

def cho_factor(
    a: _Array, lower: bool = ..., overwrite_a: bool = ..., check_finite: bool = ...
) -> tuple[_Array, bool]: ...
def cho_solve(
    c_and_lower: tuple[_Array, bool], b: _Array, overwrite_b: bool = ..., check_finite: bool = ...
) -> _Array: ...
def cholesky(a: _Array, lower: bool = ..., overwrite_a: bool = ..., check_finite: bool = ...) -> _Array: ...
def solve_triangular(
    a: _Array,
    b: _Array,
    trans: int | str = ...,
    lower: bool = ...,
    unit_diagonal: bool = ...,
    overwrite_b: bool = ...,
    check_finite: bool = ...,
) -> _Array: ...
def solve(
    a: _Array,
    b: _Array,
    lower: bool = ...,
    overwrite_a: bool = ...,
    overwrite_b: bool = ...,
    check_finite: bool = ...,
    assume_a: str | None = ...,
    transposed: bool = ...,
) -> _Array: ...
def inv(a: _Array, overwrite_a: bool = ..., check_finite: bool = ...) -> _Array: ...
def svd(
    a: _Array,
    full_matrices: bool = ...,
    compute_uv: bool = ...,
    overwrite_a: bool = ...,
    check_finite: bool = ...,
    lapack_driver: str = ...,
) -> Any: ...
def qr(a: _Array, overwrite_a: bool = ..., mode: str = ..., pivoting: bool = ..., check_finite: bool = ...) -> Any: ...
def eigh(a: _Array, b: _Array | None = ..., **options: Any) -> Any: ...
