"""A chat endpoint that speaks OpenAI's protocol: one conversation in, one reply out.

The host that is named is the only one that gets the texts: redirects are refused, and neither
proxies nor a netrc file are looked up in the environment. The key comes from an environment
variable, goes into one header, and is in no record, message or error.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from tunesmith.errors import InputError, RunError
from tunesmith.packages import installed

if TYPE_CHECKING:
    from requests import Response, Session

KEY_VARIABLE = "TUNESMITH_JUDGE_KEY"
PATH = "/chat/completions"
EXAMPLE = "for example http://localhost:8000/v1"
TIMEOUT_S = (10, 300)  # to connect, and between two bytes of a reply
RETRIES = 4
RETRY_WAIT_S = 1.0  # doubled with each retry
TRY_AGAIN = (408, 429, 500, 502, 503, 504)
Message: TypeAlias = Mapping[str, str]


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers: `url` takes the requests, `host` is who gets the texts."""

    url: str
    model: str
    key: str = field(default="", repr=False)

    @property
    def host(self) -> str:
        """With its port."""
        return urlsplit(self.url).netloc

    @property
    def shown(self) -> str:
        """The address as it may be stored: a query can hold a secret."""
        return urlunsplit(urlsplit(self.url)._replace(query=""))

    @property
    def is_local(self) -> bool:
        """Whether the texts stay on this machine."""
        name = urlsplit(self.url).hostname or ""
        if name == "localhost":
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


def find_endpoint(address: str, model: str) -> Endpoint:
    """The endpoint at a base address (`.../v1`) or at its /chat/completions.

    Raises:
        InputError: it is not an http address, holds a password, would send the key unencrypted to
            another machine, or `requests` is not installed.
    """
    try:
        parts = urlsplit(address)
        host = parts.hostname
        _ = parts.port  # a ValueError where it is no number
    except ValueError as error:
        raise InputError(f"--endpoint {address}: {error}", hint=EXAMPLE) from error
    if "@" in parts.netloc:
        raise InputError(
            f"--endpoint: the address of {host} holds a user name or password",
            hint=f"leave it out; a key is read from the environment variable {KEY_VARIABLE}",
        )
    if parts.scheme not in ("http", "https") or not host:
        raise InputError(f"--endpoint {address}: not an http or https address", hint=EXAMPLE)
    if not model.strip():
        raise InputError("--model is empty", hint="the model's name at the endpoint")
    path = parts.path.rstrip("/")
    url = urlunsplit(parts._replace(path=path if path.endswith(PATH) else path + PATH, fragment=""))
    found = Endpoint(url, model, os.environ.get(KEY_VARIABLE, ""))
    if found.key and parts.scheme == "http" and not found.is_local:
        raise InputError(
            f"--endpoint {found.shown}: {KEY_VARIABLE} would be sent unencrypted",
            hint="give an https address, or unset the variable",
        )
    if not installed("requests"):
        raise InputError(
            "a model as a judge needs requests, which is not installed",
            hint="pip install 'tunesmith[judge]'",
        )
    return found


class Client:
    """Asks one endpoint; failures that may pass are tried again, with longer waits between."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._session = _session()
        # the same question should get the same reply
        self._settings: dict[str, Any] = {"temperature": 0}

    def ask(self, messages: list[dict[str, str]]) -> str:
        """The reply; RunError where there is none."""
        response = self._post(messages)
        if response.status_code == 400 and self._settings and "temperature" in response.text:
            self._settings = {}  # models that reason have a fixed one
            response = self._post(messages)
        if response.status_code != 200:
            raise self._failed(f"status {response.status_code}: {_first_words(response.text)}")
        return self._reply(response)

    def _post(self, messages: list[dict[str, str]]) -> Response:
        import requests  # noqa: PLC0415 - optional

        try:
            return self._session.post(
                self.endpoint.url,
                json={"model": self.endpoint.model, "messages": messages} | self._settings,
                headers={"Authorization": f"Bearer {self.endpoint.key}"}
                if self.endpoint.key
                else {},
                timeout=TIMEOUT_S,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise self._failed(str(error), "is the server running?") from error

    def _reply(self, response: Response) -> str:
        try:
            value: Any = response.json()
            reply = value["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError) as error:
            raise self._failed(f"no chat completion: {_first_words(response.text)}") from error
        # a model that thought until its budget was spent has no content
        return reply if isinstance(reply, str) else ""

    def _failed(self, what: str, hint: str = "") -> RunError:
        text = f"{self.endpoint.shown}: {what}"
        if self.endpoint.key:
            text = text.replace(self.endpoint.key, "...")
        query = urlsplit(self.endpoint.url).query
        return RunError(text.replace(query, "...") if query else text, hint=hint)


def _session() -> Session:
    from requests import Session  # noqa: PLC0415 - optional
    from requests.adapters import HTTPAdapter  # noqa: PLC0415
    from urllib3.util import Retry  # noqa: PLC0415 - comes with requests

    session = Session()
    session.trust_env = False
    retry = Retry(
        total=RETRIES,
        backoff_factor=RETRY_WAIT_S,
        status_forcelist=TRY_AGAIN,
        allowed_methods=("POST",),
        raise_on_status=False,  # the last response says what was wrong
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _first_words(text: str) -> str:
    """What a server says, on one line, printable and not longer than a message may be."""
    line = " ".join(text.split())[:300]
    return "".join(c if c.isprintable() else "?" for c in line)
