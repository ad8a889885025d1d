"""The one place where configs, tokenizers and weights are loaded: a folder, a hub id or a .gguf
file becomes a folder on this machine, and what is wrong with it is found before anything is read
from it.

With `trust_remote_code` false no code of a model folder runs, and nothing is asked on stdin:
transformers is always told so explicitly. Weights are safetensors only; nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import cast

import huggingface_hub
import torch
from accelerate import init_empty_weights
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import GENERATION_CONFIG_NAME
from transformers.utils import logging as transformers_logging

from tunesmith.errors import ModelError, did_you_mean
from tunesmith.models.architectures import why_refused
from tunesmith.models.four_bit import in_four_bits
from tunesmith.models.gguf import converted
from tunesmith.models.joined import Recorded
from tunesmith.models.stored import StoredWeights, origins_of, take_weights
from tunesmith.models.weights import (
    Loaded,
    check_finite,
    check_loaded,
    read_header,
    stored_tensors,
    weight_files,
)
from tunesmith.recipe import BUILT_IN_MODEL
from tunesmith.rundir import MODEL_FILE_KINDS, THRESHOLD_FILE, file_sha256

ASSETS = Path(__file__).parents[1] / "assets"
MAX_UNKNOWN_CONTEXT = 1 << 20
ADAPTER = "adapter_config.json"
CONFIG_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
TRUST = "trust_remote_code: true"


# ---- from a name to a folder


def resolve_model(name: str, weights: bool = True) -> str:
    """The built-in model's folder, a folder or .gguf file, or a hub id; ModelError for what holds
    no model. Without `weights` a folder need not have any.
    """
    if name == BUILT_IN_MODEL:
        return str(ASSETS / "base")
    path = Path(name).expanduser()
    if path.is_dir():
        _check_folder(path, weights)
        return str(path)
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ModelError(
                f"{path}: a file, and no .gguf",
                hint="give a Hugging Face model folder or a .gguf file",
            )
        return str(path)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or path.suffix.lower() == ".gguf":
        there = path.parent.iterdir() if path.parent.is_dir() else ()
        near = [file.name for file in there if file.is_dir() or file.suffix.lower() == ".gguf"]
        raise ModelError(f"{name}: no such folder or file", hint=did_you_mean(path.name, near))
    return name


def _check_folder(path: Path, weights: bool = True) -> None:
    if (path / ADAPTER).exists():
        raise ModelError(
            f"{path}: an adapter ({ADAPTER}), not a whole model",
            hint="merge it into its base (peft: merge_and_unload, then save_pretrained) and give "
            "that folder",
        )
    if not (path / "config.json").exists():
        raise ModelError(
            f"{path}: no config.json in this folder",
            hint="give a Hugging Face model folder or a hub id",
        )
    if weights and not any(path.glob("*.safetensors")):
        raise ModelError(
            f"{path}: no .safetensors file in this folder",
            hint="tunesmith reads safetensors only; convert with save_pretrained in a version of "
            "transformers >= 5",
        )


def model_folder(name: str, trust_remote_code: bool = False, weights: bool = True) -> Path:
    """The folder to read: a hub id's files are fetched into the hub's cache (without `weights` only
    the small ones), a .gguf file is converted once.
    """
    found = Path(resolve_model(name, weights))
    if found.is_dir():
        return found
    if found.is_file():
        return converted(found.resolve(), found.stat().st_size, found.stat().st_mtime_ns)
    return _from_hub(name, trust_remote_code, weights)


@lru_cache(maxsize=8)
def _from_hub(name: str, trust_remote_code: bool, weights: bool) -> Path:
    wanted = [
        *CONFIG_FILES,
        *(["*.safetensors"] if weights else []),
        *(["*.py"] if trust_remote_code else []),
    ]
    others = ["consolidated*"] if trust_remote_code else ["consolidated*", "*/*"]
    try:
        folder = Path(
            huggingface_hub.snapshot_download(name, allow_patterns=wanted, ignore_patterns=others)
        )
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise ModelError(
            f"{name}: no folder of this name here, and the hub does not give it: "
            f"{_first_line(error)}",
            hint="check the spelling and the network, or give a Hugging Face model folder or a "
            ".gguf file",
        ) from error
    if weights:
        _check_folder(folder)
    return folder


def fingerprint(name: str) -> dict[str, str]:
    """Hashes of the files that decide token ids and weights, by name; of a hub id, the id (its
    cache is its own).
    """
    path = Path(resolve_model(name, weights=False))
    if path.is_file():
        return {path.name: file_sha256(path)}
    if not path.is_dir():
        return {"hub id": name}
    files = sorted(
        file
        for file in path.iterdir()
        if file.suffix in MODEL_FILE_KINDS and file.name != THRESHOLD_FILE
    )
    return {file.name: file_sha256(file) for file in files}


# ---- loading


def load_config(name: str, trust_remote_code: bool = False) -> PreTrainedConfig:
    """The config of a model that writes from left to right; ModelError for any other, and for
    quantised weights.
    """
    _only_errors()
    folder = model_folder(name, trust_remote_code, weights=False)
    with _explaining("config", name, folder, trust_remote_code):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            folder, trust_remote_code=trust_remote_code
        )
        parts = [config, config.get_text_config()]
    _check_causal(name, parts[-1])
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and "AutoModelForCausalLM" not in getattr(
        config, "auto_map", {}
    ):
        raise ModelError(
            f"{name}: {config.model_type} is no model that only writes text",
            hint="give a decoder-only language model",
        )
    for part in parts:
        _check_plain(name, part, trust_remote_code)
    return config


def load_tokenizer(name: str, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer as its folder has it, not completed yet (chat.format does); ModelError where it
    cannot be loaded.
    """
    _only_errors()
    folder = model_folder(name, trust_remote_code, weights=False)
    with _explaining("tokenizer", name, folder, trust_remote_code):
        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=trust_remote_code
        )
        return loaded


