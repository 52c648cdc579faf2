# syntax=docker/dockerfile:1

# The toolchain's image brings gcc, make and perl, which OpenSSL and libpq are compiled with; nothing is installed here.
FROM rust:1.95-bookworm AS build
WORKDIR /build

# A layer of dependencies alone: it is built again when Cargo.lock changes, not when the code does.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/api \
 && echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs tests/api/main.rs \
 && cargo build --release --locked \
 && rm -r src tests

COPY . .
# Cargo goes by modification times, and those of a checkout may be older than the placeholders'.
RUN find src -name '*.rs' -exec touch {} + \
 && cargo build --release --locked --bin plangate

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin plangate \
 && install --directory --owner=plangate --group=plangate --mode=0700 /var/lib/plangate
COPY --from=build /build/target/release/plangate /usr/local/bin/plangate

# There is no PostgreSQL in this image: DATABASE_URL is needed. The data directory holds the key that is made in
# development. SSL_CERT_FILE lets the OpenSSL that is linked in find the system's authorities (sslrootcert=system).
ENV PLANGATE_ENV=production \
    PLANGATE_BIND=0.0.0.0:8080 \
    PLANGATE_DATA_DIR=/var/lib/plangate \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 10001:10001
VOLUME /var/lib/plangate
EXPOSE 8080
STOPSIGNAL SIGTERM

# Ready, not merely alive: whoever waits for "healthy" wants answers. bash opens the socket, so no client is installed.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --start-interval=1s --retries=3 \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/${PLANGATE_BIND##*:} && printf 'GET /readyz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]

ENTRYPOINT ["/usr/local/bin/plangate"]
CMD ["serve"]
