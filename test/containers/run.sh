#!/usr/bin/env bash
# docker-compose.yml end to end: fresh starts without a restart of any container, then
# kills, an outage, a restart, a rolling recreate, and down and up, all under load, and
# every event counted. Waits for conditions, never for times; each wait is bounded.
#   ROUNDS=10 test/containers/run.sh     fresh starts before the one under load; default 2
#   COMPOSE="docker compose" …           which Compose; default: v2 where it is installed
# Needs root, to kill processes of containers. PROJECT names what it makes and removes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
ROUNDS=${ROUNDS:-2} PROJECT=${PROJECT:-vedettetest} AGENTS=20 EPS=300
LOGS=${LOGS:-/tmp/$PROJECT-logs.txt}

t0=$SECONDS
say() { printf '%4ds %s\n' $((SECONDS - t0)) "$*"; }
fail() { say "FAULT: $*" >&2; exit 1; }

"$here/engine.sh"
"$here/images.sh"
if [ -z "${COMPOSE:-}" ]; then
  COMPOSE=docker-compose
  ! docker compose version >/dev/null 2>&1 || COMPOSE="docker compose"
fi
v2=; [ "$COMPOSE" = docker-compose ] || v2=1

# Two replicas of what scales, on ports of the loopback address.
base=${BASE_PORT:-25514}
export INGEST_REPLICAS=2 ANALYZE_REPLICAS=2 FORWARD_REPLICAS=2 CERTIFICATE_HOSTS=siem.example.org
export AGENT_LISTEN=127.0.0.1:$base-$((base + 1)) ENROLL_LISTEN=127.0.0.1:$((base + 2)) API_LISTEN=127.0.0.1:$((base + 3))
export OPENSEARCH_HEAP="-Xms512m -Xmx512m"
ROLES="enroll ingest analyze forward api"
override=$(mktemp --suffix=.yml)
# Agents have a network of their own, which outlives `down`. Clients try all of the
# addresses that one name has.
cat >"$override" <<Y
services:
  ingest: {networks: {default: {}, agents: {aliases: [manager]}}}
  enroll: {networks: {default: {}, agents: {aliases: [manager]}}}
networks:
  agents: {external: true, name: $PROJECT-agents}
Y
c() { $COMPOSE -p "$PROJECT" -f docker-compose.yml -f "$override" "$@"; }
quiet() { local out; out=$("$@" 2>&1) || { echo "$out" >&2; return 1; }; }
clean() {
  docker rm -f "$PROJECT-sim" >/dev/null 2>&1 || true
  c down -v --remove-orphans >/dev/null 2>&1 || true
  docker network rm "$PROJECT-agents" >/dev/null 2>&1 || true
}
finish() {
  local rc=$?
  if [ $rc != 0 ]; then
    { c ps -a || c ps; c logs --no-color; docker logs "$PROJECT-sim"; } >"$LOGS" 2>&1 || true
    say "the containers' logs are in $LOGS; their ends:" >&2
    grep -aE '"level":"(WARN|ERROR)"|FATAL|panic' "$LOGS" | tail -n 30 | cut -c1-400 >&2 || true
  fi
  clean
  rm -f "$override"
  exit $rc
}

# The image has the label of the project too, when Compose built it, but no number.
ids() { docker ps -aq --filter "label=com.docker.compose.project=$PROJECT" --filter label=com.docker.compose.container-number "$@"; }
container() { # container SERVICE-NUMBER
  ids --filter "label=com.docker.compose.service=${1%-*}" --filter "label=com.docker.compose.container-number=${1##*-}"
}
states() { # name, state and restarts of each container
  docker inspect -f '{{.Name}} {{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}:{{.State.ExitCode}}{{end}} {{.RestartCount}}' $(ids)
}
await() { # await SECONDS WHAT COMMAND...
  local most=$1 what=$2 end=$((SECONDS + $1)); shift 2
  until "$@"; do
    [ $SECONDS -lt $end ] || fail "after $most s still not: $what"$'\n'"$(states)"
    sleep 1
  done
}
healthy() { ! states | grep -vqE ' healthy | exited:0 '; }
up() {
  if [ -n "$v2" ]; then quiet c up -d --no-build --wait --wait-timeout 600 "$@" || fail "up --wait"; else quiet c up -d --no-build "$@" || fail "up"; fi
  await 600 "every container is healthy" healthy
}
restarts() { states | awk '$3 > 0'; }
volumes() { docker inspect -f '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}}{{"\n"}}{{end}}{{end}}' $(ids) | sort -u | grep . || true; }
down_all() { # down -v, after which no volume of the containers is left
  local had left
  had=$(volumes)
  quiet c down -v || fail "down -v"
  left=$(docker volume ls -q | grep -Fx "$had" || true)
  [ -z "$left" ] || fail "down left volumes behind: $left"
}

