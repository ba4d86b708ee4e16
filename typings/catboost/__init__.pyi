# What rankers use of CatBoost.
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np

_Array = np.ndarray[Any, np.dtype[Any]]

class CatBoostError(Exception): ...

class FeaturesData:
    def __init__(
        self,
        num_feature_data: _Array | None = ...,
        cat_feature_data: _Array | None = ...,
        num_feature_names: Sequence[str] | None = ...,
        cat_feature_names: Sequence[str] | None = ...,
    ) -> None: ...

class Pool:
    def __init__(
        self,
        data: Any,
        label: Any = ...,
        cat_features: Sequence[int | str] | None = ...,
        text_features: Sequence[int | str] | None = ...,
        embedding_features: Sequence[int | str] | None = ...,
        *,
        weight: Any = ...,
        group_id: Any = ...,
        group_weight: Any = ...,
        subgroup_id: Any = ...,
        pairs: Any = ...,
        pairs_weight: Any = ...,
        baseline: Any = ...,
        timestamp: Any = ...,
        feature_names: Sequence[str] | None = ...,
        thread_count: int = ...,
    ) -> None: ...
    def num_row(self) -> int: ...
    def num_col(self) -> int: ...
    def quantize(self, **options: Any) -> None: ...
    def set_baseline(self, baseline: Any) -> Pool: ...
    def slice(self, rindex: Any) -> Pool: ...
    def get_label(self) -> Any: ...

class CatBoost:
    def __init__(self, params: Mapping[str, Any] | None = ...) -> None: ...
    def fit(
        self,
        X: Any,
        y: Any = ...,
        *,
        cat_features: Sequence[int | str] | None = ...,
        sample_weight: Any = ...,
        group_id: Any = ...,
        eval_set: Any = ...,
        use_best_model: bool | None = ...,
        early_stopping_rounds: int | None = ...,
        verbose: bool | int | None = ...,
        logging_level: str | None = ...,
        init_model: Any = ...,
        callbacks: Sequence[Any] | None = ...,
        log_cout: Any = ...,
        log_cerr: Any = ...,
    ) -> CatBoost: ...
    def predict(
        self,
        data: Any,
        prediction_type: str = ...,
        ntree_start: int = ...,
        ntree_end: int = ...,
        thread_count: int = ...,
        verbose: bool | None = ...,
        task_type: str = ...,
    ) -> _Array: ...
    def save_model(self, fname: str | PathLike[str], format: str = ..., **options: Any) -> None: ...
    def load_model(self, fname: str | PathLike[str] | None = ..., format: str = ..., **options: Any) -> CatBoost: ...
    def get_feature_importance(self, data: Pool | None = ..., type: str = ..., **options: Any) -> Any: ...
    def get_metadata(self) -> Any: ...  # a mutable mapping of text to text
    def get_params(self, deep: bool = ...) -> dict[str, Any]: ...
    def get_all_params(self) -> dict[str, Any]: ...
    def get_best_score(self) -> dict[str, dict[str, float]]: ...
    def get_best_iteration(self) -> int | None: ...
    def get_evals_result(self) -> dict[str, dict[str, list[float]]]: ...
    def shrink(self, ntree_end: int, ntree_start: int = ...) -> None: ...
    def is_fitted(self) -> bool: ...
    @property
    def tree_count_(self) -> int: ...
    @property
    def best_iteration_(self) -> int | None: ...
    @property
    def best_score_(self) -> dict[str, dict[str, float]]: ...
    @property
    def feature_names_(self) -> list[str]: ...
    @property
    def feature_importances_(self) -> _Array: ...

class CatBoostClassifier(CatBoost):
    def __init__(self, **params: Any) -> None: ...
    def predict_proba(self, X: Any, **options: Any) -> _Array: ...

class CatBoostRegressor(CatBoost):
    def __init__(self, **params: Any) -> None: ...

class CatBoostRanker(CatBoost):
    def __init__(self, **params: Any) -> None: ...

__version__: str
