"""The endpoints of the OpenAI dialect, as they are documented."""

from typing import Any

from calotype.dialects.endpoints import Endpoint, Parameter
from calotype.dialects.openai import shapes
from calotype.dialects.openai.chat import ChatRequest
from calotype.dialects.openai.embeddings import EmbeddingRequest
from calotype.dialects.openai.images import ImageRequest
from calotype.dialects.openai.ocr import OcrRequest
from calotype.dialects.openai.speech import SpeechRequest
from calotype.dialects.openai.transcriptions import TranscriptionRequest
from calotype.dialects.openai.videos import FilmRequest, RemixRequest, VideoRequest
from calotype.kernel.generation import Operation

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
_EFFORT = (
    " fallback, retries (at most 5) and timeout (ms, at most 300000) also work as X-Fallback, X-Retries and X-Timeout;"
    " X-Cache-TTL (seconds, at most 86400) lets the same request be answered from before, at no charge, and"
    " X-Cache: no-cache makes it anew."
)
_BINARY = {"type": "string", "format": "binary"}
_EVENTS = ("text/event-stream",)
_SOUNDS = ("audio/ogg", "audio/aac", "audio/flac", "audio/wav", "audio/pcm", "text/event-stream", "application/json")
_FILMED = (Operation.TEXT_TO_VIDEO, Operation.IMAGE_TO_VIDEO, Operation.TALKING_AVATAR)
_EDITED = (Operation.IMAGE_TO_IMAGE, Operation.UPSCALE, Operation.BACKGROUND_REMOVAL)
_RECORDING_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {**_BINARY, "description": "The recording, or a film with one."},
        "model": {**_TEXT, "description": "The model, by id or alias; auto takes the cheapest that fits."},
        "response_format": {
            "enum": ["json", "text", "srt", "vtt", "verbose_json"],
            "description": "The form of the answer.",
        },
        "language": {**_TEXT, "description": "The language that is spoken, such as en."},
        "prompt": {**_TEXT, "description": "Names and words that may occur."},
        "timestamp_granularities[]": {
            "type": "array",
            "items": {"enum": ["segment", "word"]},
            "description": "Which times verbose_json tells.",
        },
        "stream": {"type": "boolean", "description": "The text as events."},
    },
}
_EDIT_FORM = {
    "type": "object",
    "required": ["image"],
    "properties": {
        "image": {**_BINARY, "description": "The picture; several as image[]."},
        "mask": {**_BINARY, "description": "Where to paint, for models that take one."},
        "prompt": {**_TEXT, "description": "What to change, in words."},
        "model": {**_TEXT, "description": "The model, by id or alias; auto takes the cheapest that fits."},
        "response_format": {"enum": ["url", "b64_json"], "description": "A signed URL, or the bytes as base64."},
        "stream": {"type": "boolean", "description": "The pictures as events."},
        "partial_images": {"type": "integer", "minimum": 0, "maximum": 3, "description": "Previews in a stream."},
        "fallback": {**_TEXT, "description": "Models to try when this one cannot deliver, with commas between."},
        "retries": {"type": "integer", "minimum": 0, "maximum": 5, "description": "Further rounds over its routes."},
        "timeout": {"type": "integer", "minimum": 1, "maximum": 300_000, "description": "For each model, in ms."},
    },
}
_FILM_FORM = {
    "type": "object",
    "required": ["prompt", "video"],
    "properties": {"video": _BINARY, "prompt": _TEXT, "model": _TEXT, "seconds": _TEXT},
}
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
        "Waits for the pictures and answers them, by URL or as base64; with stream as events, previews first."
        f"{_EFFORT}",
        shapes.Images, body=ImageRequest, errors=_ASK_ERRORS, more_types=_EVENTS, operations=(Operation.TEXT_TO_IMAGE,),
        example={"model": "local/sketch", "prompt": "a lighthouse on a cliff at sunset", "size": "1024x1024"},
        answer_example={
            "created": 1_795_000_000, "data": [{"url": "https://calotype.example/v1/media/AQBr…/0.png"}],
            "model": "local/sketch",
        },
    ),
    Endpoint(
        "POST", "/v1/images/edits", "Images", "Change pictures",
        "Makes pictures of pictures: edits, and what upscalers and background removers do. JSON names them in images."
        f"{_EFFORT}",
        shapes.Images, form=_EDIT_FORM, errors=_ASK_ERRORS, more_types=_EVENTS, operations=_EDITED,
    ),
    Endpoint(
        "POST", "/v1/chat/completions", "Chat", "Hold a conversation's next turn",
        f"The answer whole, or with stream as events that end with [DONE].{_EFFORT}",
        shapes.ChatCompletion, body=ChatRequest, errors=_ASK_ERRORS, more_types=_EVENTS, operations=(Operation.CHAT,),
        example={
            "model": "local/smollm2-135m", "messages": [{"role": "user", "content": "What is the capital of France?"}]
        },
        answer_example={
            "id": "chatcmpl-019a9c1e7a5c7d0e8a4f2b6c1d3e5f70", "object": "chat.completion", "created": 1_795_000_000,
            "model": "gemma-4", "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "Paris.", "refusal": None}, "logprobs": None,
                 "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": 14, "completion_tokens": 2, "total_tokens": 16,
                      "prompt_tokens_details": {"cached_tokens": 0},
                      "completion_tokens_details": {"reasoning_tokens": 0}},
        },
    ),
    Endpoint(
        "POST", "/v1/embeddings", "Embeddings", "Write texts as vectors",
        f"Numbers, or base64 of 32-bit numbers.{_EFFORT}",
        shapes.Embeddings, body=EmbeddingRequest, errors=_ASK_ERRORS, operations=(Operation.EMBEDDINGS,),
        example={"model": "qwen3-embedding-8b", "input": "The evening train to Geneva leaves at half past nine."},
    ),
    Endpoint(
        "POST", "/v1/ocr", "Documents", "Read a document",
        "Markdown for each page; the answer is Mistral's, with the page count and the provider's own words beside it.",
        shapes.Document, body=OcrRequest, errors=_ASK_ERRORS, operations=(Operation.OCR,),
        example={
            "model": "mistral-ocr", "pages": [0],
            "document": {"type": "document_url", "document_url": "https://example.com/report.pdf"},
        },
    ),
    Endpoint(
        "POST", "/v1/audio/speech", "Audio", "Read a text aloud",
        "The answer is the recording; with stream_format sse it comes in events.",
        media_type="audio/mpeg", more_types=_SOUNDS, body=SpeechRequest, errors=_ASK_ERRORS,
        operations=(Operation.TEXT_TO_SPEECH,), example={"model": "local/tts", "input": "Good evening."},
    ),
    Endpoint(
        "POST", "/v1/audio/transcriptions", "Audio", "Write down what is said",
        "A form with the recording, or JSON that names it; subtitles as srt or vtt.",
        shapes.Transcription, body=TranscriptionRequest, form=_RECORDING_FORM, errors=_ASK_ERRORS,
        more_types=("text/plain", "text/vtt", "text/event-stream"), operations=(Operation.TRANSCRIPTION,),
        example={"model": "local/transcribe", "file": "https://example.com/interview.mp3", "response_format": "srt"},
    ),
    Endpoint(
        "POST", "/v1/videos/generations", "Videos", "Make a video",
        "Answers at once with a job to poll. A picture makes it image-to-video, a recording a talking avatar.",
        shapes.Video, 202, body=VideoRequest, errors=_ASK_ERRORS, example=_FILM, answer_example=_VIDEO,
        operations=_FILMED,
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
        "GET", "/v1/videos/{id}/content", "Videos", "Fetch a video's file",
        "Redirects to a signed URL; a still or a sheet of stills is made of it and answered.",
        parameters=(
            _ID,
            Parameter("variant", "The film, a still (WebP) or a sheet of stills (JPEG).",
                      {"enum": ["video", "thumbnail", "spritesheet"], "default": "video"}),
        ),
        errors=(400, 404, 409, 410, 502, 503, 504), redirects=True, media_type="image/webp",
        more_types=("image/jpeg",),
    ),
    Endpoint(
        "POST", "/v1/videos/{id}/remix", "Videos", "Turn a video into another by words",
        "For models that work on films; the video's own one, or the one that model names.",
        shapes.Video, 202, body=RemixRequest, parameters=(_ID,), errors=(*_ASK_ERRORS, 409),
        operations=(Operation.VIDEO_TO_VIDEO,), example={"prompt": "the same at night"},
    ),
    Endpoint(
        "POST", "/v1/videos/edits", "Videos", "Change a film by words",
        "The film is a file, a URL, or an object with a video's id.",
        shapes.Video, 202, body=FilmRequest, form=_FILM_FORM, errors=(*_ASK_ERRORS, 409),
        operations=(Operation.VIDEO_TO_VIDEO,),
    ),
    Endpoint(
        "POST", "/v1/videos/extensions", "Videos", "Carry a film on", "For models whose field task takes extend.",
        shapes.Video, 202, body=FilmRequest, form=_FILM_FORM, errors=(*_ASK_ERRORS, 409),
        operations=(Operation.VIDEO_TO_VIDEO,),
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
        "GET", "/v1/files", "Files", "List files", "A page of them, newest first or oldest.", shapes.Files,
        parameters=(
            Parameter("after", "The last id of the page before.", _TEXT),
            Parameter("limit", "How many to answer.",
                      {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 10_000}),
            Parameter("order", "By time.", {"enum": ["asc", "desc"], "default": "desc"}),
            Parameter("purpose", "Only those for this purpose.", _TEXT),
        ),
        errors=(400, 404),
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
