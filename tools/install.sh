#!/bin/sh
# tools/install.sh - installs the system packages that Likeness is built with, where they are missing.
#
#   sh tools/install.sh [--tests] [-y]
#
#   --tests   also what only the tests need
#   -y        do not ask; without a terminal nothing is asked either
#
# Debian 12 and 13 (tested), Ubuntu 24.04 (untested). Shows each apt line before it runs. Only the sources that apt is
# configured with are used, and nothing is upgraded. As root, or with sudo; with neither, prints the one apt line to run
# and stops. Touches nothing when nothing is missing.
set -eu
tests=no
agreed=no
for argument in "$@"; do
    case $argument in
        --tests) tests=yes ;;
        -y | --yes) agreed=yes ;;
        -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "install.sh: unknown option $argument" >&2; exit 2 ;;
    esac
done
say() { echo "install.sh: $*" >&2; }

# ---- what is missing -------------------------------------------------------------------------------------------------

# A tool counts as present whoever installed it; a library counts when the compiler's package is there.
tools='cmake=cmake ninja=ninja-build pkg-config=pkgconf cc=gcc glslangValidator=glslang-tools
       protoc-c=protobuf-c-compiler'
libraries='libc6-dev libvulkan1 libvulkan-dev libvulkan-volk-dev libpng-dev libjpeg-dev libcjson-dev libprotobuf-c-dev
           libutf8proc-dev libexif-dev zlib1g-dev'
# What the tests can do without: what needs it is skipped, saying so.
wishes=
if [ "$tests" = yes ]; then
    tools="$tools git=git"
    libraries="$libraries libcmocka-dev"
    wishes='vulkan-validationlayers clang-format-14'
fi

installed() { dpkg-query -W -f '${db:Status-Abbrev}\n' "$1" 2>/dev/null | grep -q '^ii'; }
# Those wishes that this release has. Empty lists (nothing was ever updated) are no reason to try: then libraries are
# missing as well.
wanted=
obtainable() {
    for package in $wanted; do
        if [ -n "$(apt-cache madison "$package" 2>/dev/null)" ]; then printf ' %s' "$package"; fi
    done
}

missing=
for pair in $tools; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || missing="$missing ${pair#*=}"
done
if command -v dpkg-query >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; then
    for package in $libraries; do
        installed "$package" || missing="$missing $package"
    done
    for package in $wishes; do
        installed "$package" || wanted="$wanted $package"
    done
else
    [ -z "$missing" ] || {
        say "no apt here; install what these Debian packages hold, then run this again:$missing $libraries"
        exit 1
    }
    say "no apt here; CMake will say if a library is missing:" $libraries
    exit 0
fi
available=$(obtainable)
[ -n "$missing$available" ] || exit 0

# ---- installing ------------------------------------------------------------------------------------------------------

options='--no-install-recommends'
if [ "$(id -u)" = 0 ]; then
    root=
elif command -v sudo >/dev/null 2>&1 && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    root=sudo
else
    say "packages are missing, and installing them takes root or sudo. As root run"
    echo "    apt-get update && apt-get install $options$missing$available"
    exit 1
fi

# Shows a line, asks where somebody is there to answer, runs it.
run() {
    say "\$ ${root:+$root }$*"
    if [ "$agreed" = no ] && [ -t 0 ] && [ -t 2 ]; then
        printf 'install.sh: run this? [Y/n] ' >&2
        read -r answer
        case $answer in
            '' | y | Y | yes | Yes) ;;
            *) say "stopped; nothing was installed"; exit 1 ;;
        esac
    fi
    # apt-get is told -y because the line above was shown and agreed to.
    command=$1 verb=$2
    shift 2
    $root env DEBIAN_FRONTEND=noninteractive "$command" -q -y "$verb" "$@" </dev/null >&2
}

run apt-get update || say "the package lists could not be read anew; going on with those that are here"
available=$(obtainable)
# shellcheck disable=SC2086
run apt-get install $options $missing $available || {
    say "apt could not install these packages (its message is above)"
    exit 1
}
