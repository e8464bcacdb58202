"""The unmodified npm packages `openai` and the AI SDK talk, listen and draw at the running server."""

import base64
import json
from typing import Any

import pytest
from openai_kit import SPOKEN, Kit, picture, recording

from node import Node

pytestmark = pytest.mark.client


def run(node: Node, script: str, kit: Kit) -> dict[str, Any]:
    given = {
        "base": f"{kit.house.url}/v1", "key": kit.key, "picture": base64.b64encode(picture()).decode(),
        "recording": base64.b64encode(recording()).decode(),
    }  # fmt: skip
    found: dict[str, Any] = json.loads(node.run(script, json.dumps(given)).splitlines()[-1])
    return found


def test_the_openai_package_talks_listens_and_draws(kit: Kit, node: Node) -> None:
    seen = run(node, "openai-talk.mjs", kit)
    said = "You said: one two three"
    assert seen["chat"] == {"text": said, "tokens": 16}
    assert (seen["stream"]["text"], seen["stream"]["tokens"]) == (said, 16) and seen["stream"]["chunks"] > 5
    assert seen["helper"] == {"seen": said, "final": said}
    assert seen["tools"] == {"name": "look", "arguments": {"text": "look @tool"}, "reason": "tool_calls"}
    assert seen["broken"]["code"] == "upstream_failed" and seen["broken"]["seen"].startswith("You said: one")
    assert seen["embeddings"] == [8, 8]
    assert seen["speech"] == {"type": "audio/wav", "magic": "RIFF"}
    assert seen["heard"] == {"text": SPOKEN, "srt": "1\n", "words": 8}
    assert seen["edits"] == [1, 2]
    assert seen["drawing"] == "image_generation.completed"
    assert seen["files"] == {"same": True}
    assert kit.money[1] == 0


def test_the_ai_sdk_talks_listens_and_draws(kit: Kit, node: Node) -> None:
    seen = run(node, "ai-sdk.mjs", kit)
    assert seen["text"] == {"text": "You said: one two three", "tokens": 16, "reason": "stop"}
    assert seen["stream"]["text"] == "You said: one two"
    assert seen["stream"]["reasoning"] == "The question is about words." and seen["stream"]["tokens"] > 0
    assert seen["tools"] == [["look", "look @tool"]]
    assert seen["vision"] == "You said: what"
    assert seen["embeddings"] == {"count": 2, "length": 64, "tokens": 4}
    assert seen["speech"] == "audio/mp3" or seen["speech"] == "audio/mpeg"
    assert seen["heard"] == {"text": SPOKEN, "segments": 2}
    assert seen["drawing"] == "PNG"
    assert seen["refusal"] == {"status": 404, "code": "model_not_found"}
    assert kit.money[1] == 0
