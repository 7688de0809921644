# A static binary on nothing else. For network mounts systemd is the better home: a probe that hangs in
# the kernel delays the stop of a container until the mount answers.
#
#   docker build -t imagestore-agent .
#   docker run -d --read-only --cap-drop ALL --security-opt no-new-privileges --network host \
#       -v imagestore-state:/var/lib/imagestore-agent -v /var/lib/imagestore:/var/lib/imagestore:rw,rslave \
#       -v /etc/imagestore-agent:/etc/imagestore-agent:ro imagestore-agent
#
# rslave lets mounts that are made later on the host appear inside. --network host because a store's
# hostname is to be an address of this node. The daemon runs as uid and gid 64064, whatever the host calls
# them: mounted image directories must be writable for that uid.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY src src
# The manifest names a test and a bench; cargo wants their files to be there.
RUN mkdir -p tests/it tests/deploy benches/agent && touch tests/it/main.rs tests/deploy/main.rs benches/agent/main.rs
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
    && RUSTFLAGS='-C target-feature=+crt-static' cargo build --profile dist --locked --target "$target" \
    && install -D "target/$target/dist/imagestore-agent" /image/usr/bin/imagestore-agent \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && printf 'hosts: files dns\n' > /image/etc/nsswitch.conf \
    && printf 'imagestore-agent:x:64064:64064::/:/nonexistent\n' > /image/etc/passwd \
    && printf 'imagestore-agent:x:64064:\n' > /image/etc/group \
    && install -d -o 64064 -g 64064 -m 750 /image/var/lib/imagestore-agent

FROM scratch
COPY --from=build /image /
USER 64064:64064
VOLUME /var/lib/imagestore-agent
# SIGTERM ends it in order, within 10 s.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s CMD ["/usr/bin/imagestore-agent", "healthcheck"]
ENTRYPOINT ["/usr/bin/imagestore-agent"]
CMD ["serve"]
