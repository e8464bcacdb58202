"""What is asked, with how many connections: the scenes of a run."""

import json
from dataclasses import dataclass, field

PROMPT = "a calm clinic waiting room, soft light @N@"
"""`@N@` becomes a number of its own in each request, so that no request is a repetition of another."""


@dataclass(frozen=True)
class Request:
    """What the load generator sends."""

    path: str
    body: str = ""
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    ids: tuple[str, ...] = ()
    """What stands in turn for `@ID@` in the path."""

    @property
    def first_path(self) -> str:
        """The path of the first request."""
        return self.path.replace("@ID@", self.ids[0]) if self.ids else self.path


@dataclass(frozen=True)
class Scene:
    """One kind of request at one concurrency.

    `held` is how long the upstream holds a request: samples are lengthened to hold whole waves, and memory is read in
    the middle. At most `rounds` rounds are sampled.
    """

    name: str
    kind: str
    connections: int
    title: str
    held_s: int = 0
    rounds: int = 99


SCENES = (
    Scene("image1", "image", 1, "One connection, small answer, URL passed on: what the gateway adds"),
    Scene("image32", "image", 32, "32 connections, small answer, URL passed on: what a core can do"),
    Scene("poll", "poll", 32, "Status poll of a video job, 32 connections"),
    Scene("poll1000", "polls", 1000, "Status polls of 1,000 videos by 1,000 clients in a closed loop, OpenAI"),
    Scene("status1000", "statuses", 1000, "Status polls of 1,000 requests by 1,000 clients in a closed loop, fal"),
    Scene("slow", "slow", 400, "400 connections held by an upstream that takes 2 s", held_s=2, rounds=2),
    Scene("store1", "store", 1, "One connection, the 100 KB picture downloaded and stored"),
    Scene("store32", "store", 32, "32 connections, the 100 KB picture downloaded and stored"),
    Scene("big4", "big", 4, "1 MiB of base64 from the upstream, base64 to the caller, 4 connections"),
    Scene("big4-url", "big_url", 4, "1 MiB of base64 from the upstream, stored, a URL to the caller, 4 connections"),
)
WAITING = "waiting"
STREAMS = "streams"


def images(model: str, *, path: str = "/v1/images/generations", **more: object) -> Request:
    """Return a picture request."""
    body = {"model": model, "prompt": PROMPT, "n": 1, "size": "1024x1024", **more}
    return Request(path, json.dumps(body))


def ours() -> dict[str, Request]:
    """Return what our own server is asked, by kind (polls are added once the ids of jobs are known)."""
    return {
        "image": images("bench-image"),
        "store": images("bench-store"),
        "slow": images("bench-slow"),
        "big": images("bench-big", response_format="b64_json"),
        "big_url": images("bench-big", response_format="url"),
    }


def polls(videos: list[str], jobs: list[str]) -> dict[str, Request]:
    """Return the polls of jobs that wait, in the words of both dialects: of one of them, and of each in turn."""
    return {
        "poll": Request(f"/v1/videos/{videos[-1]}", method="GET"),
        "polls": Request("/v1/videos/@ID@", method="GET", ids=tuple(videos)),
        "statuses": Request("/fal/queue/bench-video/requests/@ID@/status", method="GET", ids=tuple(jobs)),
    }


def direct() -> dict[str, Request]:
    """Return the same requests, as the upstream itself takes them."""
    return {
        "image": images("gpt-image-1"),
        "slow": images("gpt-image-1", path="/slow/v1/images/generations"),
        "big": images("gpt-image-1", path="/big/v1/images/generations"),
    }
