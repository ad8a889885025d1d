"""tunesmith: labelled rows in, an instruct model that is shown to be better out."""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.api import Run as Run
    from tunesmith.api import resume as resume
    from tunesmith.api import run as run
    from tunesmith.api import score as score

__all__ = ["Run", "resume", "run", "score"]

try:
    __version__ = version("tunesmith")  # pyproject.toml has the number
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "unknown"

# transformers imports torchao where it is installed, which then warns about its kernels for GPUs
# that are not there. Set here because nothing of the package can import transformers any earlier.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    """What tunesmith/api.py has, loaded when it is first used: it takes torch."""
    if name in __all__:
        from tunesmith import api  # noqa: PLC0415 - torch

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
