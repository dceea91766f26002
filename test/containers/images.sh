#!/usr/bin/env bash
# The images that docker-compose.yml and the Dockerfile name. Those that are neither
# present nor served by a registry are built here as stand-ins: the bases from this
# machine's busybox and Go, Kafka and OpenSearch from Maven artifacts on Debian's Java.
# A stand-in has the paths, user, volumes and variables that this project relies on.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
servers=$here/../harness/servers
ALPINE=alpine:3.22 GOLANG=golang:1.26-alpine
KAFKA=apache/kafka:4.1.1 OPENSEARCH=opensearchproject/opensearch:2.19.4 JRE=vedette-test-jre:12
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

registry= # unknown; then "yes" or "no", so that an absent registry is waited for once
have() {
  docker image inspect "$1" >/dev/null 2>&1 && return 0
  [ "$registry" != no ] || return 1
  if timeout 120 docker pull -q "$1" >/dev/null 2>&1; then registry=yes; else registry=${registry:-no}; return 1; fi
}

tools() { # tools COMMAND:PACKAGE...
  local t need=()
  for t in "$@"; do command -v "${t%%:*}" >/dev/null || need+=("${t##*:}"); done
  [ ${#need[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || { echo "images.sh: no image registry answers; to build stand-ins install ${need[*]}" >&2; exit 1; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${need[@]}" >/dev/null
}

build() { # build IMAGE DIR; the plain builder needs no plugin
  DOCKER_BUILDKIT=0 docker build -q -t "$1" "$2" >/dev/null
}

alpine() {
  tools busybox:busybox-static
  local r=$work/alpine a
  mkdir -p "$r"/{bin,usr/bin,usr/sbin,usr/local/bin,etc/ssl/certs,tmp,root,home,proc,sys,dev,var/lib,run}
  chmod 1777 "$r/tmp"
  cp "$(command -v busybox)" "$r/bin/busybox"
  for a in $(busybox --list); do [ -e "$r/bin/$a" ] || ln -s busybox "$r/bin/$a"; done
  # Debian's busybox has no adduser: `adduser -D -u ID NAME` as alpine knows it.
  cat >"$r/usr/sbin/adduser" <<'A'
#!/bin/sh
set -e
while getopts DHSu: o; do case $o in u) id=$OPTARG ;; *) ;; esac; done
shift $((OPTIND - 1))
echo "$1:x:$id:$id:$1:/home/$1:/bin/sh" >>/etc/passwd
echo "$1:x:$id:" >>/etc/group
mkdir -p "/home/$1" && chown "$id:$id" "/home/$1"
A
  chmod 755 "$r/usr/sbin/adduser"
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$r/etc/passwd"
  echo root:x:0: >"$r/etc/group"
  cp /etc/ssl/certs/ca-certificates.crt "$r/etc/ssl/certs/"
  echo 'hosts: files dns' >"$r/etc/nsswitch.conf"
  tar -C "$r" --owner=0 --group=0 --numeric-owner -c . | docker import -c 'CMD ["/bin/sh"]' \
    -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$ALPINE" >/dev/null
}

golang() {
  local d=$work/golang root
  root=$(go env GOROOT)
  mkdir -p "$d"
  tar -C "$root" --exclude=./test --exclude=./api --exclude=./doc -cf "$d/go.tar" .
  cat >"$d/Dockerfile" <<D
FROM $ALPINE
ADD go.tar /usr/local/go/
ENV PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin GOPATH=/go GOTOOLCHAIN=local
WORKDIR /go
D
  build "$GOLANG" "$d"
}

jre() {
  docker image inspect "$JRE" >/dev/null 2>&1 && return 0
  tools mmdebstrap:mmdebstrap
  # dpkg syncs each file to disk otherwise, which takes most of the time.
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,openjdk-17-jre-headless,curl --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm - | docker import - "$JRE" >/dev/null
}

