"""tunesmith: labelled rows in, an instruct model that is shown to be better out."""

import logging
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tunesmith")  # pyproject.toml has the number
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "unknown"

# transformers imports torchao where it is installed, which then warns about its kernels for GPUs
# that are not there. Set here because nothing of the package can import transformers any earlier.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
