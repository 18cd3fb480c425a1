"""Recurrent networks over sequences of features. B sequences, T steps, I features, Hd hidden units, K outputs."""

from __future__ import annotations

from .. import _check as check
from .. import functional as F
from .. import init, nn
from .._modes import no_grad
from ..tensor import ArrayLike, Tensor, as_tensor

_KINDS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}


class SequenceNet(nn.Module):
    """Recurrent layers and a Linear on their last states: x (B, T, I) -> (B, K).

    lengths (B,): how many steps of each sequence count, see `functional.lstm`; the last state is that of the
    sequence's own last step, in the other direction that of its first. Parameters: those of `rnn` and `head`.
    """

    def __init__(self, rnn: nn.RNN | nn.LSTM | nn.GRU, out_features: int) -> None:
        self.rnn = rnn
        self.head = nn.Linear(rnn.hidden_size * (1 + rnn.bidirectional), out_features)

    def forward(self, x: ArrayLike, lengths: ArrayLike | None = None) -> Tensor:
        _, last = self.rnn(x, None, lengths)
        h = last[0] if isinstance(last, tuple) else last
        return self.head(F.concatenate([h[-2], h[-1]], axis=-1) if self.rnn.bidirectional else h[-1])


def sequence_net(
    in_features: int,
    out_features: int,
    *,
    kind: str = "LSTM",
    hidden_size: int = 64,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    forget_bias: float | None = None,
) -> SequenceNet:
    """A network that reads a whole sequence and then answers: x (B, T, in_features) -> (B, out_features).

    For classes of sequences of any length: ``model(x, lengths)``, with bidirectional=True, and
    ``train.fit(model, (x, lengths, labels), loss=F.cross_entropy, ...)``. kind: "LSTM", "GRU" or "RNN". forget_bias:
    what bias_ih of an LSTM's forget gates starts with (with 3 a cell keeps sigmoid(3) = 0.95 of its memory at a step,
    which serves memories of some 100 steps); None leaves it uniform like all others.
    Raises ValueError for another kind, for a forget_bias where there are no forget gates and for sizes below 1.
    Source: Hochreiter and Schmidhuber 1997; Gers et al. 2000, section 4, for the bias.
    """
    check.choice("sequence_net", "kind", kind, tuple(_KINDS))
    out_features = check.integer("sequence_net", "out_features", out_features, 1)
    rnn = _KINDS[kind](
        in_features, hidden_size, num_layers, batch_first=True, dropout=dropout, bidirectional=bidirectional
    )
    if forget_bias is not None:
        if kind != "LSTM":
            raise ValueError(f"sequence_net: forget_bias is for kind='LSTM', got kind={kind!r}; leave it None")
        for name, parameter in rnn.named_parameters():
            if name.startswith("bias_ih"):
                parameter.data[hidden_size : 2 * hidden_size] = forget_bias
    return SequenceNet(rnn, out_features)


class Forecaster(nn.Module):
    """The next step of a series: x (B, T, F) -> (B, F), its last step and what a `SequenceNet` adds to it.

        y = x[T - 1] + net(x - x[T - 1])

    So a net that adds nothing repeats the last value, and a trend needs no values that training has not seen.
    """

    def __init__(self, net: SequenceNet) -> None:
        self.net = net

    def forward(self, x: ArrayLike) -> Tensor:
        x = as_tensor(x)
        last = x[:, -1:]
        return (last + self.net(x - last).reshape(*last.shape))[:, 0]

    @no_grad
    def extend(self, x: ArrayLike, steps: int) -> Tensor:
        """The next so many steps (B, steps, F), each forecast from as many before it as x has, forecasts included."""
        steps = check.integer("extend", "steps", steps, 1)
        window, found = as_tensor(x), []
        for _ in range(steps):
            found.append(self.forward(window))
            window = F.concatenate([window[:, 1:], found[-1].reshape(len(window.data), 1, -1)], axis=1)
        return F.stack(found, axis=1)


def forecaster(
    features: int = 1, *, kind: str = "LSTM", hidden_size: int = 32, num_layers: int = 1, dropout: float = 0.0
) -> Forecaster:
    """A network that forecasts a series: windows x (B, T, features) -> their next step (B, features).

    kind: "LSTM", "GRU" or "RNN". At first it repeats the last value, which is the usual forecast to beat: the Linear
    behind the recurrent layers starts at 0. `dlfast forecast` trains it on the series that ship with the package.
    Raises as `sequence_net`.
    """
    net = sequence_net(features, features, kind=kind, hidden_size=hidden_size, num_layers=num_layers, dropout=dropout)
    init.zeros_(net.head.weight)
    return Forecaster(net)
