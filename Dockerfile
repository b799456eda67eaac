# One static binary on nothing: no shell, no package, nothing to patch but the program itself.
ARG GO_IMAGE=golang:1.26-bookworm
# BuildKit knows its platform, and knows it best: the value after :- is for the legacy builder alone. Without any, neither builds.
ARG BUILDPLATFORM=${BUILDPLATFORM:-linux/amd64}

# The build stage runs on the builder's own platform and compiles for the target's.
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# Without VERSION the binary carries the commit, where .git and git are at hand.
ARG VERSION
ARG TARGETOS
ARG TARGETARCH
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \
    go build -trimpath -tags nethttpomithttp2 -ldflags "-s -w ${VERSION:+-X main.version=${VERSION}}" -o /out/ ./cmd/refresher ./cmd/healthcheck
# ECS gives a volume the owner of the directory that the image declares as VOLUME at the same path: see FROM scratch below.
RUN mkdir -p /out/run/ecr && chmod 0755 /out/run/ecr

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /out/run /run
COPY --from=build /out/refresher /out/healthcheck /
ARG VERSION
LABEL org.opencontainers.image.title="ecr-refresher" \
      org.opencontainers.image.description="Keeps the other containers of an Amazon ECS task logged in to ECR" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
# The owner of /run/ecr becomes that of the task's volume only if VOLUME names exactly the path at which it is mounted.
VOLUME /run/ecr
USER 65532:65532
# In a task the boundary is its private volume, and the consumers run under other users.
ENV REFRESHER_OUTPUT_MODE=0644
EXPOSE 9327
ENTRYPOINT ["/refresher"]
