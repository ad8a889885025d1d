"""The tuned model as a new repository on the Hugging Face hub, by huggingface_hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from tunesmith.errors import InputError, RunError, TunesmithError


def check_hub(repo_id: str, api: HfApi | None = None) -> None:
    """InputError, before any work, where the id is none, there is no token, the hub cannot be
    reached, or it has the repository already.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(
            f"{repo_id}: not the id of a repository: {_line(error)}",
            hint="name or owner/name, for example acme/reviews-model",
        ) from error
    api = api or HfApi()
    if not (api.token or get_token()):
        raise InputError(
            f"{repo_id}: no token for the hub", hint="`hf auth login`, or set HF_TOKEN"
        )
    with _told(InputError, f"{repo_id}: the hub does not answer"):
        full_id = repo_id if "/" in repo_id else f"{api.whoami()['name']}/{repo_id}"
        there = api.repo_exists(full_id)
    if there:
        raise InputError(f"{full_id}: exists already on the hub", hint="name another repository")


def upload(folder: Path, repo_id: str, public: bool, api: HfApi | None = None) -> str:
    """Make the repository, private unless `public`, and put the folder into it; its address.

    RunError where the hub refuses; what was uploaded until then is there.
    """
    api = api or HfApi()
    with _told(RunError, f"{repo_id}: not uploaded"):
        made = api.create_repo(repo_id, private=not public)
        api.upload_folder(
            repo_id=made.repo_id, folder_path=folder, commit_message="Upload by tunesmith"
        )
    return str(made)


@contextmanager
def _told(kind: type[TunesmithError], what: str) -> Iterator[None]:
    try:
        yield
    except (HTTPError, OSError) as error:
        raise kind(
            f"{what}: {_line(error)}",
            hint="is there a network, may the token write (`hf auth whoami`), and is "
            "HF_HUB_OFFLINE unset?",
        ) from error


def _line(error: BaseException) -> str:
    """The first line that an error says."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
