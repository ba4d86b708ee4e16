# What the kernels use of numba. A decorated function keeps its type, which numba's own annotations lose.
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

_F = TypeVar("_F", bound=Callable[..., Any])

@overload
def njit(function: _F, /) -> _F: ...
@overload
def njit(
    *,
    cache: bool = ...,
    nogil: bool = ...,
    parallel: bool = ...,
    fastmath: bool | set[str] = ...,
    inline: str = ...,
    boundscheck: bool = ...,
    error_model: str = ...,
    locals: dict[str, Any] = ...,
) -> Callable[[_F], _F]: ...
@overload
def njit(
    signature: str | Sequence[Any],
    /,
    *,
    cache: bool = ...,
    nogil: bool = ...,
    parallel: bool = ...,
    fastmath: bool | set[str] = ...,
    inline: str = ...,
    boundscheck: bool = ...,
    error_model: str = ...,
) -> Callable[[_F], _F]: ...
def cfunc(signature: Any, /, *, cache: bool = ...) -> Callable[[Callable[..., Any]], Any]: ...
def carray(pointer: Any, shape: Any) -> Any: ...

prange = range

def get_num_threads() -> int: ...
def set_num_threads(n: int, /) -> None: ...
def get_thread_id() -> int: ...

__version__: str
