# Debian's packages by apt-get, with sources and lists of our own: the system's stay as they are. Nothing is installed; all
# is unpacked below $cache. Sourced by scripts/arm64 and scripts/kernels, which set it.

# Where this system gets its own packages from, for another suite.
mirrors() { # mirrors SUITE
  apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | sort -u | while read -r uri; do
    case $uri in
    *security*) printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s-security main\n' "$uri" "$1" ;;
    *) printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$uri" "$1" ;;
    esac
  done
}

# The archive by its ordinary client (apt-get, apt-cache); ARCH as Debian calls it: amd64, arm64.
archive() { # archive ARCH SUITE CLIENT ARGUMENTS…
  local arch=$1 suite=$2 client=$3 state=$cache/apt/$1-$2
  shift 3
  mkdir -p "$state/lists/partial" "$state/archives/partial"
  mirrors "$suite" >"$state/sources.list"
  "$client" -qq -o APT::Architecture="$arch" -o APT::Architectures="$arch" -o APT::Sandbox::User=root \
    -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$state/lists" \
    -o Dir::Cache="$state" -o Dir::State::status=/dev/null "$@"
}

# Unpacks what apt-get has put into a folder of packages, and empties that.
unpack() { # unpack PACKAGES FOLDER
  local package
  mkdir -p "$2" || return 1
  for package in "$1"/*.deb; do
    dpkg-deb -x "$package" "$2" || return 1
  done
  rm -f "$1"/*.deb
}

# Packages, and all that they depend on.
fetch_all() { # fetch_all ARCH SUITE FOLDER PACKAGE…
  local arch=$1 suite=$2 folder=$3
  shift 3
  archive "$arch" "$suite" apt-get update >&2 || return 1
  archive "$arch" "$suite" apt-get -y --no-install-recommends --download-only install "$@" >&2 || return 1
  unpack "$cache/apt/$arch-$suite/archives" "$folder"
}

# /bin, /lib and /sbin as Debian's installer leaves them: links into /usr.
merge_usr() {
  local name
  for name in bin lib sbin; do
    if [ -d "$1/$name" ] && [ ! -L "$1/$name" ]; then
      cp -a "$1/$name/." "$1/usr/$name/" && rm -r "${1:?}/$name" || return 1
    fi
    ln -sfn "usr/$name" "$1/$name"
  done
  ln -sf dash "$1/usr/bin/sh"
}

# One package by itself.
fetch_one() { # fetch_one ARCH SUITE FOLDER PACKAGE
  local state=$cache/apt/$1-$2
  compgen -G "$state/lists/*_Packages*" >/dev/null || archive "$1" "$2" apt-get update >&2 || return 1
  (cd "$state/archives" && rm -f ./*.deb && archive "$1" "$2" apt-get download "$4" >&2) || return 1
  unpack "$state/archives" "$3"
}

packages() { # packages ARCH SUITE PATTERN: those whose names fit, the newest first, once the lists are there
  archive "$1" "$2" apt-cache pkgnames "${3%%[!a-z-]*}" | grep -E "^$3\$" | sort -rV
}

# Tools that run on this system: what it lacks of them, from its own suite.
tools() { # tools FOLDER PACKAGE…
  local state=$cache/apt/tools
  mkdir -p "$state/archives/partial" || return 1
  apt-get -qq -y --no-install-recommends --download-only -o Dir::Cache="$state" install "${@:2}" >&2 || return 1
  unpack "$state/archives" "$1"
}
