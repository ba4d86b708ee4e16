# A type is called with the types of arguments to make a signature.
from typing import Any

int32: Any
intp: Any
void: Any
float32: Any
int64: Any
float64: Any
CPointer: Any
