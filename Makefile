# The commands that developers and CI share. `make demo` and `make test` are the first to try.

CARGO ?= cargo
# Packages of the programs that the tests start, such as sshd, mkfs and systemd-analyze.
TEST_PACKAGES = openssh-server dropbear-bin rpm cpio systemd e2fsprogs xfsprogs btrfs-progs strace procps iproute2 passwd openssl faketime python3-venv docker-compose
# Packages of the programs that boot machines and run containers.
DEPLOY_PACKAGES = debootstrap systemd-container e2fsprogs rpm cpio docker.io docker-compose iptables iproute2 openssh-server curl createrepo-c dpkg-dev
# The documentation contains no tests. Its examples are text.
RUN_TESTS := $(CARGO) $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo 'nextest run' || echo test) \
	--locked --no-fail-fast --features crash-points

# The processor of the packages: x86_64 or aarch64.
HOST_ARCH := $(shell uname -m)
ARCH ?= $(HOST_ARCH)
TARGET = $(ARCH)-unknown-linux-gnu
DEB_ARCH_x86_64 = amd64
DEB_ARCH_aarch64 = arm64
DEB_ARCH = $(or $(DEB_ARCH_$(ARCH)),$(error ARCH=$(ARCH) is not supported: x86_64 or aarch64))
MACHINE_x86_64 = X86-64
MACHINE_aarch64 = AArch64
# The options of cargo that build the static program of packages and images.
STATIC = --config .cargo/static.toml --target $(TARGET)
ifneq ($(ARCH),$(HOST_ARCH))
export CARGO_TARGET_$(subst -,_,$(shell echo $(TARGET) | tr a-z A-Z))_LINKER = $(ARCH)-linux-gnu-gcc
endif

DESTDIR ?=
# The command that builds the program for an installation or a package.
BUILD ?= $(CARGO) build

.PHONY: function-order static-program install install-files cross-tools check-program package-files deb rpm release demo test check fmt clippy doc deny deny-advisories build packages bench hung kills hostile schemathesis fuzz deploy-packages test-deploy nightly help

help:
	@echo 'make demo     run a daemon with all its peers on loopback; installs nothing'
	@echo 'make test     run every test; as root it installs the Debian packages that they need'
	@echo 'make check    check formatting, lints, documentation and licences'
	@echo 'make deb      build a package for Debian in target/deb; make rpm for RHEL in target/rpm'
	@echo 'make release  build both packages and the program, with checksums, in'
	@echo '              target/release-VERSION-ARCH; with ARCH=aarch64 for that processor (also deb and rpm)'
	@echo 'make install  install program, units, user and settings into the system, as root'
	@echo 'make bench    measure times against a peer or the physical limit'
	@echo 'make nightly  run all checks, tests and benchmarks, and those that take long'

# Installs a program that uses the libraries of this system. DESTDIR stages the files for a package, which
# creates user and directories on the target.
install: install-files
	$(BUILD) --profile dist --locked
	install -D -m 755 target/dist/imagestore-agent $(DESTDIR)/usr/bin/imagestore-agent
	[ -n "$(DESTDIR)" ] || { systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload; }

# Installs all files except the program.
UNITS = $(DESTDIR)/usr/lib/systemd/system
install-files:
	install -D -m 644 -t $(UNITS) systemd/imagestore-agent.service systemd/imagestore-agent.socket
	install -D -m 644 systemd/sysusers.d/imagestore-agent.conf \
		$(DESTDIR)/usr/lib/sysusers.d/imagestore-agent.conf
	install -D -m 644 systemd/tmpfiles.d/imagestore-agent.conf \
		$(DESTDIR)/usr/lib/tmpfiles.d/imagestore-agent.conf
	[ -e $(DESTDIR)/etc/imagestore-agent/agent.toml ] || install -D -m 644 config/agent.toml \
		$(DESTDIR)/etc/imagestore-agent/agent.toml

# Names what a build for another processor needs and this machine lacks.
IS_CROSS_BUILD = $(and $(filter file,$(origin PROGRAM)),$(filter-out $(HOST_ARCH),$(ARCH)))
cross-tools:
	@test -n '$(DEB_ARCH)'
	@test -z '$(IS_CROSS_BUILD)' || test -d "$$(rustc --print target-libdir --target $(TARGET))" || { \
		echo 'ARCH=$(ARCH): the compiler has no library for $(TARGET) (rustup target add $(TARGET))'; exit 1; }
	@test -z '$(IS_CROSS_BUILD)' || command -v $(ARCH)-linux-gnu-gcc >/dev/null || { \
		echo 'ARCH=$(ARCH): there is no $(ARCH)-linux-gnu-gcc (apt-get install gcc-$(subst _,-,$(ARCH))-linux-gnu libc6-dev-$(DEB_ARCH)-cross)'; exit 1; }

