# Needs BuildKit, which is the default since Docker 23: DOCKER_BUILDKIT=1 docker build .
FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
# Without the embedded PostgreSQL: a container needs a DATABASE_URL. With the export of traces.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --no-default-features --features otel \
    && cp target/release/tenant-orders /usr/local/bin/

# glibc and certificates, no shell, an unprivileged user
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /usr/local/bin/tenant-orders /usr/local/bin/tenant-orders
# HOST is not loopback, so a key for tokens (JWT_SECRET, JWT_PUBLIC_KEY_FILE) or ALLOW_UNAUTHENTICATED=true is required.
ENV HOST=0.0.0.0 \
    PORT=8080 \
    LOG_FORMAT=json
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/tenant-orders", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/tenant-orders"]
CMD ["serve"]
