"""Checkpoints of other programs as a model, a tokenizer and the optimizer's state; no pickle is trusted."""

from commute_verify.checkpoints.checkpoint import Checkpoint, next_token_loss
from commute_verify.checkpoints.read import read_checkpoint
from commute_verify.checkpoints.tokens import Bytes, Tokenizer

__all__ = ["Bytes", "Checkpoint", "Tokenizer", "next_token_loss", "read_checkpoint"]
