"""The paper's language model: an LSTM, and the text as streams for truncated backpropagation through time."""

from fairseq_lottery.language_model.lstm import LotteryLstmLm
from fairseq_lottery.language_model.streams import LanguageModelingOptions, StreamTask

__all__ = ["LanguageModelingOptions", "LotteryLstmLm", "StreamTask"]
