from collections.abc import Callable
from typing import Any

import numpy as np

class OptimizeResult(dict[str, Any]):
    x: np.ndarray[Any, np.dtype[Any]]
    fun: float
    nit: int
    success: bool
    message: str

def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = ...,
    method: str | None = ...,
    jac: Callable[..., Any] | bool | None = ...,
    hess: Callable[..., Any] | None = ...,
    bounds: Any = ...,
    tol: float | None = ...,
    options: dict[str, Any] | None = ...,
) -> OptimizeResult: ...
def isotonic_regression(y: Any, *, weights: Any = ..., increasing: bool = ...) -> OptimizeResult: ...
