from typing import Any

from llvmlite.ir import FunctionType

def get_or_insert_function(module: Any, fnty: FunctionType, name: str) -> Any: ...
