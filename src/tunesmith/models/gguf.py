"""A .gguf file as an ordinary folder: dequantised to float32 once, and kept beside the prepared
rows.

Reading one takes many times as long as reading safetensors, and a run loads its base more than
once.
"""

from __future__ import annotations

import io
import tempfile
from contextlib import redirect_stderr
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import cast

import torch
from huggingface_hub import metadata_save
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tunesmith.errors import ModelError
from tunesmith.models.save import write_model_folder
from tunesmith.models.weights import Loaded, check_loaded
from tunesmith.packages import installed
from tunesmith.progress import note, progress
from tunesmith.rundir import cache_folder, file_sha256


@lru_cache(maxsize=4)
def converted(file: Path, size: int, changed_ns: int) -> Path:
    """The folder of a .gguf file (`size` and `changed_ns` are only what tells a changed file);
    ModelError where it cannot be read. The folder may be deleted at any time.
    """
    check_package(f"{file}: reading a .gguf file")
    key = f"{file_sha256(file)[:32]}-{version('transformers')}"
    folder = cache_folder() / "gguf" / key
    if not folder.is_dir():
        note(f"{file.name} is converted to float32 safetensors, once, in {folder}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix="tunesmith-") as beside,
            progress(f"converting {file.name}"),
        ):
            write_model_folder(*read_gguf(file), folder, _card(file, Path(beside)))
    return folder


def check_package(what: str) -> None:
    """ModelError where `what` needs a package that is not installed."""
    if not installed("gguf"):
        raise ModelError(
            f"{what} needs gguf, not installed here", hint="pip install 'tunesmith[gguf]'"
        )


def _card(file: Path, folder: Path) -> list[Path]:
    """A model card with the licence that the file names; none where it names none."""
    from gguf import GGUFReader  # noqa: PLC0415 - an extra, whose presence was checked

    field = GGUFReader(file).get_field("general.license")
    if field is None:
        return []
    card = folder / "README.md"
    metadata_save(card, {"license": str(field.contents())})
    return [card]


def read_gguf(file: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer. The file is read in its own folder: what lies beside it is not part
    of it.
    """
    with tempfile.TemporaryDirectory(prefix="tunesmith-") as alone:
        (Path(alone) / "model.gguf").symlink_to(file.absolute())
        from_file = {"gguf_file": "model.gguf"}
        try:
            with redirect_stderr(io.StringIO()):  # a progress bar that cannot be turned off
                config = AutoConfig.from_pretrained(alone, trust_remote_code=False, **from_file)
                tokenizer = AutoTokenizer.from_pretrained(
                    alone, config=config, trust_remote_code=False, **from_file
                )
                loaded: object = AutoModelForCausalLM.from_pretrained(
                    alone,
                    config=config,
                    dtype=torch.float32,
                    output_loading_info=True,
                    trust_remote_code=False,
                    **from_file,
                )
        # a damaged file, or an architecture that transformers cannot read from one
        except Exception as error:
            reason = (
                str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            )
            raise ModelError(
                f"{file}: cannot be read as a GGUF model: {reason}",
                hint="download it again, or give the model as a Hugging Face folder",
            ) from error
    model, info = cast(Loaded, loaded)
    check_loaded(str(file), info)
    setattr(model, "hf_quantizer", None)  # noqa: B010 - annotated as something else
    for name in ("quantization_config", "_model_name_or_path"):
        if hasattr(model.config, name):
            delattr(model.config, name)
    return model, tokenizer
