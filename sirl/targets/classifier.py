"""Text classifiers of transformers: request and reply in, a share for each label out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from sirl.config import ModelConfig
from sirl.errors import DataError
from sirl.lm import special_texts, weights_hash

LONGEST = 512  # tokens of request and reply together, unless the model's tokenizer says more


@dataclass(frozen=True, slots=True)
class TextClassifier:
    """A loaded classifier; `weights` is their hash, `special` are its tokenizer's special tokens.

    Where labels are not `exclusive` each has a share of its own.
    """

    name: str
    score: Callable[[Sequence[tuple[str, str]]], list[Mapping[str, float]]]
    weights: str
    special: tuple[str, ...]
    exclusive: bool


def load_classifier(source: str, config: ModelConfig) -> TextClassifier:
    """Load a classifier from a folder or the hub. Raises DataError if there is none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=config.trust_remote_code)
        model = AutoModelForSequenceClassification.from_pretrained(
            source, trust_remote_code=config.trust_remote_code, use_safetensors=True
        )
    except (OSError, ValueError, ImportError) as error:
        why = str(error).strip().splitlines()[0]
        raise DataError(f"no text classifier in {source} ({why})", "a folder or hub id", "check it") from error
    model.eval()
    labels = [str(model.config.id2label[i]) for i in range(model.config.num_labels)]
    longest = min(int(tokenizer.model_max_length), getattr(model.config, "max_position_embeddings", LONGEST))

    @torch.no_grad()
    def score(pairs: Sequence[tuple[str, str]]) -> list[Mapping[str, float]]:
        found: list[Mapping[str, float]] = []
        for pair in pairs:  # one by one: padding would let company change a score in its last digits
            inputs = tokenizer(*pair, truncation="longest_first", max_length=longest, return_tensors="pt")
            logits = model(**inputs.to(model.device)).logits[0].float()
            found.append(_shares(logits, labels, model.config.problem_type))
        return found

    many = model.config.problem_type == "multi_label_classification"
    special = special_texts(tokenizer)
    return TextClassifier(Path(source).name, score, weights_hash(model), special, exclusive=not many)


def _shares(logits: torch.Tensor, labels: Sequence[str], problem: str | None) -> Mapping[str, float]:
    """Return label -> share; a single logit is a label and its opposite."""
    if len(labels) == 1:
        share = float(torch.sigmoid(logits[0]))
        return {labels[0]: share, f"not {labels[0]}": 1 - share}
    many = problem == "multi_label_classification"
    shares = torch.sigmoid(logits) if many else torch.softmax(logits, dim=-1)
    return dict(zip(labels, shares.tolist(), strict=True))