# Fails if PROGRAM is for another processor, or needs a library of the system or a dynamic linker.
check-program:
	@command -v readelf >/dev/null || { echo 'readelf is not installed (binutils)'; exit 1; }
	@readelf -hW $(PROGRAM) | grep -q 'Machine: .*$(MACHINE_$(ARCH))' || { \
		echo '$(PROGRAM) is not a program for $(ARCH)'; exit 1; }
	@! readelf -lW $(PROGRAM) | grep -qE '^ *(INTERP|DYNAMIC) ' || { \
		echo '$(PROGRAM) is not static: it has a dynamic section (see .cargo/static.toml; RUSTFLAGS replaces its flags)'; exit 1; }

# Stages the contents of the packages: PROGRAM, its files, manual pages and completions. HOST_PROGRAM, which writes
# the latter, runs on this machine.
PROGRAM ?= target/$(TARGET)/dist/imagestore-agent
HOST_PROGRAM ?= $(if $(filter $(HOST_ARCH),$(ARCH)),$(PROGRAM),target/debug/imagestore-agent)
VERSION ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# The folder of the packages.
OUT ?= target
STAGED = $(OUT)/package/imagestore-agent
package-files: cross-tools
	$(if $(filter file,$(origin PROGRAM)),$(BUILD) --profile dist --locked $(STATIC))
	$(if $(filter file,$(origin PROGRAM)),@$(MAKE) -s check-program)
	$(if $(filter target/debug/%,$(HOST_PROGRAM)),$(if $(filter file,$(origin HOST_PROGRAM)),$(CARGO) build --locked))
	rm -rf $(STAGED)
	$(MAKE) -s install-files DESTDIR=$(STAGED)
	install -D -m 755 $(PROGRAM) $(STAGED)/usr/bin/imagestore-agent
	for shell in bash:bash-completion/completions/imagestore-agent \
			zsh:zsh/vendor-completions/_imagestore-agent \
			fish:fish/vendor_completions.d/imagestore-agent.fish; do \
		$(HOST_PROGRAM) completions $${shell%%:*} \
			| install -D -m 644 /dev/stdin $(STAGED)/usr/share/$${shell#*:} || exit 1; \
	done
	$(HOST_PROGRAM) man | gzip -9n \
		| install -D -m 644 /dev/stdin $(STAGED)/usr/share/man/man1/imagestore-agent.1.gz
	for command in $$($(HOST_PROGRAM) --help | sed -n '/^Commands:/,/^$$/s/^  \([a-z-]*\) .*/\1/p'); do \
		[ $$command = help ] || $(HOST_PROGRAM) man $$command | gzip -9n | install -D -m 644 /dev/stdin \
			$(STAGED)/usr/share/man/man1/imagestore-agent-$$command.1.gz || exit 1; \
	done
	install -D -m 644 -t $(STAGED)/usr/share/doc/imagestore-agent README.md CHANGELOG.md LICENSE docs/*.md docs/openapi.json
	install -D -m 644 -t $(STAGED)/usr/share/doc/imagestore-agent/zh docs/zh/*.md

# The level of xz in both packages. The tests build many of them, and take 0.
XZ_LEVEL ?= 6
# Both packages create the user and the directories with the same script.
SETUP = /@SETUP@/{r deploy/setup.sh' -e 'd}

# Builds a package for Debian and Ubuntu in $(OUT)/deb.
DEB = $(OUT)/package/deb
deb: package-files
	rm -rf $(DEB)
	cp -a $(STAGED) $(DEB)
	install -D -m 755 -t $(DEB)/DEBIAN deploy/deb/postinst deploy/deb/prerm deploy/deb/postrm
	sed -i -e '$(SETUP)' $(DEB)/DEBIAN/postinst
	echo /etc/imagestore-agent/agent.toml > $(DEB)/DEBIAN/conffiles
	sed 's/@VERSION@/$(VERSION)/; s/@ARCH@/$(DEB_ARCH)/' deploy/deb/control > $(DEB)/DEBIAN/control
	mkdir -p $(OUT)/deb
	dpkg-deb -Zxz -z$(XZ_LEVEL) --root-owner-group --build $(DEB) $(OUT)/deb/

# Builds a package for RHEL 7 and later, and compatible systems, in $(OUT)/rpm. It needs rpmbuild, which is
# in the package rpm of Debian.
rpm: package-files
	sed -e '$(SETUP)' deploy/rpm/imagestore-agent.spec > $(OUT)/package/imagestore-agent.spec
	rpmbuild -bb --quiet --target $(ARCH) \
		--define '_topdir $(abspath $(OUT))/rpm' --define '_rpmdir $(abspath $(OUT))/rpm' \
		--define 'agent_version $(VERSION)' --define 'xz_level $(XZ_LEVEL)' --define 'staged $(abspath $(STAGED))' \
		$(OUT)/package/imagestore-agent.spec

# Builds the files of a release: both packages and the program, with their checksums. The program contains
# the list of its crates (cargo-auditable), so that `cargo audit bin` can report advisories for them later.
# That of another processor, with ARCH, has a folder of its own.
RELEASED = $(OUT)/release-$(VERSION)-$(ARCH)
RELEASED_DEB = $(OUT)/deb/*_$(DEB_ARCH).deb
RELEASED_RPM = $(OUT)/rpm/$(ARCH)
release: BUILD = $(CARGO) auditable build
release: cross-tools
	@$(CARGO) auditable --version >/dev/null 2>&1 || \
		{ echo 'release: cargo-auditable is not installed (cargo install cargo-auditable)'; exit 1; }
	@command -v readelf >/dev/null || { echo 'release: readelf is not installed (binutils)'; exit 1; }
	rm -rf $(RELEASED) $(RELEASED_DEB) $(RELEASED_RPM)
	$(MAKE) deb rpm BUILD='$(BUILD)'
	@$(MAKE) -s check-program
	readelf -SW $(PROGRAM) | grep -q '\.dep-v0' || { echo 'release: the program contains no list of its crates'; exit 1; }
	mkdir -p $(RELEASED)
	cp $(RELEASED_DEB) $(RELEASED_RPM)/*.rpm $(RELEASED)/
	cp $(PROGRAM) $(RELEASED)/imagestore-agent-$(VERSION)-$(ARCH)
	cd $(RELEASED) && sha256sum * > SHA256SUMS && cat SHA256SUMS

# Writes the order of the functions anew (docs/decisions/0007-function-order.md). As root, it also needs the
# packages valgrind, gcc, binutils and openssh-server. Valgrind names only functions of the section .text, so
# the recorded program is linked without the order.
function-order:
	FUNCTION_ORDER=none $(CARGO) rustc --profile dist --locked --bin imagestore-agent -- -C strip=none
	python3 layout/record.py target/dist/imagestore-agent

# Built without link-time optimization, which would take a quarter of the first build.
demo:
	$(CARGO) run --profile demo --locked -- demo

# Makes requests from docs/openapi.json. Without Python or its registry, the test is skipped, and fails in CI.
# The versions are fixed, because each version makes other requests.
SCHEMATHESIS = target/schemathesis/bin/schemathesis
$(SCHEMATHESIS): tests/schemathesis/requirements.txt | packages
	@python3 -m venv target/schemathesis \
		&& target/schemathesis/bin/pip install -q -r $< && touch $@ \
		|| echo 'no schemathesis: its test is skipped (apt-get install python3-venv)'

# The programs of Prometheus, for the tests of the alerts and the benchmark of a scrape. The packages are unpacked
# and not installed, because an installation starts services. Without them, these tests are skipped, and fail in CI.
PROMETHEUS = target/prometheus/unpacked
PROMETHEUS_PACKAGES = prometheus prometheus-alertmanager prometheus-node-exporter
DOWNLOAD = apt-get download -qq -o APT::Sandbox::User=root $(PROMETHEUS_PACKAGES)
$(PROMETHEUS): | packages
	@rm -rf $(@D) && mkdir -p $(@D) && cd $(@D) \
		&& { $(DOWNLOAD) 2>/dev/null || { apt-get update -qq && $(DOWNLOAD); }; } \
		&& for package in *.deb; do dpkg-deb -x $$package . && rm $$package || exit 1; done && touch $(@F) \
		|| echo 'no prometheus: the tests of the alerts are skipped'

# The role of deploy/ansible is tested with the last ansible-core for nodes with an old Python, and with a newer one.
# Without Python or its registry, these tests are skipped, and fail in CI.
ANSIBLE = target/ansible-2.16/bin/ansible-playbook target/ansible-2.19/bin/ansible-playbook
$(ANSIBLE): target/ansible-%/bin/ansible-playbook: tests/ansible/requirements-%.txt | packages
	@python3 -m venv target/ansible-$* && target/ansible-$*/bin/pip install -q -r $< && touch $@ \
		|| echo 'no ansible-core $*: its tests are skipped (apt-get install python3-venv)'

# A test that cannot run here adds a line to a file, which is printed at the end.
test: packages $(SCHEMATHESIS) $(PROMETHEUS) $(ANSIBLE)
	@skipped=$$(mktemp) && SKIPPED_TESTS=$$skipped $(RUN_TESTS); status=$$?; \
	if [ -s "$$skipped" ]; then echo "skipped: $$(wc -l < $$skipped) tests"; sort "$$skipped"; fi; \
	rm -f "$$skipped"; exit $$status

check: fmt clippy doc deny

fmt:
	$(CARGO) fmt --check

clippy:
	$(CARGO) clippy --locked --all-targets --all-features -- -D warnings

doc:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items --quiet

# Checks the rules of deny.toml. Advisories need a download and belong to the nightly run.
deny: DENY = --locked check bans licenses sources
deny-advisories: DENY = check advisories
deny deny-advisories:
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny $(DENY); \
	else echo '$@: cargo-deny is not installed: skipped (cargo install cargo-deny)'; fi

deploy-packages: TEST_PACKAGES = $(DEPLOY_PACKAGES)
packages deploy-packages:
	@missing=$$(for p in $(TEST_PACKAGES); do \
		dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	else echo "tests that need these packages are skipped, because only root can install them: $$missing"; fi

# The benchmark of the login also measures libraries of Python, if they can be installed.
PEERS = target/peers/bin/python
$(PEERS):
	@python3 -m venv target/peers && target/peers/bin/pip install -q paramiko asyncssh ssh2-python \
		|| echo 'bench: no Python with paramiko, asyncssh and ssh2-python (apt-get install python3-venv)'

bench: $(PEERS) $(PROMETHEUS)
	BENCH_PYTHON=$(PEERS) BENCH_NODE_EXPORTER=$(CURDIR)/$(PROMETHEUS)/usr/bin/prometheus-node-exporter \
		$(CARGO) bench --locked --bench agent

# Tests a disk that hangs for a thousand periods. This takes at least a quarter of an hour.
hung:
	HUNG_PERIODS=1000 $(CARGO) nextest run --locked --profile nightly a_hung_disk_costs_no_more

# Kills the daemon a thousand times, at random moments, while its receiver stops and restarts.
kills:
	RANDOM_JOBS=1000 RANDOM_KILLS=1000 RANDOM_CALLS=30000 $(CARGO) nextest run --locked --profile nightly --no-capture whichever_process_dies whenever_the_daemon_dies

# Measures good calls beside 8000 connections that are silent or stop in the middle of a head or a
# handshake. The attacking processes need about 4000 descriptors each.
hostile:
	HOSTILE_SOCKETS=8000 $(CARGO) nextest run --locked --profile nightly --no-capture -j 1 hostile_sockets

# Makes SCHEMATHESIS_REQUESTS random requests to each operation of docs/openapi.json.
schemathesis: $(SCHEMATHESIS)
	SCHEMATHESIS_REQUESTS=$${SCHEMATHESIS_REQUESTS:-200} $(CARGO) nextest run --locked --profile nightly \
		no_request_gets_an_undocumented

# Fuzzes each parser of bytes that come from outside, for FUZZ_SECONDS. New inputs go to fuzz/corpus.
# RUSTC_BOOTSTRAP lets a stable compiler accept the flags of the address sanitizer.
FUZZ_SECONDS ?= 60
fuzz:
	@if $(CARGO) fuzz --version >/dev/null 2>&1; then \
		for target in fuzz/fuzz_targets/*.rs; do \
			target=$$(basename $$target .rs); mkdir -p fuzz/corpus/$$target; \
			RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
				-max_total_time=$(FUZZ_SECONDS) -max_len=16384 || exit 1; \
		done; \
	else echo 'fuzz: no cargo-fuzz: skipped (cargo install cargo-fuzz)'; fi

# Tests the daemon on booted machines and in containers. Their base systems stay in target/deploy. The name
# of a stamp file contains the names of the packages, so that a changed list builds its base again.
comma = ,
mark = $(1).of.$(subst $(comma),.,$(2))
# The base, its packages, its release, and where debootstrap finds it.
define make_base
	rm -rf $(1) $(1).of.*
	mkdir -p $(1)
	debootstrap --variant=minbase --include=$(2) $(4) $(3) $(1) $(5) > $(1).log
	! mountpoint -q $(1)/proc || umount $(1)/proc
	touch $@
endef
BASE = target/deploy/base
BASE_PACKAGES = systemd,systemd-sysv,dbus,openssh-server,procps,sqlite3,python3
BASE_MARK = $(call mark,$(BASE),$(BASE_PACKAGES))
$(BASE_MARK): | deploy-packages
	$(call make_base,$(BASE),$(BASE_PACKAGES),bookworm)
# Debian 12 with the package manager of RHEL 8 and 9.
DNF_BASE = target/deploy/dnf-base
DNF_BASE_PACKAGES = systemd,systemd-sysv,dbus,openssh-server,procps,dnf,rpm,cpio
DNF_BASE_MARK = $(call mark,$(DNF_BASE),$(DNF_BASE_PACKAGES))
$(DNF_BASE_MARK): | deploy-packages
	$(call make_base,$(DNF_BASE),$(DNF_BASE_PACKAGES),bookworm)
# The keys of Ubuntu, for which Debian has no package.
UBUNTU = http://archive.ubuntu.com/ubuntu
UBUNTU_KEYS = 315a58b14eec1e9252b2a2e294f2a4be1ccd043adb58bf5b7f56a538843ed504
UBUNTU_KEYRING = target/deploy/ubuntu-keys/usr/share/keyrings/ubuntu-archive-keyring.gpg
$(UBUNTU_KEYRING): | deploy-packages
	mkdir -p target/deploy
	curl -sf -o target/deploy/ubuntu-keys.deb $(UBUNTU)/pool/main/u/ubuntu-keyring/ubuntu-keyring_2012.05.19_all.deb
	echo '$(UBUNTU_KEYS)  target/deploy/ubuntu-keys.deb' | sha256sum -c --quiet
	dpkg-deb -x target/deploy/ubuntu-keys.deb target/deploy/ubuntu-keys
IN_UBUNTU = --keyring=$(UBUNTU_KEYRING) --components=main,universe
# The base of an old system, Ubuntu 16.04: glibc 2.23, systemd 229, Python 2.7, and the yum of CentOS 7.
OLD_BASE = target/deploy/old-base
OLD_BASE_PACKAGES = systemd,systemd-sysv,dbus,openssh-server,procps,python,yum,rpm,cpio
OLD_BASE_MARK = $(call mark,$(OLD_BASE),$(OLD_BASE_PACKAGES))
$(OLD_BASE_MARK): | deploy-packages $(UBUNTU_KEYRING)
	$(call make_base,$(OLD_BASE),$(OLD_BASE_PACKAGES),xenial,$(IN_UBUNTU),$(UBUNTU))
# Ubuntu 18.04: glibc 2.27, systemd 237, Python 3.6.
BIONIC_BASE = target/deploy/bionic-base
BIONIC_BASE_PACKAGES = systemd,systemd-sysv,dbus,openssh-server,procps,python3
BIONIC_BASE_MARK = $(call mark,$(BIONIC_BASE),$(BIONIC_BASE_PACKAGES))
$(BIONIC_BASE_MARK): | deploy-packages $(UBUNTU_KEYRING)
	$(call make_base,$(BIONIC_BASE),$(BIONIC_BASE_PACKAGES),bionic,$(IN_UBUNTU),$(UBUNTU))
BASE_MARKS = $(BASE_MARK) $(DNF_BASE_MARK) $(OLD_BASE_MARK) $(BIONIC_BASE_MARK)
# The static program of the packages, without the optimisation that takes minutes.
static-program:
	$(CARGO) build --locked $(STATIC)
test-deploy: deploy-packages $(BASE_MARKS) $(ANSIBLE) static-program
	$(CARGO) nextest run --locked --profile nightly --features test-deploy --test deploy -j 2

nightly: check test test-deploy deny-advisories hung kills hostile schemathesis fuzz bench
