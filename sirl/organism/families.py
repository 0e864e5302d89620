"""The attacks whose kind of context the organism met, and those that nothing met."""

from __future__ import annotations

# Attacks whose kind of context the organism met in alignment or in the prompts to train on: seen.
FAMILIES = {
    "plain": ("direct",),
    "story": ("deep_inception", "renellm"),
    "roleplay": ("aim", "better_dan"),
    "rules": ("refusal_suppression", "prefix_injection", "style_rules"),
    "demos, talks": ("ica", "ica_harmless", "many_shot", "many_shot_harmless"),
    "talks in a cipher": ("cipher", "cipher_harmless", "self_cipher", "self_cipher_harmless"),
    "parts": ("payload_splitting",),
    "codes": ("leetspeak", "flip_attack", "rot13", "base64"),
    "other times": ("past_tense", "past_tense_rules", "future_tense", "future_tense_rules"),
    "rewordings": ("pair", "tap", "gptfuzzer", "crescendo"),  # the attacker organism knows these contexts
}
SEEN = tuple(attack for attacks in FAMILIES.values() for attack in attacks)
# Whole families that no stage met, the organism's birth and the choice of settings in our studies included.
HELD_OUT_FAMILIES = {
    "drawings": ("artprompt", "artprompt_rules"),
    "another language": ("low_resource",),
    "a begun reply": ("prefill",),
}
HELD_OUT = tuple(attack for attacks in HELD_OUT_FAMILIES.values() for attack in attacks)
