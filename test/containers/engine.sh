#!/usr/bin/env bash
# Makes sure that a Docker engine and Compose answer: on Debian as root it installs
# and starts them, elsewhere it says what is missing. A second call does nothing.
set -euo pipefail

fail() { echo "engine.sh: $*" >&2; exit 1; }

need=()
have() { command -v "$1" >/dev/null; }
compose() { docker compose version >/dev/null 2>&1 || have docker-compose; }
have docker && { docker info >/dev/null 2>&1 || have dockerd; } || need+=(docker.io iptables)
compose || need+=(docker-compose)
if [ ${#need[@]} -gt 0 ]; then
  have apt-get && [ "$(id -u)" = 0 ] || fail "install a Docker engine with Compose (v2, or 1.29) and start it"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi
if ! docker info >/dev/null 2>&1; then
  [ "$(id -u)" = 0 ] || fail "no Docker engine answers; start it, or run this as root"
  # Debian's package starts nothing without an init system. A session of its own
  # keeps the engine when the caller's shell ends.
  log=${DOCKERD_LOG:-/tmp/dockerd.log}
  setsid nohup dockerd >"$log" 2>&1 </dev/null &
  pid=$!
  for _ in $(seq 240); do
    docker info >/dev/null 2>&1 && break
    kill -0 "$pid" 2>/dev/null || { tail -n 20 "$log" >&2; fail "dockerd ended; its log is $log"; }
    sleep 0.5
  done
  docker info >/dev/null 2>&1 || { tail -n 20 "$log" >&2; fail "dockerd does not answer after two minutes; its log is $log"; }
fi
echo "engine $(docker version -f '{{.Server.Version}}'), compose $(docker compose version --short 2>/dev/null || docker-compose version --short)"