def load_model(
    name: str,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    device: str | None = None,
    load_in_4bit: bool = False,
) -> PreTrainedModel:
    """A causal LM in eval mode. `auto` is float32 weights (training keeps them so; a GPU computes
    in bf16). `load_in_4bit`: but for embeddings, norms and head, which stay in `dtype`.

    Raises ModelError where a tensor is missing, unknown, of another shape, or has a NaN or infinity
    in it.
    """
    config = load_config(name, trust_remote_code)
    wanted = torch.float32 if dtype == "auto" else getattr(torch, dtype)
    folder = model_folder(name, trust_remote_code)
    read_header(folder, _named(config))
    place = device or default_device()
    options = in_four_bits(place) if load_in_4bit else {}
    with _explaining("model", name, folder, trust_remote_code):
        loaded: object = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=wanted,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            **options,
        )
        model, info = cast(Loaded, loaded)
        model.generation_config = _generation_config(folder) or model.generation_config
    check_loaded(name, info, _is_part(config))
    check_finite(name, model.named_parameters())
    placed = model if load_in_4bit else cast(torch.nn.Module, model).to(torch.device(place))
    return cast(PreTrainedModel, placed.eval())


def _generation_config(folder: Path) -> GenerationConfig | None:
    """None where the folder has none. Where it cannot be read, transformers goes on with another,
    and answers would end elsewhere than was saved: here that is an error.
    """
    if not (folder / GENERATION_CONFIG_NAME).exists():
        return None
    return GenerationConfig.from_pretrained(folder)


def empty_model(config: PreTrainedConfig, trust_remote_code: bool = False) -> PreTrainedModel:
    """The model a config describes, without memory for its weights."""
    _only_errors()
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, trust_remote_code=trust_remote_code
        )
        return model


def weights_are_here(name: str) -> bool:
    """Whether a model's weights can be read without fetching them: not those of a hub id, nor those
    that a folder with a config does not have.
    """
    path = Path(resolve_model(name, weights=False))
    return path.is_file() or any(path.glob("*.safetensors"))


def check_weights(name: str, trust_remote_code: bool = False) -> PreTrainedModel:
    """The empty model of a name, after its weights' names and shapes were checked against it, by
    what the files say of themselves; ModelError as from `load_model`. No weight is read.
    """
    config = load_config(name, trust_remote_code)
    folder = model_folder(name, trust_remote_code)
    header = read_header(folder, _named(config))
    with _explaining("model", name, folder, trust_remote_code):
        _generation_config(folder)
        model = empty_model(config, trust_remote_code)
    _check_by_header(name, folder, model, header, _is_part(config))
    return model


def _check_by_header(
    name: str,
    folder: Path,
    model: PreTrainedModel,
    header: Mapping[str, tuple[int, ...]],
    is_part: bool,
) -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
    """ModelError where the tensors in a header are not the model's; a model without weights as
    transformers loads it from them, and the tensors without memory that it was loaded from.
    """
    tensors = {name: torch.empty(shape, device="meta") for name, shape in header.items()}
    with _explaining("model", name, folder, trust_remote_code=True):
        # transformers renames and joins tensors of older files as it loads
        loaded: object = type(model).from_pretrained(
            None,
            config=model.config,
            state_dict=dict(tensors),
            device_map={"": "meta"},
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    found, info = cast(Loaded, loaded)
    check_loaded(name, info, is_part)
    return found, tensors


def load_empty(
    name: str, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, StoredWeights] | None:
    """A model in eval mode whose float32 weights are on torch's meta device, its buffers in place,
    and where its weights lie; None where it is not known how a weight is made of what the files
    have. ModelError as from `load_model`.
    """
    config = load_config(name, trust_remote_code)
    folder = model_folder(name, trust_remote_code)
    header = read_header(folder, _named(config))
    with _explaining("model", name, folder, trust_remote_code):
        with init_empty_weights(include_buffers=False):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
                config, dtype=torch.float32, trust_remote_code=trust_remote_code
            )
        model.generation_config = _generation_config(folder) or model.generation_config
    model.name_or_path = str(folder)
    with Recorded() as recorded:
        found, tensors = _check_by_header(name, folder, model, header, _is_part(config))
    origins = origins_of(found, tensors, recorded)
    if origins is None:
        return None
    take_weights(model, found)
    for buffer in model.buffers():
        buffer.data = buffer.to(default_device())
    return model.eval(), StoredWeights(name, tuple(weight_files(folder, _named(config))), origins)


