"""The endpoints of the OpenAI dialect, as they are documented."""

from typing import Any

from calotype.dialects.endpoints import Endpoint, Parameter
from calotype.dialects.openai import shapes
from calotype.dialects.openai.images import ImageRequest
from calotype.dialects.openai.videos import VideoRequest

_TEXT: dict[str, Any] = {"type": "string"}
_ID = Parameter("id", "The id that the creating call answered.", _TEXT, "path")
_FILM = {"model": "local/sketch-video", "prompt": "waves rolling towards a beach", "seconds": "4", "size": "1280x720"}
_ASK_ERRORS = (400, 402, 403, 404, 410, 413, 415, 422, 429, 501, 502, 503, 504)
_VIDEO = {
    "id": "video_019a9c1e7a5c7d0e8a4f2b6c1d3e5f70", "object": "video", "model": "local/sketch-video",
    "status": "queued", "progress": 0, "created_at": 1_795_000_000, "completed_at": None, "expires_at": None,
    "prompt": "waves rolling towards a beach", "seconds": "4", "size": "1280x720", "remixed_from_video_id": None,
    "error": None, "data": None,
}  # fmt: skip
_FILE_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "The file."},
        "purpose": {"type": "string", "description": "Your own word for what it is for."},
        "expires_after[seconds]": {"type": "integer", "minimum": 1, "description": "Keep it shorter than usual."},
    },
}

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "POST", "/v1/images/generations", "Images", "Make pictures",
        "Waits for the pictures and answers them, by URL or as base64.",
        shapes.Images, body=ImageRequest, errors=_ASK_ERRORS,
        example={"model": "local/sketch", "prompt": "a lighthouse on a cliff at sunset", "size": "1024x1024"},
        answer_example={
            "created": 1_795_000_000, "data": [{"url": "https://calotype.example/v1/media/AQBr…/0.png"}],
            "model": "local/sketch",
        },
    ),
    Endpoint(
        "POST", "/v1/videos/generations", "Videos", "Make a video",
        "Answers at once with a job to poll. A picture makes it image-to-video, a recording a talking avatar.",
        shapes.Video, 202, body=VideoRequest, errors=_ASK_ERRORS, example=_FILM, answer_example=_VIDEO,
    ),
    Endpoint(
        "POST", "/v1/videos", "Videos", "Make a video, as OpenAI's clients do",
        "The same job from a form or from JSON; input_reference takes a file.",
        shapes.Video, 202, body=VideoRequest, errors=_ASK_ERRORS, example=_FILM, answer_example=_VIDEO,
        form={
            "type": "object",
            "required": ["prompt"],
            "properties": {
                "model": _TEXT, "prompt": _TEXT, "seconds": _TEXT, "size": _TEXT,
                "input_reference": {"type": "string", "format": "binary", "description": "A picture to film."},
            },
        },
    ),
    Endpoint(
        "GET", "/v1/videos", "Videos", "List videos", "Newest first. The shared test key lists nothing.",
        shapes.Videos, errors=(400, 403, 404),
        parameters=(
            Parameter("limit", "How many to answer.", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
            Parameter("after", "The last id of the page before.", _TEXT),
            Parameter("order", "Newest first.", {"enum": ["desc"], "default": "desc"}),
        ),
    ),
    Endpoint(
        "GET", "/v1/videos/{id}", "Videos", "Look at a video",
        "Polls are never refused for their number; the header openai-poll-after-ms says when to come back.",
        shapes.Video, parameters=(_ID,), errors=(404,),
    ),
    Endpoint(
        "GET", "/v1/videos/{id}/content", "Videos", "Fetch a video's file", "Redirects to a signed URL.",
        parameters=(_ID, Parameter("variant", "Only the video is kept.", {"enum": ["video"], "default": "video"})),
        errors=(400, 404, 409, 502, 503, 504), redirects=True,
    ),
    Endpoint(
        "DELETE", "/v1/videos/{id}", "Videos", "Delete a video",
        "Cancels a video that has not ended; removes the files of one that has.",
        shapes.Deleted, parameters=(_ID,), errors=(404, 409, 429),
    ),
    Endpoint("GET", "/v1/models", "Models", "List models", "Every model this server knows.", shapes.Models),
    Endpoint(
        "GET", "/v1/models/{id}", "Models", "Look at a model", "Slashes in the id may be sent as %2F.",
        shapes.Model, parameters=(_ID,), errors=(404, 410),
    ),
    Endpoint("GET", "/v1/pricing", "Models", "See the rate card", "No key is needed.", shapes.Pricing, public=True),
    Endpoint(
        "POST", "/v1/files", "Files", "Upload a file", "The file's id can stand where a request takes a URL.",
        shapes.FileObject, form=_FILE_FORM, errors=(400, 403, 413, 415, 429, 503),
    ),
    Endpoint(
        "GET", "/v1/files", "Files", "List files", "Newest first.", shapes.Files,
        parameters=(Parameter("after", "The last id of the page before.", _TEXT),), errors=(404,),
    ),
    Endpoint(
        "GET", "/v1/files/{id}", "Files", "Look at a file", "What is known of it.", shapes.FileObject,
        parameters=(_ID,), errors=(404,),
    ),
    Endpoint(
        "GET", "/v1/files/{id}/content", "Files", "Fetch a file", "Redirects to a signed URL.",
        parameters=(_ID,), errors=(404,), redirects=True,
    ),
    Endpoint(
        "DELETE", "/v1/files/{id}", "Files", "Delete a file", "It is gone at once.", shapes.Deleted,
        parameters=(_ID,), errors=(404, 429),
    ),
    Endpoint(
        "GET", "/v1/media/{token}/{name}", "Media", "Fetch what was made",
        "The URLs in answers lead here; they are signed, expire, and take Range.",
        media_type="application/octet-stream", errors=(404, 410), public=True,
        parameters=(
            Parameter("token", "Signed by this server.", _TEXT, "path"),
            Parameter("name", "The file's name.", _TEXT, "path"),
        ),
    ),
)  # fmt: skip
