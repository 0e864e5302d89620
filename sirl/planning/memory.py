"""A recipe on some GPUs -> what each GPU holds, line by line."""

from __future__ import annotations

from sirl.planning.nouns import BYTES, STEPS, Line, Shape, When, Work, big

COMPUTED = 2  # bytes of a value that is computed with: bfloat16
DRAWN = 64  # replies that `sirl.generation` draws at once
TOGETHER = 2**24  # logits whose divergence is taken at once
DISTRIBUTIONS = 8  # float32 values that a divergence and its gradient hold for each of them; assumed
TILE = (4096, 8192)  # tokens x vocabulary of the logits that TRL's head holds at once; the second is assumed


def uses_of_memory(work: Work) -> tuple[Line, ...]:
    """Return every use of memory: weights and optimiser, a micro-batch, a batch of replies."""
    return (*_states(work), *_activations(work), *_cache(work))


def adapter_parameters(shape: Shape, rank: int) -> int:
    """Return the weights of LoRA on every linear layer but the head: rank x (inputs + outputs) of each."""
    h, queries, keys = shape.hidden, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = 2 * (h + queries) + 2 * (h + keys)
    return rank * shape.layers * (attention + 3 * (h + shape.intermediate))


def cached(shape: Shape) -> int:
    """Return how many keys and values one token leaves in the cache."""
    return 2 * shape.layers * shape.kv_heads * shape.head_dim


def _states(work: Work) -> list[Line]:
    """Return what the weights and their optimiser hold.

    Whole copies that are not trained, under an adapter or as TRL's reference, are the base's own weights.
    """
    shape, rank, gpus = work.shape, work.train.lora_rank, work.assumed.gpus
    weights, told = shape.parameters * work.size, f"{big(shape.parameters)} x {work.size} B"
    gathered = weights - weights / gpus
    lines = [
        Line("the base, frozen", told, weights, weights),
        Line("the policy", told, 0 if rank else weights, weights / gpus, STEPS),
    ]
    if not work.distills:  # it draws nothing once it has begun
        told_of_shards = f"{told} x {gpus - 1}/{gpus}"
        lines.append(Line("the policy's other shards", told_of_shards, 0, gathered, ("drawing",)))
    trained, each = shape.parameters, work.size
    if rank:
        trained, each = adapter_parameters(shape, rank), BYTES["float32"]  # PEFT keeps an adapter in float32
        held = trained * each
        lines.append(Line(f"LoRA of rank {rank}", f"{big(trained)} x {each} B", held, held / gpus, STEPS))
    elif work.train.grpo.kl and not work.distills:
        lines.append(Line("the reference of the KL", told, 0, weights / gpus, STEPS))
    held, told = trained * each, f"{big(trained)} x {each} B"
    return [
        *(line for line in lines if line.whole or line.sharded),
        *_cast(work),
        Line("AdamW's two moments", f"2 x {told}", 2 * held, 2 * held / gpus, STEPS),
        Line("gradients", told, held, held / gpus, ("training",)),
    ]


def _cast(work: Work) -> list[Line]:
    """Return the bfloat16 copy of float32 weights that a pass, or a batch of replies, computes with.

    Only weights that may learn are kept cast: the base's, and the policy's without LoRA. Shards come cast,
    layer by layer, but to draw they are gathered.
    """
    if not work.mixes:
        return []
    held, learns = work.shape.parameters * COMPUTED, not work.train.lora_rank
    told = f"{big(work.shape.parameters)} x {COMPUTED} B"
    lines = [Line("weights, cast", told, held, held, ("asking",))] if work.asks else []
    if work.distills:  # in training it is the teacher's, which is never sharded
        return [*lines, Line("weights, cast", told, held, held, ("training",))]
    if learns:
        lines.append(Line("weights, cast", told, held, held, ("drawing",)))
        lines.append(Line("weights, cast", told, held, 0, ("training",)))
    return lines


def _activations(work: Work) -> list[Line]:
    """Return what one micro-batch leaves for its backward pass, and the head's logits, which come in tiles.

    Inside a layer 8 values a token are as wide as the stream (norms, residuals, their gradients), then come
    queries, keys, values and what attention makes of them, and 4 inside the feed-forward layer; no matrix of
    attention is kept. Requests close to refusals, which distillation holds, are read in the same pass.
    """
    shape = work.shape
    tokens = work.together * (work.limits + work.near * work.train.max_prompt_tokens)
    heads = 2 * (shape.heads + shape.kv_heads) * shape.head_dim
    layer = tokens * COMPUTED * (8 * shape.hidden + heads + 4 * shape.intermediate)
    inside = f"(8 x {shape.hidden} + {heads} + 4 x {shape.intermediate}) x {COMPUTED} B"
    lines = [_head(work)]
    if not work.recomputes:
        told = f"{big(tokens)} tokens x {shape.layers} layers x {inside}"
        return [
            Line("inside the layers", told, layer * shape.layers, layer * shape.layers, ("training",)),
            *lines,
        ]
    kept = tokens * shape.layers * shape.hidden * work.size
    told = f"{big(tokens)} tokens x {shape.layers} layers x {shape.hidden} x {work.size} B"
    return [
        Line("inputs of the layers", told, kept, kept, ("training",)),
        Line("one layer, recomputed", f"{big(tokens)} tokens x {inside}", layer, layer, ("training",)),
        *lines,
    ]


def _head(work: Work) -> Line:
    """Return what the head leaves: tiles in TRL; for a divergence whole rows.

    Those are the teacher's logits, the student's, and their gradient twice: from stretches it is put together,
    then put into place. What a divergence is made of is held for one stretch only.
    """
    vocabulary = work.shape.vocabulary
    if work.distills:
        tokens = work.together * work.train.max_reply_tokens
        each, stretch = COMPUTED + 3 * work.size, min(TOGETHER, tokens * vocabulary)
        held = tokens * vocabulary * each + stretch * DISTRIBUTIONS * BYTES["float32"]
        told = f"{big(tokens)} tokens x {vocabulary} x {each} B + {big(stretch)} x {DISTRIBUTIONS} x 4 B"
        return Line("logits of the replies, twice", told, held, held, ("training",))
    width = min(TILE[1], vocabulary)
    tile = TILE[0] * width * BYTES["float32"]
    return Line("a tile of the head's logits", f"{TILE[0]} tokens x {width} x 4 B", tile, tile, ("training",))


def _cache(work: Work) -> list[Line]:
    """Return what drawing one batch of replies holds, all of them at the limits."""
    shape, lines = work.shape, []
    batches: tuple[tuple[When, int], ...] = (
        ("asking", DRAWN * work.asks),
        ("drawing", min(DRAWN, work.rows) * (not work.distills)),
    )
    for when, batch in batches:
        cache = batch * work.limits * cached(shape) * COMPUTED
        logits = 3 * batch * shape.vocabulary * BYTES["float32"]
        each = f"2 x {shape.layers} layers x {shape.kv_heads} x {shape.head_dim} x {COMPUTED} B"
        told = f"{batch} replies x {work.limits} tokens x {each}"
        three = f"3 x {batch} x {shape.vocabulary} x 4 B"
        lines.append(Line("keys and values", told, cache, cache, (when,)))
        lines.append(Line("logits, softmax, its sum", three, logits, logits, (when,)))
    return [line for line in lines if line.whole]
