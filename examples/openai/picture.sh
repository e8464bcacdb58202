#!/bin/sh
# A picture, asked for in OpenAI's words. Needs curl and jq.
set -eu
server=${CALOTYPE_URL:-http://127.0.0.1:8700}

url=$(
    curl -fsS "$server/v1/images/generations" \
        -H "Authorization: Bearer $CALOTYPE_KEY" -H "Content-Type: application/json" \
        -d '{"model": "local/sketch", "prompt": "a lighthouse on a cliff at sunset", "size": "1024x768"}' |
        jq -er '.data[0].url'
)
curl -fsS "$url" -o lighthouse.png
echo lighthouse.png