# --- the image
export VERSION; VERSION=$(git describe --tags --always --dirty 2>/dev/null || echo devel)
docker=docker # the newest client may lack its plugin for builds, Debian's has it built in
docker buildx version >/dev/null 2>&1 || [ ! -x /usr/bin/docker ] || docker=/usr/bin/docker
t=$SECONDS
if [ -n "$v2" ]; then quiet c build ingest; else quiet env DOCKER_BUILDKIT=1 $docker build --build-arg VERSION="$VERSION" -t vedette:local .; fi
say "image built in $((SECONDS - t)) s: $(docker run --rm vedette:local version)"

trap finish EXIT
trap 'exit 130' INT TERM
clean
docker network create "$PROJECT-agents" >/dev/null

# --- fresh starts
for round in $(seq "$ROUNDS"); do
  t=$SECONDS; up; took=$((SECONDS - t))
  [ -z "$(restarts)" ] || fail "containers restarted in a fresh start: $(restarts)"
  t=$SECONDS; down_all
  say "fresh start $round of $ROUNDS: healthy after $took s, no restart; down after $((SECONDS - t)) s, no volume left"
done

# --- under load
up
[ -z "$(restarts)" ] || fail "containers restarted in a fresh start: $(restarts)"
anonymous=$(volumes | grep -v "^${PROJECT}_" || true)
[ -z "$anonymous" ] || fail "anonymous volumes: $anonymous"
for port in $base $((base + 1)) $((base + 2)) $((base + 3)); do
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "nothing listens on 127.0.0.1:$port"
done
authority=$(mktemp)
c exec -T api cat /run/vedette/api/server.pem >"$authority"
curl -sf --noproxy '*' --cacert "$authority" --resolve "siem.example.org:$((base + 3)):127.0.0.1" -o /dev/null "https://siem.example.org:$((base + 3))/healthz" ||
  fail "the API's certificate does not name siem.example.org, or the API does not answer"
rm -f "$authority"
for s in analyze forward ingest; do
  ! c exec -T $s ls /run/vedette/enroll/password >/dev/null 2>&1 || fail "$s can read the enrollment password"
done

password=$(c exec -T enroll cat /run/vedette/enroll/password)
docker run -d --name "$PROJECT-sim" --network "$PROJECT-agents" --read-only --no-healthcheck vedette:local \
  simulate --manager manager --password "$password" --agents $AGENTS --eps $EPS --mark >/dev/null
sent() { docker logs "$PROJECT-sim" 2>&1 | sed -n 's/^\(total \)\{0,1\}sent=\([0-9]*\).*/\2/p' | tail -n 1; }
grown() { [ "$(sent)" -gt $(($1 + $2)) ] 2>/dev/null; }
more() { local n; n=$(sent); await 300 "agents hand over 1,000 lines more" grown "${n:-0}" 1000; } # the pipeline takes events
crash() { kill -9 "$(docker inspect -f '{{.State.Pid}}' "$(container "$1")")"; say "killed $1"; }

