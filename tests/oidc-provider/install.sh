#!/bin/sh
# Installs the authorization server that tests/it/authorization_server.rs talks to, into .test-deps/ (not in git).
# Run it again to update. Needs Node 20 or newer, npm and the npm registry.
set -eu

cd "$(dirname "$0")/../.."
target=.test-deps/oidc-provider
mkdir -p "$target"
# A package of its own, so that npm does not look for one in the folders above.
[ -f "$target/package.json" ] || printf '{ "private": true, "type": "module" }\n' > "$target/package.json"
npm install --prefix "$target" --no-audit --no-fund --loglevel=error oidc-provider@9
