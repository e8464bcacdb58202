"""What is said of unmodified clients, and the tests that prove it: the table behind `docs/dialects.md`.

A proof is a test below `tests/`, and where it has parameters the beginning of their name. A cell is ticked when all
that is meant by its proof ran and passed.
"""

from typing import NamedTuple


class Client(NamedTuple):
    """A package, or a tool, as it stands at the head of a column, with a place for each version."""

    label: str
    versions: tuple[str, ...] = ()
    """Where they are written: `pypi:name`, `npm:folder:name` (a folder of `tests/clients`), or `=version` itself."""


class Dialect(NamedTuple):
    """The columns of one API, and its features: what is said → client → proof."""

    title: str
    page: str
    clients: tuple[Client, ...]
    features: dict[str, dict[Client, str]]


# -- OpenAI's API ------------------------------------------------------------------------------------------------------

_PYTHON = Client("Python `openai` {}", ("pypi:openai",))
_NPM = Client("npm `openai` {}", ("npm:node:openai",))
_AI = Client(
    "`ai` {} with `@ai-sdk/openai` {}, `@ai-sdk/openai-compatible` {}",
    ("npm:node:ai", "npm:node:@ai-sdk/openai", "npm:node:@ai-sdk/openai-compatible"),
)
_CURL = Client("curl")
_FIRST = "dialects/test_openai_python.py::"
_HERE = "dialects/test_openai_dialect_"
_NODE = "dialects/test_openai_node.py::test_the_npm_package_gets_what_the_python_one_gets"
_TALK = _HERE + "node.py::test_the_openai_package_talks_listens_and_draws"
_SDK = _HERE + "node.py::test_the_ai_sdk_talks_listens_and_draws"
_ANSWERS = _HERE + "chat.py::test_the_python_package_reads_answers_tools_and_thoughts"
_EXAMPLE = "examples/test_examples.py::test_it_makes_what_it_says_and_is_charged_once"

OPENAI = Dialect(
    "OpenAI's API", "openai.md", (_PYTHON, _NPM, _AI, _CURL),
    {
        "chat": {_PYTHON: _ANSWERS, _NPM: _TALK, _AI: _SDK},
        "chat, streamed": {
            _PYTHON: _HERE + "streams.py::test_the_python_package_streams_plainly_and_with_its_helper", _NPM: _TALK,
            _AI: _SDK,
        },
        "tools": {_PYTHON: _ANSWERS, _NPM: _TALK, _AI: _SDK},
        "pictures in messages": {_AI: _SDK},
        "a stream that breaks raises the package's error": {
            _PYTHON: _HERE + "streams.py::test_a_failure_after_the_first_word_raises_in_the_client_and_is_refunded",
            _NPM: _TALK,
        },
        "embeddings": {
            _PYTHON: _HERE + "embeddings.py::test_the_python_package_unpacks_what_it_asked_for", _NPM: _TALK, _AI: _SDK,
        },
        "fallback to another model": {
            _PYTHON: _HERE + "effort.py::test_another_model_answers_where_the_first_one_cannot",
        },
        "fallback of a stream": {_PYTHON: _HERE + "effort.py::test_a_stream_falls_back_before_its_first_piece"},
        "answers used again": {_PYTHON: _HERE + "effort.py::test_an_answer_is_used_again_at_no_charge"},
        "speech": {
            _PYTHON: _HERE + "audio.py::test_the_python_package_reads_and_streams_a_recording", _NPM: _TALK, _AI: _SDK,
        },
        "transcription": {
            _PYTHON: _HERE + "audio.py::test_the_python_package_reads_every_form", _NPM: _TALK, _AI: _SDK,
        },
        "transcription, streamed": {
            _PYTHON: _HERE + "streams.py::test_speech_and_transcriptions_stream_as_openai_s_do",
        },
        "pictures by URL": {
            _PYTHON: _FIRST + "test_a_picture_by_url_can_be_fetched_without_a_key", _NPM: _NODE,
            _CURL: _EXAMPLE + "[openai-picture.sh]",
        },
        "pictures as base64": {
            _PYTHON: _FIRST + "test_pictures_as_base64_are_the_upstream_s_own", _NPM: _NODE, _AI: _SDK,
        },
        "pictures, streamed": {
            _PYTHON: _HERE + "edits.py::test_the_python_package_streams_a_picture", _NPM: _TALK,
        },
        "picture edits": {
            _PYTHON: _HERE + "edits.py::test_the_python_package_edits_one_picture_and_several", _NPM: _TALK,
        },
        "videos: create, poll, list, fetch, delete": {
            _PYTHON: _FIRST + "test_a_video_is_created_polled_listed_fetched_and_deleted", _NPM: _NODE,
        },
        "videos of a picture": {_PYTHON: _FIRST + "test_a_picture_to_film_rides_in_the_form", _NPM: _NODE},
        "stills of a video": {_PYTHON: _HERE + "videos.py::test_a_still_and_a_sheet_of_stills_are_made_of_a_film"},
        "remix, edit and extension of a video": {
            _PYTHON: _HERE + "videos.py::test_a_film_is_remixed_edited_and_carried_on",
        },
        "files": {_PYTHON: _FIRST + "test_a_file_is_kept_described_fetched_and_deleted", _NPM: _NODE},
        "models": {_PYTHON: _FIRST + "test_models_are_listed_and_found_by_ids_with_slashes", _NPM: _NODE},
        "refusals are the package's own errors": {
            _PYTHON: _FIRST + "test_errors_are_the_classes_the_package_has_for_them", _NPM: _NODE, _AI: _SDK,
        },
        "a call cut off and sent again is charged once": {
            _PYTHON: _FIRST + "test_a_connection_cut_before_the_answer_joins_the_same_job", _NPM: _NODE + "[/v1]",
        },
        "asynchronous client": {_PYTHON: _FIRST + "test_the_asynchronous_client_does_the_same"},
    },
)  # fmt: skip

