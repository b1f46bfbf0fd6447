#!/usr/bin/env bash
# HTTP libraries for tests/it/clients.rs, in .test-deps/clients, which git ignores. What is unavailable is left out, and the
# tests say so.
set -uo pipefail
cd "$(dirname "$0")/../.."
into=.test-deps/clients
mkdir -p "$into"

if command -v python3 > /dev/null && [[ ! -x $into/venv/bin/python ]]; then
    python3 -m venv "$into/venv" || echo "no Python environment; its clients are skipped" >&2
fi
if [[ -x $into/venv/bin/python ]] && ! "$into/venv/bin/python" -c 'import requests, httpx, h2, aiohttp, websockets, prometheus_client, httpie, tornado' 2> /dev/null; then
    "$into/venv/bin/python" -m pip install -q 'requests>=2.32' 'httpx[http2]>=0.28' 'aiohttp>=3.11' 'websockets>=15' 'prometheus-client>=0.21' \
        'httpie>=3.2' 'tornado>=6.5' ||
        echo "no Python libraries; they are skipped" >&2
fi
if command -v npm > /dev/null && [[ ! -d $into/node_modules/undici || ! -d $into/node_modules/@aws-sdk/client-s3 ]]; then
    (cd "$into" && npm install --silent --no-fund --no-audit undici@6 axios@1 \
        superagent@10 ws@8 got@11 node-fetch@2 @aws-sdk/client-s3@3) ||
        echo "no Node.js libraries; they are skipped" >&2
fi
exit 0
