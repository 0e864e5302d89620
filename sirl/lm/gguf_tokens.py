"""The tokenizer that a GGUF file describes, and a check of it against the file's own vocabulary and rules.

A byte-level vocabulary is built from the file alone: its tokens, its merges, and the rule of splitting that
`tokenizer.ggml.pre` names. A file holds no rule, only its name; the rules are llama.cpp's. Where no rule of a
name is known, or none is named, GPT-2's stands in, and that is told: digits, spaces and lines may be split
otherwise. Other vocabularies are converted by transformers. Either tokenizer is then held against a plain
reading of the file, without the library that tokenizes, on texts with digits, spaces, lines and special tokens.

Source: llama.cpp, src/llama-vocab.cpp (names, expressions, ignore_merges; merging by rank or by score).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import regex  # type: ignore[import-untyped]
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sirl.errors import DataError

LOG = logging.getLogger("sirl")
CONTROL, USER_DEFINED = 3, 4  # of llama.cpp's types of tokens
PROBES = (
    "1234567890 and 3.14, 2024-07-26",
    "a  b   c\td",
    "  two spaces before, two behind  ",
    "one\ntwo\n\nthree\r\n    four",
    "It's (x_1 == y[2]);  // naïve ÜBER 東京 \N{GRINNING FACE}",
)
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_CASELESS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CASELESS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_TAIL}"
_QWEN2 = rf"{_CASELESS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_TAIL}"
_QWEN35 = (
    rf"{_CASELESS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SLASHED = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}|{_SLASHED}"
)
_GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CASELESS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CASELESS}?"
    rf"|\p{{N}}{{1,3}}|{_SLASHED}"
)
_DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """How text is split before merges: each expression parts what the one before left.

    `whole`: a word that is a token stays one, whatever the merges say.
    """

    expressions: tuple[str, ...]
    whole: bool = False


def _rules(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: Mapping[str, Rule] = {
    **_rules(
        "gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum modern-bert exaone4 mpt "
        "olmo jais trillion granite-docling",
        Rule((_GPT2,)),
    ),
    **_rules("starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", Rule((r"\p{N}", _GPT2))),
    **_rules(
        "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano glm4 glm5",
        Rule((_LLAMA3,), whole=True),
    ),
    **_rules("dbrx smaug-bpe chatglm-bpe", Rule((_LLAMA3,))),
    **_rules(
        "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2", Rule((_QWEN2,))
    ),
    "qwen35": Rule((_QWEN35,)),
    "tekken": Rule((_TEKKEN,), whole=True),
    **_rules("gpt-4o llama4 kanana2 talkie minimax-m2", Rule((_GPT4O,))),
    **_rules("deepseek-v3 hunyuan-dense joyai-llm", Rule((r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK3))),
    "falcon": Rule((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")),
    "deepseek-coder": Rule((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}")),
    "default": Rule((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
}
_STAND_IN = Rule((_GPT2,))


@dataclass(frozen=True)
class Vocabulary:
    """What a file says of its tokenizer: `fields` are its statements, without `tokenizer.ggml.`."""

    file: str
    fields: Mapping[str, Any]

    @property
    def byte_level(self) -> bool:
        return bool(self.fields.get("model") == "gpt2")

    @property
    def spaced(self) -> bool:
        """A space is put before the text; of a byte-level vocabulary never."""
        return not self.byte_level and bool(self.fields.get("add_space_prefix", True))

    @cached_property
    def ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.fields["tokens"])}

    @cached_property
    def rule(self) -> Rule:
        return RULES.get(self.fields.get("pre") or "", _STAND_IN)

    @cached_property
    def merges(self) -> list[tuple[str, str]]:
        """The pairs that merge, the first first; the space that parts a pair is none at its beginning."""
        cut = [(merge, merge.find(" ", 1)) for merge in self.fields.get("merges", ())]
        pairs = [(merge[:place], merge[place + 1 :]) for merge, place in cut if place > 0]
        return [(a, b) for a, b in pairs if a in self.ids and b in self.ids and a + b in self.ids]

    @cached_property
    def ranks(self) -> dict[tuple[str, str], int]:
        return {pair: place for place, pair in enumerate(self.merges)}

    def of_type(self, kind: int) -> list[str]:
        types = self.fields.get("token_type") or ()
        return [t for t, own in zip(self.fields["tokens"], types, strict=False) if own == kind and t]

    def token(self, name: str) -> str | None:
        """Return the special token that the file names as bos, eos, unknown or padding."""
        number = self.fields.get(f"{name}_token_id")
        return self.fields["tokens"][number] if number is not None and number < len(self.ids) else None


def build_tokenizer(vocabulary: Vocabulary, template: str | None, converted: Callable[[], Any]) -> Any:
    """Return the tokenizer of a file, checked; `converted` gives transformers' one.

    Raises DataError if its ids are not those that a byte-level file says.
    """
    known = vocabulary.byte_level
    backend = _byte_level(vocabulary) if known else _converted(vocabulary, converted())
    fields = vocabulary.fields
    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    special = {f"{own}_token": token for own, name in names.items() if (token := vocabulary.token(name))}
    adds = {name: bool(fields[name]) for name in ("add_bos_token", "add_eos_token") if name in fields}
    adds = {name: told for name, told in adds.items() if name.removeprefix("add_") in special}
    # not the class of the architecture, which may bring a splitting of its own when it is loaded again
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special, **adds)
    tokenizer.chat_template = template
    _tell_rule(vocabulary)
    check_ids(vocabulary, tokenizer)
    return tokenizer


def _byte_level(vocabulary: Vocabulary) -> Tokenizer:
    rule = vocabulary.rule
    backend = Tokenizer(models.BPE(vocab=vocabulary.ids, merges=vocabulary.merges, ignore_merges=rule.whole))
    splits = [pre_tokenizers.Split(Regex(expression), "isolated") for expression in rule.expressions]
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*splits, bytes_])
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(t, normalized=False) for t in vocabulary.of_type(CONTROL)])
    backend.add_tokens([AddedToken(t, normalized=False) for t in vocabulary.of_type(USER_DEFINED)])
    return backend


def _converted(vocabulary: Vocabulary, tokenizer: Any) -> Tokenizer:
    """Return transformers' tokenizer, with a space before the text where the file, not its class, wants one."""
    backend: Tokenizer = tokenizer.backend_tokenizer
    if vocabulary.fields.get("model") == "llama":
        before, behind = [normalizers.Prepend("▁")], [decoders.Strip(" ", 1, 0)]
        spaces = [*before * vocabulary.spaced, normalizers.Replace(" ", "▁")]
        backend.normalizer = normalizers.Sequence(
            spaces
        )  # of each text between special tokens, as in llama.cpp
        backend.pre_tokenizer = None
        told = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        backend.decoder = decoders.Sequence([*told, *behind * vocabulary.spaced])
    return backend


