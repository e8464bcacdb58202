"""A picture, asked for in OpenAI's words. Needs the package openai."""

import base64
import os
from pathlib import Path

from openai import OpenAI

server = os.environ.get("CALOTYPE_URL", "http://127.0.0.1:8700")
client = OpenAI(base_url=f"{server}/v1", api_key=os.environ["CALOTYPE_KEY"])

answer = client.images.with_raw_response.generate(
    model="local/sketch",
    prompt="a lighthouse on a cliff at sunset",
    size="1024x768",
    response_format="b64_json",
)
picture = answer.parse().data[0]
Path("lighthouse.png").write_bytes(base64.b64decode(picture.b64_json))
print(f"lighthouse.png, for {answer.headers['x-phi-cost-micro']} millionths of a USD")
