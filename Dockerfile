# The image of the daemon: a static binary, and no distribution.
#
#   docker build --target agent -t imagestore-agent .
#   docker run -d --name imagestore-agent --network host --read-only --cap-drop ALL \
#       --security-opt no-new-privileges \
#       -v imagestore-state:/var/lib/imagestore-agent -v /etc/imagestore-agent:/etc/imagestore-agent:ro \
#       -v /var/lib/imagestore:/var/lib/imagestore:rw,rslave imagestore-agent
#
# docs/operations.md explains each option, and when systemd is the better choice.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY .cargo .cargo
COPY layout/functions.ld layout/functions.ld
COPY layout/name_service.c layout/name_service.c
# Builds only the dependencies, so that a change of the daemon's own code does not build them again.
# The manifest names tests, a bench and an example, and cargo requires their files.
RUN mkdir -p src tests/it tests/deploy benches/agent examples \
    && for file in src/main.rs tests/it/main.rs tests/deploy/main.rs benches/agent/main.rs examples/receiver.rs; do \
        echo 'fn main() {}' > $file; done \
    && touch src/lib.rs
RUN cargo build --config .cargo/static.toml --profile dist --locked --target "$(rustc -vV | sed -n 's/^host: //p')"
COPY src src
COPY docs/openapi.json docs/openapi.json
# The files must be newer than the build of their stand-ins.
RUN touch src/lib.rs src/main.rs \
    && target="$(rustc -vV | sed -n 's/^host: //p')" \
    && cargo build --config .cargo/static.toml --profile dist --locked --target "$target" \
    && install -D "target/$target/dist/imagestore-agent" /image/usr/bin/imagestore-agent \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && printf 'imagestore-agent:x:64064:64064::/:/nonexistent\n' > /image/etc/passwd \
    && printf 'imagestore-agent:x:64064:\n' > /image/etc/group \
    && install -d -o 64064 -g 64064 -m 750 /image/var/lib/imagestore-agent

FROM scratch AS agent
LABEL org.opencontainers.image.title="imagestore-agent" \
      org.opencontainers.image.description="Agent of ImageStore backup storages" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image /
USER 64064:64064
VOLUME /var/lib/imagestore-agent
# At SIGTERM, the daemon stops in order, within 10 s.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s CMD ["/usr/bin/imagestore-agent", "healthcheck"]
ENTRYPOINT ["/usr/bin/imagestore-agent"]
CMD ["serve"]

# Builds the example receiver for compose.yaml.
FROM build AS receiver-build
COPY examples examples
RUN touch examples/receiver.rs \
    && target="$(rustc -vV | sed -n 's/^host: //p')" \
    && cargo build --config .cargo/static.toml --profile dist --locked --target "$target" --example receiver \
    && install -D "target/$target/dist/examples/receiver" /receiver/usr/bin/receiver \
    && install -d -o 64064 -g 64064 -m 750 /receiver/var/lib/receiver

FROM scratch AS receiver
COPY --from=receiver-build /receiver /
USER 64064:64064
VOLUME /var/lib/receiver
ENTRYPOINT ["/usr/bin/receiver"]

# The default target. A builder without BuildKit builds all stages above it.
FROM agent
