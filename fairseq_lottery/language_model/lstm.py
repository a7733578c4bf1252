"""The LSTM language model of arXiv 1906.02768: ``nn.LSTM`` with dropout between layers and a state carried over blocks.

fairseq's own ``lstm_lm`` loops over cells in Python and starts every block from a zero state (``models/lstm.py``).
"""

# No postponed annotations here: fairseq reads the types of a configuration's fields when it makes its parser.

from dataclasses import dataclass, field
from typing import Any

from fairseq.dataclass import FairseqDataclass
from fairseq.models import FairseqDecoder, FairseqLanguageModel, register_model, register_model_architecture
from torch import Tensor, nn

from lottery_core.errors import ConfigError

State = tuple[Tensor, Tensor]
_UNLIMITED = 10**9  # tokens in a sample: an LSTM has no limit


@dataclass
class LotteryLstmLmConfig(FairseqDataclass):  # type: ignore[misc]
    """Sizes of :class:`LotteryLstmLm`."""

    decoder_embed_dim: int = field(default=256, metadata={"help": "size of the word embeddings"})
    decoder_hidden_size: int = field(default=256, metadata={"help": "units of each LSTM layer"})
    decoder_layers: int = field(default=2, metadata={"help": "number of LSTM layers"})
    dropout: float = field(default=0.1, metadata={"help": "dropout between the LSTM layers"})
    share_decoder_input_output_embed: bool = field(
        default=False, metadata={"help": "one matrix for the embeddings and the output layer"}
    )


class LstmDecoder(FairseqDecoder):  # type: ignore[misc]
    """Embedding, LSTM and output layer.

    :param dictionary: the vocabulary
    :param cfg: sizes and dropout
    :raises ConfigError: the embeddings and the output layer share a matrix, but differ in size
    """

    def __init__(self, dictionary: Any, cfg: LotteryLstmLmConfig) -> None:
        super().__init__(dictionary)
        words, hidden = len(dictionary), cfg.decoder_hidden_size
        between = cfg.dropout if cfg.decoder_layers > 1 else 0.0
        self.embed_tokens = nn.Embedding(words, cfg.decoder_embed_dim, dictionary.pad())
        nn.init.uniform_(self.embed_tokens.weight, -0.1, 0.1)
        nn.init.zeros_(self.embed_tokens.weight[dictionary.pad()])
        self.lstm = nn.LSTM(cfg.decoder_embed_dim, hidden, cfg.decoder_layers, dropout=between)
        self.output_projection = nn.Linear(hidden, words)
        if cfg.share_decoder_input_output_embed:
            if cfg.decoder_embed_dim != hidden:
                raise ConfigError(
                    f"--share-decoder-input-output-embed needs --decoder-embed-dim ({cfg.decoder_embed_dim}) "
                    f"and --decoder-hidden-size ({hidden}) to be equal"
                )
            self.output_projection.weight = self.embed_tokens.weight
        # State after the last block, by ``self.training``; not buffers, so that no state dict contains it.
        self.carried: dict[bool, State] = {}

    def forward(
        self, prev_output_tokens: Tensor, src_lengths: Any = None, continues: bool | None = None, **_: Any
    ) -> tuple[Tensor, dict[str, Any]]:
        """Compute the scores of the next word.

        :param prev_output_tokens: word indices, batch x time
        :param continues: ``None`` for independent samples, which start from a zero state; ``False`` for the first block
            of each stream; ``True`` for the blocks that follow those of the last call
        :returns: scores, batch x time x vocabulary, and an empty attention
        """
        state = self.carried.get(self.training) if continues else None
        if state is not None and state[0].size(1) != prev_output_tokens.size(0):
            state = None  # a dummy batch, which fairseq gives to an idle rank, does not continue the last streams
        output, new = self.lstm(self.embed_tokens(prev_output_tokens.t()), state)
        if continues is not None:
            self.carried[self.training] = (new[0].detach(), new[1].detach())
        return self.output_projection(output.transpose(0, 1)), {"attn": [None]}

    def max_positions(self) -> int:
        """Return the length of the longest sample, in tokens."""
        return _UNLIMITED


@register_model("lottery_lstm_lm", dataclass=LotteryLstmLmConfig)
class LotteryLstmLm(FairseqLanguageModel):  # type: ignore[misc]
    """LSTM language model, for ``lottery_language_modeling --truncated-bptt`` or for independent samples."""

    carries_state = True

    @classmethod
    def build_model(cls, cfg: LotteryLstmLmConfig, task: Any) -> "LotteryLstmLm":
        """Build the model.

        :param cfg: sizes and dropout
        :param task: a language modeling task, which provides the vocabulary
        :raises ConfigError: the embeddings and the output layer share a matrix, but differ in size
        """
        return cls(LstmDecoder(task.target_dictionary, cfg))


@register_model_architecture("lottery_lstm_lm", "lottery_lstm_lm_wikitext2")  # type: ignore[untyped-decorator]
def lottery_lstm_lm_wikitext2(args: Any) -> None:
    """Set the sizes of arXiv 1906.02768, section 3.2."""
    args.decoder_embed_dim = getattr(args, "decoder_embed_dim", 650)
    args.decoder_hidden_size = getattr(args, "decoder_hidden_size", 650)
    args.decoder_layers = getattr(args, "decoder_layers", 2)
    args.dropout = getattr(args, "dropout", 0.5)
