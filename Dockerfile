# The binary is static (SQLite is the pure Go port), so any small base will do; alpine brings wget for health checks.
# The cache mounts need BuildKit. Their content stays on the machine that builds.
FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=devel
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X vedette/internal/buildinfo.version=${VERSION}" -o /vedette ./cmd/vedette

FROM alpine:3.22
# A new named volume takes owner and mode of the directory that it is mounted on.
RUN adduser -D -u 10001 vedette && \
    mkdir -p /var/lib/vedette /run/vedette/cluster /run/vedette/enroll /run/vedette/api && \
    chown -R vedette:vedette /var/lib/vedette /run/vedette && chmod -R 0750 /var/lib/vedette /run/vedette
COPY --from=build /vedette /usr/local/bin/vedette
USER vedette
ENV VEDETTE_DATA_DIR=/var/lib/vedette
EXPOSE 1514 1515 55000
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s CMD wget -qO- http://127.0.0.1:9100/readyz
ENTRYPOINT ["vedette"]
CMD ["run"]
