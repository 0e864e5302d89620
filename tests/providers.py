"""What providers and servers answer, by name: how a field is refused, what their filters say, why replies end.

Shapes as their documentation or public bug reports show them; the words between are ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from servers import Answer, said

Refuse = Callable[[str], Answer]  # a field's name -> what the server says of it


def _openai(message: str, param: str | None, code: str | None, **more: Any) -> dict[str, Any]:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code, **more}
    return {"error": error}


def _fastapi(name: str) -> dict[str, Any]:
    return {"detail": [{"type": "extra_forbidden", "loc": ["body", name], "msg": "not permitted", "input": 7}]}


# Each refuses a field that it does not know, or not of this model.
REFUSALS: dict[str, Refuse] = {
    "openai, azure": lambda f: said(
        400,
        _openai(
            f"Unsupported parameter: '{f}' is not for this model. Use 'other' instead.",
            f,
            "unsupported_parameter",
        ),
    ),
    "azure, old api-version": lambda f: said(
        400, _openai(f"Unrecognized request argument supplied: {f}", None, None)
    ),
    "mistral": lambda f: said(422, _fastapi(f)),
    "mistral, behind a proxy": lambda f: said(
        422,
        {"object": "error", "message": json.dumps(_fastapi(f)), "type": "internal_error_proxy", "code": "1000"},
    ),
    "mistral, nested": lambda f: said(
        422, {"object": "error", "message": _fastapi(f), "param": None, "code": None}
    ),
    "groq": lambda f: said(400, _openai(f"property '{f}' is unsupported, did you mean 'stop'?", None, None)),
    "cerebras": lambda f: said(
        422,
        {
            "message": f"body.{f}: property 'body.{f}' is unsupported",
            "param": "validation_error",
            "code": "wrong_api_format",
        },
    ),
    "google": lambda f: said(
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": f'Invalid JSON payload received. Unknown name "{f}": Cannot find field.',
                    "status": "INVALID_ARGUMENT",
                    "details": [
                        {"fieldViolations": [{"description": f'Unknown name "{f}": Cannot find field.'}]}
                    ],
                }
            }
        ],
    ),
    "anthropic": lambda f: said(
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": f"{f}: Extra inputs are not permitted"},
        },
    ),
    "bedrock": lambda f: said(
        400, {"message": f"Malformed input request: #: extraneous key [{f}] is not permitted"}
    ),
    "xai": lambda f: said(
        400,
        {
            "code": "Client specified an invalid argument",
            "error": f"Argument not supported on this model: {_camel(f)}",
        },
    ),
    "vllm": lambda f: said(
        400,
        {
            "object": "error",
            "message": f"{f} is not supported by this engine",
            "type": "BadRequestError",
            "code": 400,
        },
    ),
    "litellm, status 200": lambda f: said(
        200, {"error": {"message": f"UnsupportedParamsError: {f}", "code": "400"}}
    ),
    "rust, plain": lambda f: said(
        422, f"unknown field `{f}`, expected one of `model`, `messages`, `temperature`, `top_p`, `seed`"
    ),
    "go, plain": lambda f: said(400, f'json: unknown field "{f}"'),
}

# Each is said of one request that the provider's filter stopped, or of its reply.
BLOCKS: dict[str, Answer] = {
    "openrouter": said(
        403,
        {
            "error": {
                "code": 403,
                "message": "the input was flagged",
                "metadata": {"reasons": ["x"], "flagged_input": "k"},
            }
        },
    ),
    "openrouter, status 200": said(
        200, {"error": {"code": 403, "message": "no", "metadata": {"flagged_input": "k", "reasons": ["x"]}}}
    ),
    "openrouter, code": said(
        403, {"error": {"code": 403, "message": "no", "metadata": {"error_type": "content_policy_violation"}}}
    ),
    "azure": said(
        400,
        _openai(
            "the prompt was filtered",
            "prompt",
            "content_filter",
            innererror={"code": "ResponsibleAIPolicyViolation"},
        ),
    ),
    "azure, inner alone": said(
        400, _openai("no", None, None, innererror={"content_filter_result": {"violence": {"filtered": True}}})
    ),
    "openai": said(400, _openai("no", None, "content_policy_violation")),
    "openai, words": said(
        400, _openai("Invalid prompt: it was flagged as against our usage policy", None, "invalid_prompt")
    ),
    "litellm": said(
        400,
        {
            "error": {
                "message": "ContentPolicyViolationError: AzureException content management policy",
                "code": "400",
            }
        },
    ),
    "alibaba": said(400, {"error": {"code": "data_inspection_failed", "message": "no"}}),
    "alibaba, words": said(
        400, {"error": {"message": "<400> InternalError.Algo.X: the text may contain inappropriate content."}}
    ),
    "deepseek": said(400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error"}}),
    "moonshot": said(
        400, {"error": {"message": "rejected because it was considered high risk", "type": "content_filter"}}
    ),
    "anthropic": said(
        400,
        {"error": {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"}},
    ),
    "bedrock": said(400, {"message": "the guardrail intervened"}),
    "google": said(200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
    "google, no choices": said(200, {"choices": None, "prompt_feedback": {"block_reason": "SAFETY"}}),
    "law": said(451, "unavailable for legal reasons"),
}
WITHHELD = (
    *("content_filter", "content_filtered", "guardrail_intervened", "sensitive", "refusal", "ERROR_TOXIC"),
    *("SAFETY", "PROHIBITED_CONTENT", "RECITATION", "FINISH_REASON_SAFETY"),
)
CUT = (
    *("length", "max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens", "ERROR_LIMIT", "max-tokens"),
    *("model_context_window_exceeded", "FINISH_REASON_MAX_TOKENS"),
)
ENDED = (
    "stop",
    "eos",
    "eos_token",
    "end_turn",
    "stop_sequence",
    "COMPLETE",
    "STOP",
    "</s>",
    None,
    "whatever comes",
)
BROKEN = ("error", "abort", "insufficient_system_resource", "network_error")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)
