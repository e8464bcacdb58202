#!/bin/sh
# A picture in one call. Needs curl and jq.
set -eu
server=${CALOTYPE_URL:-http://127.0.0.1:8700}

url=$(
    curl -fsS "$server/api/v1/image/generate" \
        -H "Authorization: Bearer $CALOTYPE_KEY" -H "Content-Type: application/json" \
        -d '{"model": "local/sketch", "prompt": "a lighthouse on a cliff at sunset", "width": 1024, "height": 768}' |
        jq -er '.data.images[0].url'
)
curl -fsS "$url" -o lighthouse.png
echo lighthouse.png
