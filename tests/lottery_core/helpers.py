"""Small models and files for the tests of the core."""

from __future__ import annotations

import torch
from torch import nn

from lottery_core import Ticket, Weights, prune, snapshot


class Tied(nn.Module):
    """An embedding tied to the output layer, a norm with buffers, an LSTM: the cases that trip pruning tools."""

    def __init__(self, words: int = 11, width: int = 6) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True)
        self.norm = nn.BatchNorm1d(width)
        self.output = nn.Linear(width, words, bias=False)
        self.output.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.lstm(self.embed(tokens))
        out: torch.Tensor = self.output(self.norm(hidden.transpose(1, 2)).transpose(1, 2))
        return out


def mlp(seed: int = 0) -> nn.Sequential:
    """4-16-16-2, 386 parameters."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 2))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5, seed: int = 1) -> None:
    """Some steps of regression on noise."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        inputs = torch.randn(32, 4, generator=generator)
        loss = (model(inputs) - torch.randn(32, 2, generator=generator)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()


def random_weights(seed: int = 0, **shapes: tuple[int, ...]) -> Weights:
    """Gaussian weights of named shapes; ``__`` in a name stands for a dot."""
    generator = torch.Generator().manual_seed(seed)
    return Weights({name.replace("__", "."): torch.randn(shape, generator=generator) for name, shape in shapes.items()})


def a_ticket(rate: float = 0.5, seed: int = 0) -> Ticket:
    """A winning ticket of :func:`mlp`, pruned after a little training."""
    model = mlp(seed)
    rewind = snapshot(model)
    train(model, torch.optim.Adam(model.parameters(), lr=1e-2))
    return prune(snapshot(model), rewind, rate=rate, rewind_point="updates:0", seed=seed)
