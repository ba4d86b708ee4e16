# Inside kernels, an intrinsic is a function of its arguments without the typing context; for the checker it takes anything.
from collections.abc import Callable
from typing import Any

def intrinsic(function: Callable[..., Any], /) -> Callable[..., Any]: ...