# -- fal's API ---------------------------------------------------------------------------------------------------------

_FAL = Client("`fal-client` {}", ("pypi:fal-client",))
_FAL_07 = Client("`fal-client` {}", ("=0.7.0",))
_JS = Client("`@fal-ai/client` {}", ("npm:fal-node:@fal-ai/client",))
_JS_12 = Client("`@fal-ai/client` {}", ("npm:fal-node:@fal-ai/client-1.2.3",))
_JS_16 = Client("`@fal-ai/client` {}", ("npm:fal-node:@fal-ai/client-1.6.2",))
_FAL_SDK = Client("`@ai-sdk/fal` {} with `ai` {}", ("npm:fal-node:@ai-sdk/fal", "npm:fal-node:ai"))
_APPS = Client("`fal` {}: `fal.apps`", ("=1.83.0",))
_PROGRAM = "dialects_fal/test_fal_dialect_python.py::"
_OWN_HOST = _PROGRAM + "test_host_variables_alone_lead_the_current_client_here"
_NEW = _PROGRAM + "test_behind_the_proxy_the_new_client_needs_no_change"
_OLD = _PROGRAM + "test_behind_the_proxy_the_old_client_needs_no_change"
_BIG = _PROGRAM + "test_a_file_of_more_than_100_mb_comes_in_parts"
_SCRIPT = "dialects_fal/test_fal_dialect_node.py::"
_WAY = _SCRIPT + "test_the_npm_package_works_through_the_proxy_path"
_PARTS = _SCRIPT + "test_a_file_of_more_than_90_mb_comes_in_parts"
_LIVE = "dialects_fal/test_fal_dialect_realtime_clients.py::"
_LIVE_JS = _LIVE + "test_behind_the_proxy_the_npm_package_needs_no_change"
_ALL = {
    _FAL: _NEW, _FAL_07: _OLD, _JS: _WAY + "[1.10.1-", _JS_16: _WAY + "[1.6.2-", _JS_12: _WAY + "[1.2.3-",
}  # fmt: skip
_BASE_URL = "dialects_fal/test_fal_dialect_ai_sdk.py::test_a_base_url_leads_its_pictures_here"
_OF_APPS = "dialects_fal/test_fal_dialect_apps.py::"
_APPS_HOST = _OF_APPS + "test_host_variables_alone_lead_it_here"
_APPS_PROXY = _OF_APPS + "test_behind_the_proxy_it_needs_no_change"

