"""llama.cpp as a process of its own, which a file that it cannot take ends: `FILE < request`.

The request is JSON with `texts`, `prompts` (lists of token ids) and `budget`; the answer has the
token ids of the texts and those that follow each prompt greedily.
"""

import json
import os
import sys
from typing import Any
from urllib.request import Request, urlopen

import xllamacpp


def main(file: str) -> None:
    """Write one line of JSON."""
    request = json.load(sys.stdin)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = file
    parameters.n_ctx, parameters.n_parallel, parameters.port = 256, 1, 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.warmup = False
    # a cache in float16 would be a difference of its own
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(parameters)

    def post(path: str, body: dict[str, Any]) -> Any:
        address = Request(server.listening_address + path, json.dumps(body).encode())
        address.add_header("Content-Type", "application/json")
        with urlopen(address) as response:
            return json.load(response)

    greedy = {
        "n_predict": request["budget"], "temperature": 0, "ignore_eos": True, "return_tokens": True,
        "cache_prompt": False,
    }  # fmt: skip
    plain = {"add_special": False, "parse_special": True}
    found = {
        "texts": [post("/tokenize", {"content": t} | plain)["tokens"] for t in request["texts"]],
        "prompts": [
            post("/completion", {"prompt": p} | greedy)["tokens"] for p in request["prompts"]
        ],
    }
    print(json.dumps(found), flush=True)
    os._exit(0)  # its threads do not end


if __name__ == "__main__":
    main(sys.argv[1])