def check_numbers(
    name: str, config: PreTrainedConfig, most: int, trust_remote_code: bool = False
) -> None:
    """ModelError for NaN or infinity in weights of at most `most` bytes; more take long to read."""
    folder = model_folder(name, trust_remote_code)
    if sum(file.stat().st_size for file in weight_files(folder, _named(config))) <= most:
        check_finite(name, stored_tensors(folder, _named(config)))


def _named(config: PreTrainedConfig) -> str | None:
    """The file of weights that a config names, which few do."""
    named: str | None = getattr(config, "transformers_weights", None)
    return named


def _is_part(config: PreTrainedConfig) -> bool:
    """Whether the language model is one part of what the folder holds, beside one that sees or
    hears.
    """
    return config.get_text_config() is not config


def default_device() -> str:
    """cuda where there is one, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def max_positions(name_or_config: str | PreTrainedConfig, trust_remote_code: bool = False) -> int:
    """How many tokens the model can read; a config without a limit gives a very large number."""
    config = (
        load_config(name_or_config, trust_remote_code)
        if isinstance(name_or_config, str)
        else name_or_config
    )
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(getattr(text, "max_position_embeddings", None) or MAX_UNKNOWN_CONTEXT)


def fit_embeddings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make room for added tokens; transformers draws the new rows around the mean of the others."""
    if embeddings_lack(model, tokenizer):
        torch.manual_seed(0)
        model.resize_token_embeddings(_rows_for(tokenizer))


def embeddings_lack(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether there are tokens that the model has no embedding for."""
    embeddings = cast(torch.nn.Embedding, model.get_input_embeddings())
    return _rows_for(tokenizer) > embeddings.num_embeddings


def _rows_for(tokenizer: PreTrainedTokenizerBase) -> int:
    """Ids may leave gaps."""
    return max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=0))


# ---- what is refused


def _check_causal(name: str, config: PreTrainedConfig) -> None:
    """Encoders are registered as decoders too; trained as such they would see the answer they are
    to give.
    """
    if reason := why_refused(config):
        raise ModelError(
            f"{name}: a {config.model_type} model cannot be trained as a causal language model: "
            f"{reason}",
            hint="give a decoder-only language model; docs/architectures.md lists those that work",
        )


def _check_plain(name: str, config: PreTrainedConfig, trust_remote_code: bool) -> None:
    """A config can ask for kernels of the hub, which are code, and for weights that cannot be
    trained.
    """
    for key in ("_attn_implementation", "_experts_implementation"):
        asked = getattr(config, key, None)
        if isinstance(asked, str) and "/" in asked and not trust_remote_code:
            raise ModelError(
                f"{name}: its config asks for code of the hub: {asked}", hint=f"{TRUST} runs it"
            )
    quantised = getattr(config, "quantization_config", None)
    if quantised:
        method = (
            quantised.get("quant_method", "?")
            if isinstance(quantised, dict)
            else quantised.quant_method
        )
        raise ModelError(
            f"{name}: its weights are quantised ({method}), and such weights cannot be trained",
            hint="give the model in float32, bfloat16 or float16, or as a .gguf file",
        )


@contextmanager
def _explaining(what: str, name: str, folder: Path, trust_remote_code: bool) -> Iterator[None]:
    """Turn whatever a library raises over a folder's files into one ModelError: they may hold
    anything.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        if "trust_remote_code" in str(error) and not trust_remote_code:
            code = (
                ", ".join(sorted(file.name for file in folder.glob("*.py")))
                or "named in its auto_map"
            )
            raise ModelError(
                f"{name}: the {what} brings its own code: {code}",
                hint=f"{TRUST} runs it, if you trust where it comes from",
            ) from error
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            raise
        raise ModelError(
            f"{name}: the {what} cannot be loaded: {_first_line(error)}",
            hint=_hint(folder, what),
        ) from error


def _hint(folder: Path, what: str) -> str:
    if what == "tokenizer" and not any(
        (folder / f).exists() for f in ("tokenizer.json", "tokenizer.model")
    ):
        return f"there is no tokenizer.json in {folder}: save the model's tokenizer there"
    return (
        "give a whole Hugging Face folder of a decoder-only language model that this version of "
        "transformers knows"
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _only_errors() -> None:
    """What transformers would warn of as it loads is refused by `tunesmith.models.weights`.

    Called at each load, since other code may turn the warnings on again, and once when this is
    imported.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


_only_errors()
