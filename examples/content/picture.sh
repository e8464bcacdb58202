#!/bin/sh
# A picture at the one price that the catalogue names. Needs curl and jq.
set -eu
server=${CALOTYPE_URL:-http://127.0.0.1:8700}

curl -fsS "$server/catalog/content-image-generate.json" | jq -er '"\(.title): \(.price), \(.status)"'
made=$(
    curl -fsS "$server/v1/content/images/generate" \
        -H "Authorization: Bearer $CALOTYPE_KEY" -H "Content-Type: application/json" \
        -d '{"prompt": "a lighthouse on a cliff at sunset", "aspectRatio": "4:3"}'
)
curl -fsS "$(echo "$made" | jq -er '.assets[0].url')" -o lighthouse.png
echo "lighthouse.png for $(echo "$made" | jq -er .retailPrice)"