more; say "20 agents send $EPS lines a second"
crash analyze-2; crash forward-1
await 300 "the killed workers are healthy again" healthy; more; say "the killed workers are back"
quiet c stop opensearch; say "opensearch stopped"
crash kafka-1
await 300 "kafka is healthy again" sh -c "[ \"\$(docker inspect -f '{{.State.Health.Status}}' $(container kafka-1))\" = healthy ]"; more
quiet c start opensearch; await 600 "every container is healthy" healthy; more; say "kafka and opensearch are back"
lines=$(for n in 1 2; do docker logs "$(container ingest-$n)" 2>&1 | wc -l; done | sort -n | tail -n 1)
[ "$lines" -lt 300 ] || fail "a gateway wrote $lines log lines about one outage"
quiet c restart $ROLES; await 600 "every container is healthy" healthy; more; say "roles restarted"
before=$(docker inspect -f '{{.Name}}' $(ids) | sort)
for s in $ROLES; do
  if [ -n "$v2" ]; then quiet c up -d --no-build --no-deps --force-recreate --wait "$s"; else quiet c up -d --no-build --no-deps --force-recreate "$s"; fi
  await 600 "$s is healthy" healthy; more
done
[ "$(docker inspect -f '{{.Name}}' $(ids) | sort)" = "$before" ] || fail "a recreate changed the containers' names"
for n in 1 2; do
  name=$(docker inspect -f '{{.Name}}' "$(container ingest-$n)")
  docker logs "$(container ingest-$n)" 2>&1 | grep -q "\"node\":\"${name#/}\"" || fail "the node of ${name#/} is not called so"
done
say "roles recreated one after the other; nodes keep their names"
t=$SECONDS; quiet c down; say "down in $((SECONDS - t)) s, agents keep trying"
up; more; say "up again"
memory=$(docker stats --no-stream --format '{{.Name}} {{.MemUsage}}' $(ids --filter status=running) | awk '{printf "%s%s %s", (NR > 1 ? ", " : ""), $1, $2}')
docker stop -t 120 "$PROJECT-sim" >/dev/null
total=$(docker logs "$PROJECT-sim" 2>&1 | sed -n 's/^total sent=\([0-9]*\).*/\1/p')
[ -n "$total" ] || fail "the agents did not end in order: $(docker logs "$PROJECT-sim" 2>&1 | tail -n 3)"
say "agents done: $total lines handed over"

# --- counts
ends() { c exec -T kafka /opt/kafka/bin/kafka-get-offsets.sh --bootstrap-server kafka:9092 --topic "vedette.$1" 2>/dev/null | awk -F: '{s += $3} END {print s + 0}'; }
indexed() { c exec -T opensearch sh -c "curl -s -XPOST 'localhost:9200/wazuh-alerts-4.x-*/_refresh' >/dev/null; curl -s 'localhost:9200/wazuh-alerts-4.x-*/_count'" | sed -n 's/.*"count":\([0-9]*\).*/\1/p'; }
judged() { c exec -T api vedette replay --source events --ruleset builtin --against recorded --format json 2>/dev/null | awk -F'[:,]' '/"was"/ {print $2 + 0; exit}'; }
settled() {
  events=$(ends events) alerts=$(judged || true) index=$(indexed || true)
  [ "$events" -ge "$total" ] && [ -n "$alerts" ] && [ "$alerts" = "$index" ]
}
events=0 alerts= index=
await 600 "all lines are judged and each alert is in the index" settled
marks=$(c exec -T kafka /opt/kafka/bin/kafka-console-consumer.sh --bootstrap-server kafka:9092 --topic vedette.events --from-beginning --max-messages "$events" --timeout-ms 60000 2>/dev/null |
  grep -a -o 'seq=[0-9A-Za-z-]*' | sort | uniq -c | awk '{all += $1; one++} END {print all + 0, one + 0}')
say "lines handed over $total, in the topic and different: $marks; alerts recorded $alerts, in the index $index"
say "memory in use: $memory"
[ "$marks" = "$total $total" ] || fail "not each line is in the topic once"
[ "$alerts" = "$index" ] && [ "$alerts" -gt 0 ] || fail "not each alert is in the index once"
[ -z "$(restarts)" ] || fail "containers restarted after the last up: $(restarts)"
down_all
say "passed"