kafka() {
  tools mvn:maven
  jre
  local d=$work/kafka t
  mkdir -p "$d"/{bin,config,default}
  cp -r "$("$servers/kafka.sh" prepare)" "$d/libs"
  cat >"$d/config/log4j2.properties" <<'P'
status=error
appender.a.type=Console
appender.a.name=a
appender.a.layout.type=PatternLayout
appender.a.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=info
rootLogger.appenderRef.a.ref=a
P
  sed s/=info/=error/ "$d/config/log4j2.properties" >"$d/config/tools-log4j2.properties"
  : >"$d/default/log4j2.yaml"
  # The settings of a broker without variables.
  cat >"$d/default/server.properties" <<'P'
node.id=1
process.roles=broker,controller
controller.quorum.voters=1@localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=/tmp/kraft-combined-logs
P
  for t in kafka-topics:org.apache.kafka.tools.TopicCommand kafka-get-offsets:org.apache.kafka.tools.GetOffsetShell \
    kafka-console-consumer:org.apache.kafka.tools.consumer.ConsoleConsumer kafka-consumer-groups:org.apache.kafka.tools.consumer.group.ConsumerGroupCommand; do
    printf '#!/bin/sh\nexec java -Xmx256M -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile=/opt/kafka/config/tools-log4j2.properties -cp "/opt/kafka/libs/*" %s "$@"\n' \
      "${t#*:}" >"$d/bin/${t%%:*}.sh"
  done
  # The image of Kafka turns variables into settings by this very class.
  cat >"$d/run" <<'R'
#!/bin/sh
set -ef
export CLUSTER_ID=${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}
setup() {
  java -Xmx256M -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp '/opt/kafka/libs/*' kafka.docker.KafkaDockerWrapper setup \
    --default-configs-dir /etc/kafka/docker --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1
}
# Every start but the first meets a formatted volume.
out=$(setup) || case $out in *'already formatted'*) ;; *) echo "$out" >&2; exit 1 ;; esac
exec java ${KAFKA_HEAP_OPTS:--Xms256M -Xmx1G} -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -Djava.awt.headless=true \
  -Dlog4j2.configurationFile=/opt/kafka/config/log4j2.properties -cp '/opt/kafka/libs/*' kafka.Kafka /opt/kafka/config/server.properties
R
  chmod 755 "$d"/bin/*.sh "$d/run"
  cat >"$d/Dockerfile" <<D
FROM $JRE
RUN useradd -u 1000 -m appuser && mkdir -p /var/lib/kafka/data /etc/kafka/secrets /etc/kafka/docker /mnt/shared/config /opt/kafka
COPY libs /opt/kafka/libs
COPY bin /opt/kafka/bin
COPY config /opt/kafka/config
COPY default /etc/kafka/docker
COPY run /etc/kafka/docker/run
RUN chown -R appuser /opt/kafka/config /var/lib/kafka /etc/kafka /mnt/shared/config
USER appuser
EXPOSE 9092
VOLUME ["/etc/kafka/secrets", "/var/lib/kafka/data", "/mnt/shared/config"]
CMD ["/etc/kafka/docker/run"]
D
  build "$KAFKA" "$d"
}

opensearch() {
  tools mvn:maven unzip:unzip
  jre
  local d=$work/opensearch home
  home=$("$servers/opensearch.sh" prepare)
  mkdir -p "$d/home"/{config,plugins,bin,extensions}
  cp -r "$home/lib" "$home/modules" "$d/home/"
  printf 'cluster.name: docker-cluster\nnetwork.host: 0.0.0.0\nbootstrap.system_call_filter: false\n' >"$d/home/config/opensearch.yml"
  cat >"$d/home/config/log4j2.properties" <<'P'
status=error
appender.a.type=Console
appender.a.name=a
appender.a.layout.type=PatternLayout
appender.a.layout.pattern=[%d][%p][%c{1.}] %m%n
rootLogger.level=info
rootLogger.appenderRef.a.ref=a
P
  cat >"$d/home/bin/entry" <<'E'
#!/usr/bin/perl
# Variables in lower case with a dot become settings, as in the image of OpenSearch.
my @settings = map { "-E$_=$ENV{$_}" } grep { /^[a-z][a-z0-9_]*(\.[a-z0-9_]+)+$/ } sort keys %ENV;
exec 'java', '-Xshare:auto', '-Xms512m', '-Xmx512m', '-XX:+UseG1GC', '-Djava.awt.headless=true', '-Dfile.encoding=UTF-8',
  '-Dio.netty.noUnsafe=true', '-Dlog4j2.disable.jmx=true', '-Djava.security.manager=allow', '-Djava.locale.providers=SPI,COMPAT',
  '-Dopensearch.path.home=/usr/share/opensearch', '-Dopensearch.path.conf=/usr/share/opensearch/config', '-Dopensearch.distribution.type=docker',
  split(' ', $ENV{OPENSEARCH_JAVA_OPTS} // ''), '-cp', '/usr/share/opensearch/lib/*', 'org.opensearch.bootstrap.OpenSearch', @settings;
die "java: $!";
E
  chmod 755 "$d/home/bin/entry"
  cat >"$d/Dockerfile" <<D
FROM $JRE
RUN useradd -u 1000 -m opensearch
COPY --chown=opensearch home /usr/share/opensearch
RUN mkdir -p /usr/share/opensearch/data /usr/share/opensearch/logs && chown opensearch /usr/share/opensearch/data /usr/share/opensearch/logs
USER opensearch
WORKDIR /usr/share/opensearch
EXPOSE 9200
VOLUME /usr/share/opensearch/data
ENTRYPOINT ["/usr/share/opensearch/bin/entry"]
D
  build "$OPENSEARCH" "$d"
}

step() { # step IMAGE FUNCTION
  local t=$SECONDS
  have "$1" || "$2"
  echo "image $1: $((SECONDS - t)) s"
}
step "$ALPINE" alpine
step "$GOLANG" golang
step "$KAFKA" kafka
step "$OPENSEARCH" opensearch
