#!/bin/sh
# Install the gateways we compare with under the folder given: LiteLLM from PyPI, Portkey from npm.
set -eu
dir=${1:?usage: peers.sh DIR}
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$dir/portkey"
dir=$(cd "$dir" && pwd)

if [ ! -x "$dir/litellm/bin/litellm" ]; then
  python3 -m venv "$dir/litellm"
  "$dir/litellm/bin/pip" install -q --disable-pip-version-check 'litellm[proxy]'
fi

if [ ! -d "$dir/portkey/node_modules/@portkey-ai/gateway" ]; then
  PATH="$PATH:$here/.venv/bin" # npm of the nodejs wheel, where the system has none
  cd "$dir/portkey"
  [ -f package.json ] || npm init -y >/dev/null
  npm install --silent --no-fund --no-audit @portkey-ai/gateway
fi
