#!/bin/sh
# Installs the authorization server that tests/it/authorization_server.rs talks to, into .test-deps/ (not in git): exactly what
# package-lock.json says. Needs Node 20 or newer, npm and the npm registry.
#
# A newer version: `npm install --package-lock-only oidc-provider@VERSION` in this folder, then this again.
set -eu

cd "$(dirname "$0")"
target=../../.test-deps/oidc-provider
mkdir -p "$target"
cp package.json package-lock.json "$target"
npm ci --prefix "$target" --no-audit --no-fund --loglevel=error
