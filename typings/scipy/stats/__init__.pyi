from typing import Any

class _Distribution:
    def ppf(self, q: Any, *args: Any, **kwargs: Any) -> Any: ...
    def cdf(self, x: Any, *args: Any, **kwargs: Any) -> Any: ...
    def sf(self, x: Any, *args: Any, **kwargs: Any) -> Any: ...
    def pdf(self, x: Any, *args: Any, **kwargs: Any) -> Any: ...

norm: _Distribution
chi2: _Distribution
t: _Distribution
beta: _Distribution

def rankdata(a: Any, method: str = ..., *, axis: int | None = ...) -> Any: ...

class _Tested:
    statistic: float
    pvalue: float

def chisquare(f_obs: Any, f_exp: Any = ...) -> _Tested: ...
