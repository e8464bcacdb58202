#!/bin/sh
# A picture through fal's queue: submit, look until it is done, fetch. Needs curl and jq.
set -eu
server=${CALOTYPE_URL:-http://127.0.0.1:8700}
key="Authorization: Key $CALOTYPE_KEY"

request=$(
    curl -fsS "$server/fal/queue/local/sketch" -H "$key" -H "Content-Type: application/json" \
        -d '{"prompt": "a lighthouse on a cliff at sunset", "image_size": "landscape_4_3"}'
)
while
    status=$(curl -fsS "$(echo "$request" | jq -er .status_url)" -H "$key" | jq -er .status)
    echo "$status"
    [ "$status" != COMPLETED ]
do sleep 1; done

url=$(curl -fsS "$(echo "$request" | jq -er .response_url)" -H "$key" | jq -er '.images[0].url')
curl -fsS "$url" -o lighthouse.png
echo lighthouse.png
