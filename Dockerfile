# The binary is static (SQLite is the pure Go port), so any small base will do; alpine brings wget for health checks.
FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /vedette ./cmd/vedette

FROM alpine:3.22
RUN adduser -D -u 10001 vedette && mkdir -p /var/lib/vedette /run/vedette && chown vedette /var/lib/vedette /run/vedette
COPY --from=build /vedette /usr/local/bin/vedette
USER vedette
VOLUME /var/lib/vedette
ENV VEDETTE_DATA_DIR=/var/lib/vedette
EXPOSE 1514 1515 55000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD wget -qO- http://127.0.0.1:9100/readyz
ENTRYPOINT ["vedette"]
CMD ["run"]
