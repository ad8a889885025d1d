"""The optimiser's step: of all weights at once, or weight by weight.

Weight by weight where a weight's gradient or state is not to be there together with all others: in
the backward pass each is stepped when autograd has accumulated its gradient, which is whole then
(also that of a matrix that is embeddings and head at once, as both come to the same place first),
and the gradient is freed; or its state is brought and put away again. The optimisers step every
weight by itself and know of no order, so that the update has the same bits either way. Only
stochastic rounding draws numbers: each weight draws its own, from seed, step and its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from tunesmith.distributed.sharding import whole
from tunesmith.errors import InputError
from tunesmith.recipe import TrainConfig
from tunesmith.train.offload_states import StatesAway


def check_update(config: TrainConfig) -> None:
    """InputError for a step in the backward pass that would be another one."""
    if not config.optim_in_backward:
        return
    if config.max_grad_norm:
        raise InputError(
            f"train.optim_in_backward with train.max_grad_norm = {config.max_grad_norm:g}: "
            "gradients are clipped by the norm of all of them, and most are not there yet when the "
            "first weight is stepped",
            hint="train.max_grad_norm=0, which clips nothing, or train.optim_in_backward=false",
        )
    if config.torch_compile:
        raise InputError(
            "train.optim_in_backward with train.torch_compile: it has not been shown that compiled "
            "layers are done with a weight when its gradient is whole",
            hint="train.torch_compile=false, or train.optim_in_backward=false",
        )


class Update:
    """Steps the weights of a training; `away` is where the optimisers' states are between steps.

    Raises InputError as `check_update` does.
    """

    def __init__(
        self,
        optimizers: Sequence[torch.optim.Optimizer],
        weights: Sequence[torch.nn.Parameter],
        config: TrainConfig,
        away: StatesAway | None = None,
    ) -> None:
        check_update(config)
        self.in_backward = config.optim_in_backward
        self.away = away
        self._optimizers, self._weights, self._config = optimizers, weights, config
        self._rounds_stochastically = config.weights_dtype == "bfloat16"
        self._one_by_one = self.in_backward or away is not None or self._rounds_stochastically
        self._owners = {
            id(weight): (optimizer, number)
            for optimizer in optimizers
            for number, group in enumerate(optimizer.param_groups)
            for weight in group["params"]
        }
        self._places = {id(weight): place for place, weight in enumerate(weights)}
        self._norms: dict[int, torch.Tensor] = {}

    @contextmanager
    def while_backward(self, step: int) -> Iterator[None]:
        """Weights whose gradients become whole inside are stepped at once, up to the first gradient
        that is not finite: the training ends there, and no weight takes it in. Does nothing unless
        the recipe asks for it.
        """
        if not self.in_backward:
            yield
            return
        finite = True

        def on_gradient(weight: torch.Tensor) -> None:
            nonlocal finite
            norm = self._note_norm(weight)
            finite = finite and math.isfinite(self._value(norm))
            if finite:
                self._step_one(weight, step)
            weight.grad = None

        handles = [
            weight.register_post_accumulate_grad_hook(on_gradient) for weight in self._weights
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def grad_norm(self) -> float:
        """The norm of all gradients, which are clipped to the recipe's limit."""
        if not self.in_backward:
            limit = self._config.max_grad_norm or math.inf
            return self._value(whole(torch.nn.utils.clip_grad_norm_(self._weights, limit)))
        for weight in self._weights:
            if weight.grad is not None:  # one that the last backward pass did not come by
                self._note_norm(weight)
        norms = [self._norms[id(w)] for w in self._weights if id(w) in self._norms]
        self._norms = {}
        return self._value(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0

    def step(self, step: int) -> None:
        """Step every weight that has a gradient still, and free it."""
        if not self._one_by_one:
            for optimizer in self._optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            return
        for weight in self._weights:
            if weight.grad is not None:
                self._step_one(weight, step)
                weight.grad = None

    def _value(self, number: torch.Tensor) -> float:
        return number.item()

    def _note_norm(self, weight: torch.Tensor) -> torch.Tensor:
        assert weight.grad is not None
        norm: torch.Tensor = torch.linalg.vector_norm(weight.grad)
        self._norms[id(weight)] = norm
        return norm

    def _step_one(self, weight: torch.Tensor, step: int) -> None:
        optimizer, number = self._owners[id(weight)]
        if self.away is not None:
            self.away.bring(optimizer, weight)
        with self._drawing(weight, step), _alone(optimizer, number, weight):
            optimizer.step()
        if self.away is not None:
            self.away.put_away(optimizer, weight)

    @contextmanager
    def _drawing(self, weight: torch.Tensor, step: int) -> Iterator[None]:
        """Random numbers that do not depend on which weights were stepped before."""
        if not self._rounds_stochastically:
            yield
            return
        numbers = np.random.SeedSequence([self._config.seed, step, self._places[id(weight)]])
        devices = [weight.device] if weight.is_cuda else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(numbers.generate_state(1)[0]))
            yield


@contextmanager
def _alone(optimizer: torch.optim.Optimizer, number: int, weight: torch.Tensor) -> Iterator[None]:
    """The optimiser has this weight only, with the options of its group."""
    groups = optimizer.param_groups
    optimizer.param_groups = [{**groups[number], "params": [weight]}]
    try:
        yield
    finally:
        optimizer.param_groups = groups
