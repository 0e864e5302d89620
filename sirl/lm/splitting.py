"""A text in smaller tokens than its tokenizer gives it: some are split in two that say the same."""

from __future__ import annotations

from random import Random

from sirl.lm import LM, encode


def split_tokens(lm: LM, text: str, share: float, random: Random) -> list[int]:
    """Return the ids of a text, each token split with the chance `share` at a place drawn at random.

    A token stays whole if it is one character, is special, or its parts would be read back as something else.
    """
    tokens = encode(lm, [text])[0]
    special = set(lm.tokenizer.all_special_ids)
    anchor = encode(lm, ["a"])[0]  # a decoder may strip the space of a first token
    found: list[int] = []
    for token in tokens:
        own = _said(lm, anchor, [token])
        draw, place = random.random(), random.randrange(1, max(2, len(own)))
        if draw >= share or len(own) < 2 or token in special:
            found.append(token)
            continue
        parts = [i for one in encode(lm, [own[:place], own[place:]]) for i in one]
        found += parts if len(parts) > 1 and _said(lm, anchor, parts) == own else [token]
    return found


def _said(lm: LM, anchor: list[int], ids: list[int]) -> str:
    return str(lm.tokenizer.decode([*anchor, *ids]))[len(lm.tokenizer.decode(anchor)) :]