def _tell_rule(vocabulary: Vocabulary) -> None:
    """Warn where the rule of splitting is not known."""
    name = vocabulary.fields.get("pre")
    if vocabulary.byte_level and name not in RULES:
        what = (
            f"names an unknown rule for splitting text, {name!r}"
            if name
            else "names no rule for splitting text"
        )
        told = "%s %s: it is split as GPT-2 does, and digits, spaces and line ends may get wrong token ids"
        LOG.warning(told, vocabulary.file, what)


def check_ids(vocabulary: Vocabulary, tokenizer: Any) -> None:
    """Hold a tokenizer against a plain reading of its file.

    Raises DataError if the ids of a byte-level vocabulary differ; else that is said, for llama.cpp and the
    trainers of a model with a vocabulary of scores may read it in different ways.
    """
    read = [(text, reference(vocabulary, text)) for text in PROBES]
    differ = [text for text, own in read if own is not None and _ids(tokenizer, text) != own]
    marks = [text for text in vocabulary.of_type(CONTROL) if _ids(tokenizer, text) != [vocabulary.ids[text]]]
    if not (differ or marks):
        return
    told = f"the text {differ[0]!r}" if differ else f"the special token {marks[0]!r}"
    found = f"the token ids of {told} differ from those in {vocabulary.file}"
    if vocabulary.byte_level:
        raise DataError(found, "the file's own", "use the model's original weights and tokenizer")
    LOG.warning("%s as llama.cpp reads it; replies may be worse", found)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def reference(vocabulary: Vocabulary, text: str) -> list[int] | None:
    """Return the ids of a text by the file's vocabulary, merges or scores, and rule; None if it lacks them."""
    if not vocabulary.byte_level and (
        vocabulary.fields.get("model") != "llama" or "scores" not in vocabulary.fields
    ):
        return None
    whole = sorted((*vocabulary.of_type(CONTROL), *vocabulary.of_type(USER_DEFINED)), key=len, reverse=True)
    pieces = regex.split("(" + "|".join(map(regex.escape, whole)) + ")", text) if whole else [text]
    read = _read_bytes if vocabulary.byte_level else _read_scores
    ids = []
    for place, piece in enumerate(pieces):
        ids += [vocabulary.ids[piece]] if place % 2 else read(vocabulary, piece) if piece else []
    return ids


def _read_bytes(vocabulary: Vocabulary, text: str) -> list[int]:
    """Return the ids of a text in a byte-level vocabulary."""
    words = [text]
    for expression in vocabulary.rule.expressions:
        words = [part for word in words for part in regex.split(f"({expression})", word) if part]
    ids = []
    for word in words:
        spelled = "".join(_SPELLING[byte] for byte in word.encode())
        whole = vocabulary.rule.whole and spelled in vocabulary.ids
        tokens = [spelled] if whole else _merged(list(spelled), vocabulary.ranks.get)
        ids += [vocabulary.ids[token] for token in tokens if token in vocabulary.ids]
    return ids


def _read_scores(vocabulary: Vocabulary, text: str) -> list[int]:
    """Return the ids of a text in a vocabulary with scores, where the best of two neighbours merge."""
    scores = vocabulary.fields["scores"]

    def rank(pair: tuple[str, str]) -> float | None:
        number = vocabulary.ids.get("".join(pair))
        return None if number is None else -scores[number]

    ids = []
    for token in _merged(list("▁" * vocabulary.spaced + text.replace(" ", "▁")), rank):
        own = vocabulary.ids.get(token)
        ids += [own] if own is not None else [vocabulary.ids.get(f"<0x{b:02X}>", 0) for b in token.encode()]
    return ids


def _merged(symbols: list[str], rank: Callable[[tuple[str, str]], float | None]) -> list[str]:
    """Merge the two neighbours of the lowest rank, the first of them, until none can be."""
    while True:
        ranks = [
            (found, i)
            for i in range(len(symbols) - 1)
            if (found := rank((symbols[i], symbols[i + 1]))) is not None
        ]
        if not ranks:
            return symbols
        place = min(ranks)[1]
        symbols[place : place + 2] = ["".join(symbols[place : place + 2])]


def _spelling() -> Sequence[str]:
    """Return the character that stands for each byte in a byte-level vocabulary (GPT-2)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in shown else next(others)) for byte in range(256)]


_SPELLING = _spelling()
