# Shared by the scripts: what this project needs from the system, and how to get it. Sourced, not run.

apt_refreshed=no

# install PACKAGE... : through apt as root, otherwise say what to install and stop.
install() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        if [ "$apt_refreshed" = no ]; then
            timeout 300 apt-get update -qq >/dev/null || echo "warning: the package lists could not be refreshed" >&2
            apt_refreshed=yes
        fi
        echo "Installing $*…" >&2
        DEBIAN_FRONTEND=noninteractive timeout 900 apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    else
        echo "Missing: please install the package(s) $* (on Debian: sudo apt-get install $*) and start again." >&2
        exit 1
    fi
}

# need_tool COMMAND PACKAGE WHY
need_tool() {
    if command -v "$1" >/dev/null; then return 0; fi
    echo "$1 is missing: $3." >&2
    install "$2"
}

# Outbound network of workloads: either helper will do.
need_network_helper() {
    if command -v slirp4netns >/dev/null || command -v pasta >/dev/null; then return 0; fi
    echo "slirp4netns is missing: it gives workloads outbound network." >&2
    install slirp4netns
}

need_rust() {
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH="$HOME/.cargo/bin:$PATH"
    fi
    if ! command -v cargo >/dev/null; then
        echo "No Rust toolchain was found. Install version 1.92 or newer (https://rustup.rs) and start again." >&2
        exit 1
    fi
    # An older cargo names the version it lacks by itself (rust-version in Cargo.toml).
}
