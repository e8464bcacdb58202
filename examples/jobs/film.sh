#!/bin/sh
# A film of a picture of yours: sh film.sh photo.jpg. Needs curl and jq.
set -eu
photo=${1:?usage: film.sh PHOTO}
api=${CALOTYPE_URL:-http://127.0.0.1:8700}/api/v1
key="Authorization: Bearer $CALOTYPE_KEY"

photo=$(curl -fsS "$api/media/upload" -H "$key" -F "file=@$photo" | jq -er .url)

wish=$(jq -n --arg url "$photo" '{image_url: $url, duration: 2, zoom: {mode: "center"}}')
job=$(curl -fsS "$api/image-to-video/create" -H "$key" -H "Content-Type: application/json" -d "$wish" | jq -er .job_id)

while
    state=$(curl -fsS "$api/image-to-video/status/$job" -H "$key")
    [ "$(echo "$state" | jq -er .status)" = processing ]
do sleep 1; done

curl -fsS "$(echo "$state" | jq -er .video_url)" -o film.mp4
echo "film.mp4; $(curl -fsS "$api/user/credits" -H "$key" | jq -er .credits_balance_formatted) are left"