FAL = Dialect(
    "fal's API", "fal.md", (_FAL, _FAL_07, _APPS, _JS, _JS_16, _JS_12, _FAL_SDK, _CURL),
    {
        "direct call": {**_ALL, _FAL_SDK: _BASE_URL, _CURL: _EXAMPLE + "[fal-picture.sh]"},
        "subscribe, with updates and logs": _ALL,
        "submit, status, result": {**_ALL, _APPS: _APPS_HOST},
        "cancel": {**_ALL, _APPS: _APPS_HOST},
        "stream": {**_ALL, _APPS: _APPS_HOST},
        "refusals are the package's own errors": {**_ALL, _APPS: _APPS_HOST, _FAL_SDK: _BASE_URL},
        "upload": _ALL,
        "upload of 101 MB, in parts": {
            _FAL: _BIG + "[False]", _FAL_07: _BIG + "[True]", _JS: _PARTS + "[1.10.1]", _JS_12: _PARTS + "[1.2.3]",
        },
        "realtime": {
            _FAL: _LIVE + "test_behind_the_proxy_python_fetches_its_token_here", _JS: _LIVE_JS + "[1.10.1]",
            _JS_16: _LIVE_JS + "[1.6.2]", _JS_12: _LIVE_JS + "[1.2.3]",
        },
        "realtime with a key instead of a token": {
            _FAL: _LIVE + "test_with_a_key_the_host_variables_alone_lead_python_here",
        },
        "calls over a WebSocket": {_APPS: _APPS_PROXY},
        "a call cut off and sent again is made once": {
            _JS: _SCRIPT + "test_a_call_whose_connection_breaks_is_sent_again_and_made_once",
        },
        "led here by the proxy, nothing changed": {
            _FAL: _NEW, _FAL_07: _OLD, _APPS: _APPS_PROXY,
            _JS: _SCRIPT + "test_behind_the_proxy_the_npm_package_needs_no_change",
        },
        "led here by host variables": {_FAL: _OWN_HOST, _APPS: _APPS_HOST},
        "led here by `proxyUrl`": {_JS: _WAY + "[1.10.1-proxyUrl]"},
        "led here by middleware": {
            _JS: _WAY + "[1.10.1-middleware]", _JS_16: _WAY + "[1.6.2-middleware]", _JS_12: _WAY + "[1.2.3-middleware]",
        },
        "led here by `baseURL`": {_FAL_SDK: _BASE_URL},
    },
)  # fmt: skip

# -- APIs without packages of their own --------------------------------------------------------------------------------

_REQUESTS = Client("Python `requests` {}", ("pypi:requests",))
_FETCH = Client("Node `fetch`")
_CALLS = "dialects_jobs/test_jobs_curl.py::"


def _examples(name: str) -> dict[Client, str]:
    endings = {_CURL: "sh", _REQUESTS: "py", _FETCH: "mjs"}
    return {client: f"{_EXAMPLE}[{name}.{ending}]" for client, ending in endings.items()}


_PLAIN = (_CURL, _REQUESTS, _FETCH)

JOBS = Dialect(
    "The jobs API", "jobs.md", _PLAIN,
    {
        "upload, create, look, fetch: a film": _examples("jobs-film"),
        "create, look, fetch: a picture": {_CURL: _CALLS + "test_create_look_and_fetch"},
        "cancel": {_CURL: _CALLS + "test_cancel_answers_in_two_words"},
        "credits and their history": {_CURL: _CALLS + "test_credits_and_their_history"},
        "chat, whole and streamed": {_CURL: _CALLS + "test_the_chat_flat_and_streamed"},
        "upload": {_CURL: _CALLS + "test_upload_is_a_form"},
        "refusals": {_CURL: _CALLS + "test_a_refusal_is_a_detail"},
        "the example of its page": {_CURL: _CALLS + "test_the_example_of_the_page_works"},
    },
)  # fmt: skip
IMAGE = Dialect("The image API", "image.md", _PLAIN, {"make a picture": _examples("image-picture")})
CONTENT = Dialect("Content at fixed prices", "content.md", _PLAIN, {"find, buy, fetch": _examples("content-picture")})

DIALECTS = (OPENAI, FAL, JOBS, IMAGE, CONTENT)
