# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
# Without the embedded PostgreSQL: a container needs a DATABASE_URL.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --no-default-features \
    && cp target/release/tenant-orders /usr/local/bin/

# glibc and certificates, no shell, an unprivileged user
FROM gcr.io/distroless/cc-debian12:nonroot
# A static program, only for the health check.
COPY --from=busybox:1.37-musl /bin/busybox /usr/bin/wget
COPY --from=build /usr/local/bin/tenant-orders /usr/local/bin/tenant-orders
# HOST is not loopback, so a key for tokens (JWT_SECRET, JWT_PUBLIC_KEY_FILE) or ALLOW_UNAUTHENTICATED=true is required.
ENV HOST=0.0.0.0 \
    PORT=8080 \
    LOG_FORMAT=json
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/usr/bin/wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/livez"]
ENTRYPOINT ["/usr/local/bin/tenant-orders"]
CMD ["serve"]
