# What sources use of scipy.sparse.linalg.
from collections.abc import Callable
from typing import Any

import numpy as np

_Array = np.ndarray[Any, np.dtype[Any]]

class LinearOperator:
    shape: tuple[int, int]
    def __init__(
        self,
        shape: tuple[int, int],
        matvec: Callable[[_Array], _Array],
        rmatvec: Callable[[_Array], _Array] | None = ...,
        matmat: Callable[[_Array], _Array] | None = ...,
        dtype: Any = ...,
        rmatmat: Callable[[_Array], _Array] | None = ...,
    ) -> None: ...

def svds(
    A: Any,
    k: int = ...,
    *,
    ncv: int | None = ...,
    tol: float = ...,
    which: str = ...,
    v0: _Array | None = ...,
    maxiter: int | None = ...,
    return_singular_vectors: bool | str = ...,
    solver: str = ...,
    rng: Any = ...,
    options: dict[str, Any] | None = ...,
) -> Any: ...
def eigsh(A: Any, k: int = ..., **options: Any) -> Any: ...
def cg(A: Any, b: _Array, x0: _Array | None = ..., **options: Any) -> tuple[_Array, int]: ...
def norm(x: Any, ord: Any = ..., axis: int | None = ...) -> Any: ...
