"""A picture through fal's queue, with fal's own client. Needs the package fal-client, which brings httpx.

The client speaks HTTPS only and is told by its own variables where to go (docs/fal.md has other ways):

    export FAL_KEY=$CALOTYPE_KEY FAL_RUN_HOST=gw.example.com/fal/run FAL_QUEUE_RUN_HOST=gw.example.com/fal/queue
"""

from pathlib import Path

import fal_client
import httpx


def show(update: fal_client.Status) -> None:
    """Tell how the request stands."""
    print(type(update).__name__)


result = fal_client.subscribe(
    "local/sketch",
    arguments={"prompt": "a lighthouse on a cliff at sunset", "image_size": "landscape_4_3"},
    on_queue_update=show,
)
Path("lighthouse.png").write_bytes(httpx.get(result["images"][0]["url"]).content)
print("lighthouse.png")
